"""The risk manager: the kernel's own checks, those that mean nothing in a backtest, and all reasons in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from retainer.core.errors import InvalidInputError
from retainer.trading.kernels import price_order, risk
from retainer.trading.limits import Limits, Reason
from retainer.trading.samples import SYMBOLS
from retainer.trading.settings import RiskLimits
from retainer.trading.state import ORDER_TYPES, AccountState, ProposedOrder, equity
from retainer.trading.units import MAX_QUANTITY, NS, cents_to_decimal, to_units, units_to_decimal

_TRAIL_PARTS: Final = 100
"""Millionths in one of the price units that a share of the price is read in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFacts:
    """What is known outside the account's state. The defaults are those of a paper account asked by its owner."""

    armed: bool = True
    """Whether trading on this account is switched on."""
    reconciled: bool = True
    """Whether our positions were compared with the broker's since the start."""
    approved: bool = True
    """Whether an order that needs a yes has one, or is only being prepared for the question."""
    client_id: str | None = None
    """The order's client id, when it has one already."""
    client_id_known: bool = False
    """Whether an order with that client id exists already."""
    quote_age_seconds: float | None = None
    """Age of the price the order is based on, on the account's clock; ``None``: the stale check of the state holds."""
    max_quote_age_seconds: float = 15.0
    stopped: bool = False
    """Whether trading was stopped by a person."""
    halted: bool = False
    """Whether the exchange has halted the symbol."""
    market_open: bool = True
    """Whether the exchange trades now."""
    rejects_in_a_row: int = 0
    """Orders that the broker rejected since the last one it took."""
    max_rejects_in_a_row: int = 3


@dataclass(frozen=True, slots=True)
class RiskVerdict:
    """Yes or no, with every reason: as codes for records, in sentences for people."""

    ok: bool
    bits: int
    reasons: tuple[str, ...]
    words: tuple[str, ...]
    """One sentence per reason; for a yes, one that says what was compared."""


def codes(bits: int) -> tuple[str, ...]:
    """Reason codes in lower case: ``("cash", "position")``."""
    return tuple(str(reason.name).lower() for reason in Reason if reason & bits)


