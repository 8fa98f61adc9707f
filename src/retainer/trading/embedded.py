"""The trading agent as a library: a paper account in memory, moved on by the data it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Bars, bars_at, sessions
from retainer.trading.kernels import fill, open_account, propose
from retainer.trading.processors import TradingProcessor
from retainer.trading.resting import apply_accept, order_id
from retainer.trading.risk import approval_words, words_of
from retainer.trading.settings import TradingSettings
from retainer.trading.state import AccountState, Fill, ProposedOrder
from retainer.trading.units import ns_to_datetime, to_cents

TradeState = Literal["accepted", "filled", "cancelled", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """An order that a decision led to, and what became of it so far."""

    id: str
    at: datetime
    """Close of the bar on which it was decided."""
    order: ProposedOrder
    state: TradeState
    """*accepted* until the next bar fills it; *refused* when the risk manager said no."""
    signal: str
    """Why, in the strategy's words."""
    indicators: Mapping[str, float]
    reasons: tuple[str, ...]
    """The risk manager's words."""
    fills: tuple[Fill, ...] = ()
    others: tuple[Trade, ...] = ()
    """Further orders of the same decision, when several symbols were decided on."""


_EXIT: Final = "a protective exit"


class EmbeddedAccount:
    """A paper account that lives as long as this object. Same kernels, limits and fees as the service's."""

    def __init__(self, settings: TradingSettings) -> None:
        self._settings = settings
        self._processor = TradingProcessor()
        self.state: AccountState | None = None
        self.trades: dict[str, Trade] = {}
        """Every trade by its id, in the order of their decisions, with its present state."""

    def decide(self, market_data: Any) -> Trade | None:
        """Move the account over the bars it has not seen, and decide at the last one.

        The first call acts on the last bar only: what came before feeds the indicators. ``None``: nothing to do.
        """
        market = self._processor.transform(market_data)
        times = [int(at) for at in sessions(market)]
        if not times:
            raise InvalidInputError("There are no bars.", hint="Pass at least one row.")
        if self.state is None:
            self.state, _ = open_account(to_cents(self._settings.cash), self._settings.account, times[-1] - 1)
            times = times[-1:]
        for at in times:
            if at > self.state.at:
                self._act(market, at)
        last = ns_to_datetime(times[-1])
        found = [trade for trade in self.trades.values() if trade.at == last and trade.signal != _EXIT]
        return replace(found[0], others=tuple(found[1:])) if found else None

    def _act(self, market: Mapping[str, Bars], at: int) -> None:
        assert self.state is not None
        settings = self._settings.model_copy(update={"symbols": tuple(sorted(market))})
        strategy, limits = settings.make_strategy(), settings.to_limits()
        filled = fill(self.state, bars_at(market, at), at, settings.to_fees())
        self._follow(filled.fills, {c.order.id for c in filled.cancelled})
        outlook = strategy.outlook({s: b for s, b in market.items() if b.until(at) is not None}, at)
        proposal = propose(filled.state, limits, outlook.targets, at, strategy.name, outlook.exits)
        self._follow((), {c.order.id for c in proposal.cancelled})
        state = proposal.state
        for order in proposal.orders:
            client_id = order_id(state.account, strategy.name, order.symbol, order.side, at)
            reasons = (
                words_of(order.bits, limits, order, state) if order.bits else (approval_words(order, state, limits),)
            )
            self.trades[client_id] = Trade(
                id=client_id,
                at=ns_to_datetime(at),
                order=order,
                state="refused" if order.bits else "accepted",
                signal=outlook.signal(order.symbol),
                indicators=outlook.values(order.symbol),
                reasons=reasons,
            )
            if not order.bits:
                state = apply_accept(state, order.accepted(client_id, at))
        self.state = state

    def _follow(self, fills: tuple[Fill, ...], cancelled: set[str]) -> None:
        for done in fills:
            trade = self.trades.get(done.order_id) or self._exit(done)
            self.trades[done.order_id] = replace(trade, state="filled", fills=(*trade.fills, done))
        for client_id in cancelled & self.trades.keys():
            self.trades[client_id] = replace(self.trades[client_id], state="cancelled")

    def _exit(self, done: Fill) -> Trade:
        """The trade of an exit that was set up when its entry filled."""
        assert self.state is not None
        resting = next((order for order in self.state.orders if order.id == done.order_id), None)
        order = ProposedOrder(
            symbol=done.symbol,
            side=done.side,
            quantity=done.quantity,
            type=resting.type if resting else "stop" if done.realised < 0 else "limit",
            strategy=done.strategy,
            price=done.reference,
            increases_exposure=False,
        )
        at = ns_to_datetime(done.at)
        return Trade(id=done.order_id, at=at, order=order, state="filled", signal=_EXIT, indicators={}, reasons=())