class RiskManager:
    """Judges orders by fixed limits. Keeps nothing: what it knows is passed in."""

    def __init__(self, limits: RiskLimits | Limits | None = None, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.limits: Final = limits if isinstance(limits, Limits) else (limits or RiskLimits()).to_limits(symbols)

    def validate_risk(
        self,
        order: ProposedOrder | Mapping[str, Any],
        state: AccountState,
        limits: Limits | None = None,
        *,
        at: int | None = None,
        facts: LiveFacts | None = None,
    ) -> RiskVerdict:
        """Judge ``order`` on ``state`` at ``at`` (ns, the account's clock; default: its last bar).

        A mapping (``symbol``, ``side``, ``quantity``, optional ``type``, ``limit`` and ``stop`` in dollars, ``trail``
        as a share of the price) may hold anything: NaN, infinities, zero, fractions and unknown words are refused with
        their reason, never raised.
        """
        limits = limits or self.limits
        now = state.at if at is None else at
        if isinstance(order, ProposedOrder):
            proposed, bits = order, 0
        else:
            proposed, bits = read_order(order, state)
        bits |= live_bits(facts or LiveFacts())
        bits |= risk(proposed, state, limits, now)
        if not bits:
            return RiskVerdict(True, 0, (), (approval_words(proposed, state, limits),))
        return RiskVerdict(False, int(bits), codes(bits), words_of(bits, limits, proposed, state))


def live_bits(facts: LiveFacts) -> int:
    """The checks that have no meaning in a backtest."""
    age = facts.quote_age_seconds
    checks = (
        (Reason.NOT_ARMED, not facts.armed),
        (Reason.NOT_RECONCILED, not facts.reconciled),
        (Reason.NOT_APPROVED, not facts.approved),
        (Reason.CLIENT_ID, facts.client_id is not None and (not facts.client_id or facts.client_id_known)),
        (Reason.QUOTE_AGE, age is not None and not -2.0 <= age <= facts.max_quote_age_seconds),
        (Reason.STOPPED, facts.stopped),
        (Reason.HALTED, facts.halted),
        (Reason.MARKET_CLOSED, not facts.market_open),
        (Reason.REJECTS, facts.rejects_in_a_row >= facts.max_rejects_in_a_row),
    )
    return sum(int(reason) for reason, broken in checks if broken)


def read_order(raw: Mapping[str, Any], state: AccountState) -> tuple[ProposedOrder, int]:
    """An order from loose values, and the bits of what could not be read. Unreadable numbers become 0."""
    bits = 0
    side, kind = str(raw.get("side", "")).lower(), str(raw.get("type", "market")).lower()
    quantity = _whole(raw.get("quantity"))
    prices: dict[str, int | None] = {}
    for name, scale in (("limit", 1), ("stop", 1), ("trail", _TRAIL_PARTS)):
        try:
            prices[name] = None if raw.get(name) is None else to_units(raw[name], name) * scale
        except InvalidInputError:
            prices[name] = 0
            bits |= Reason.BAD_NUMBER
    draft = ProposedOrder(symbol=str(raw.get("symbol", "")), side="sell", quantity=quantity)
    found = next((known for known in ORDER_TYPES if known == kind), None)
    if side not in {"buy", "sell"} or found is None:
        return draft, int(bits | Reason.BAD_KIND)
    strategy = str(raw.get("strategy", ""))
    order = price_order(state, draft.symbol, "buy" if side == "buy" else "sell", quantity, found, strategy=strategy)
    return replace(order, limit=prices["limit"], stop=prices["stop"], trail=prices["trail"]), int(bits)


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        return 0
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return 0
    whole = number.is_finite() and abs(number) <= MAX_QUANTITY and number == number.to_integral_value()
    return int(number) if whole else 0


# --- words ------------------------------------------------------------------------------------------------------------
def approval_words(order: ProposedOrder, state: AccountState, limits: Limits) -> str:
    """Why an order may go ahead, with the figures that matter."""
    worth = equity(state)
    value = money(order.notional)
    if order.side == "sell":
        left = state.quantity(order.symbol) - order.quantity
        return (
            f"Within limits: it sells {order.quantity} of {state.quantity(order.symbol)} {order.symbol}, {left} stay."
        )
    share = f"{order.notional / worth:.1%}" if worth > 0 else "all"
    return (
        f"Within limits: {value} is {share} of the account ({percent(limits.order_bps)} allowed per order), "
        f"and cash covers it."
    )


def words_of(
    bits: int, limits: Limits, order: ProposedOrder | None = None, state: AccountState | None = None
) -> tuple[str, ...]:
    """Every reason as a sentence; with the order and the account, their figures stand in brackets."""
    sentences = []
    for reason in Reason:
        if not reason & bits:
            continue
        text = _RULES[reason](limits)
        figures = _FIGURES.get(reason)
        detail = figures(order, state) if figures and order is not None and state is not None else ""
        sentences.append(f"{text} ({detail})." if detail else f"{text}.")
    return tuple(sentences)


def verdict_words(bits: int, limits: Limits) -> str:
    """The verdict of a recorded decision in one line."""
    if bits:
        return "Refused: " + " ".join(words_of(bits, limits))
    return (
        f"Passed: at most {percent(limits.order_bps)} of the account per order, {percent(limits.position_bps)}"
        f" per symbol, {percent(limits.gross_bps)} in all, paid in cash; loss limits kept."
    )


def money(cents: int) -> str:
    """``$1,234.50``; a minus stands before the dollar sign."""
    sign = "-" if cents < 0 else ""
    return f"{sign}${cents_to_decimal(abs(cents)):,}"


def percent(bps: int) -> str:
    """Basis points as ``30 %`` or ``2.5 %``."""
    return f"{Decimal(bps) / 100:f}".rstrip("0").rstrip(".") + " %" if bps % 100 else f"{bps // 100} %"


def _loss(state: AccountState, base: int) -> str:
    return f"{(base - equity(state)) / base:.1%}" if base > 0 else "everything"


def _waiting_to_sell(state: AccountState, symbol: str) -> int:
    return sum(o.quantity for o in state.orders if o.symbol == symbol and o.side == "sell")


def _price(units: int) -> str:
    return f"${units_to_decimal(units):,}"


_RULES: Final[Mapping[Reason, Callable[[Limits], str]]] = {
    Reason.BAD_NUMBER: lambda _: "The quantity must be a whole number of shares above zero, and prices above zero",
    Reason.BAD_KIND: lambda _: (
        "An order is buy or sell, and market, on the close, limit (with a limit), stop (with a stop), stop-limit (with "
        "both) or trailing (with a distance)"
    ),
    Reason.SYMBOL: lambda p: f"Only {', '.join(p.symbols) or 'nothing'} may be traded",
    Reason.NO_PRICE: lambda _: "There is no price of it yet",
    Reason.STALE: lambda _: "Its last price is too old to trade on",
    Reason.BLOCKED: lambda _: "An earlier order in it has an unknown fate; clear that up first",
    Reason.COLLAR: lambda p: f"The limit is more than {percent(p.collar_bps)} on the wrong side of the last price",
    Reason.SHORT: lambda _: "There are not enough shares to sell, and nothing is sold short",
    Reason.ORDER_VALUE: lambda p: f"One order may be at most {percent(p.order_bps)} of the account",
    Reason.POSITION: lambda p: f"One symbol may be at most {percent(p.position_bps)} of the account",
    Reason.GROSS: lambda p: f"All positions together may be at most {percent(p.gross_bps)} of the account",
    Reason.CASH: lambda _: "The cash does not cover it beside the orders that wait already",
    Reason.DAILY_LOSS: lambda p: (
        f"The account lost more than {percent(p.daily_loss_bps)} since the close before: only sells"
    ),
    Reason.DRAWDOWN: lambda p: (
        f"The account is more than {percent(p.drawdown_bps)} below its highest value of 90 days: only sells"
    ),
    Reason.RATE_MINUTE: lambda p: f"At most {p.per_minute} buys a minute on the account's clock",
    Reason.RATE_DAY: lambda p: f"At most {p.per_day} buys in 24 hours of the account's clock",
    Reason.DUPLICATE: lambda p: (
        f"The same order was accepted within {p.duplicate_ns // NS} seconds of the account's clock"
    ),
    Reason.OPEN_ORDERS: lambda p: f"At most {p.open_orders} orders may wait at once",
    Reason.ORDER_CAP: lambda p: f"One order may be at most {money(p.order_cents)}",
    Reason.MARKET_CLOSED: lambda _: "The exchange is closed",
    Reason.MARKET_ORDER: lambda _: "Only orders with a limit may be placed",
    Reason.FUTURE: lambda _: "Its last price is from the future, so some clock is wrong",
    Reason.VOLUME: lambda p: (
        f"One order may be at most {Decimal(p.volume_ppm) / 10_000:f} % of the volume that usually trades in a session"
    ),
    Reason.ROUND_TRIPS: lambda p: f"One symbol may be bought and sold at most {p.round_trips} times in one session",
    Reason.NOT_ARMED: lambda _: "Trading is not armed on this account",
    Reason.NOT_RECONCILED: lambda _: "Positions were not compared with the broker's since the start",
    Reason.NOT_APPROVED: lambda _: "It needs your yes first",
    Reason.CLIENT_ID: lambda _: "Its client id is missing or was used before",
    Reason.QUOTE_AGE: lambda _: "The quote is too old, or from the future",
    Reason.STOPPED: lambda _: "Trading is stopped: say resume first",
    Reason.HALTED: lambda _: "The exchange has halted it",
    Reason.REJECTS: lambda _: "The broker rejected the last orders one after the other; find out why first",
}
_FIGURES: Final[Mapping[Reason, Callable[[ProposedOrder, AccountState], str]]] = {
    Reason.SYMBOL: lambda o, _: f"not {o.symbol}" if o.symbol else "",
    Reason.COLLAR: lambda o, s: f"{_price(o.limit or 0)} against {_price(s.marks[o.symbol].close)}",
    Reason.SHORT: lambda o, s: (
        f"{s.quantity(o.symbol)} held, {_waiting_to_sell(s, o.symbol)} of them in waiting orders, {o.quantity} wanted"
    ),
    Reason.ORDER_CAP: lambda o, _: f"this is {money(o.notional)}",
    Reason.VOLUME: lambda o, s: (
        f"{o.quantity:,} wanted, {max(s.marks[o.symbol].mean_volume, s.marks[o.symbol].day_volume):,.0f} usual"
    ),
    Reason.ORDER_VALUE: lambda o, s: f"this is {money(o.notional)} of {money(equity(s))}",
    Reason.POSITION: lambda o, s: f"you hold {s.quantity(o.symbol)} {o.symbol}, this is {money(o.notional)} more",
    Reason.GROSS: lambda o, s: f"the account is worth {money(equity(s))}, cash is {money(s.cash)}",
    Reason.CASH: lambda o, s: f"it costs {money(o.notional)}, cash is {money(s.cash)}",
    Reason.DAILY_LOSS: lambda _, s: f"it lost {_loss(s, s.day_equity)}",
    Reason.DRAWDOWN: lambda _, s: f"it is {_loss(s, s.peak)} below",
    Reason.DUPLICATE: lambda o, _: f"{o.side} {o.quantity} {o.symbol}",
}
