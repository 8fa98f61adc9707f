"""The account as one value: cash, positions, resting orders, counters. Whole numbers, exact JSON, one digest.

Cash and amounts are cents, prices are 1/10,000 dollar (:mod:`retainer.trading.units`), instants nanoseconds UTC.
Values are never changed in place: kernels return a new state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from retainer.core.errors import InvalidInputError
from retainer.core.values import digest
from retainer.trading.units import DAY_NS, UNITS_PER_CENT, div_half_even

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing", "on_close"]
SIDES: tuple[Side, ...] = ("buy", "sell")
ORDER_TYPES: tuple[OrderType, ...] = ("market", "limit", "stop", "stop_limit", "trailing", "on_close")
ORDER_NUMBERS = {name: number for number, name in enumerate(ORDER_TYPES)}
"""The kernels' numbers of the types."""
PEAK_WINDOW_NS = 90 * DAY_NS
"""How far back the highest equity is looked for, so that a drawdown stop is a pause and not the end."""
STATE_FORMAT = 2
"""Raised when the JSON of the state changes. Format 1 lacked order kinds beyond market, limit and stop, and volumes; it
is read as it is, for what it lacks has a plain default."""
READABLE = frozenset({1, STATE_FORMAT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Shares held. ``cost`` is what they cost in cents without fees; ``own`` of them belong to the strategy."""

    symbol: str
    quantity: int
    cost: int
    own: int = 0
    """Shares the strategy bought and still holds; the rest are the owner's, which the strategy never sells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order the broker accepted: it rests until a bar fills it or it is cancelled."""

    id: str
    """Client order id; deterministic, unique for ever."""
    symbol: str
    side: Side
    quantity: int
    type: OrderType = "market"
    limit: int | None = None
    """Limit price in units (types ``limit`` and ``stop_limit``)."""
    stop: int | None = None
    """Trigger price in units (type ``stop``, which fills as market, and ``stop_limit``); of a ``trailing`` order the
    level it has reached."""
    at: int
    """When it was accepted, nanoseconds UTC on the account's clock."""
    strategy: str = ""
    """Name of the strategy that wants it; empty for an order of a person."""
    protective: bool = False
    """Guards a position: kept when trading is stopped."""
    seq: int = 0
    """Order of arrival within the account; set by :func:`~retainer.trading.kernels.apply_accept`."""
    reply_to: str = ""
    """Address where its fill is told; carried along, never read by the kernels."""
    trail: int | None = None
    """Distance of a ``trailing`` order, millionths of the price."""
    stop_loss: int | None = None
    """Exits that rest once this entry has filled, in units (``relative``: millionths of its fill price)."""
    take_profit: int | None = None
    trail_exit: int | None = None
    """As ``stop_loss``, but trailing by these millionths."""
    relative: bool = False
    oco: str = ""
    """Orders with the same name cancel each other as they fill."""
    parent: int = 0
    """``seq`` of the entry whose shares it guards; 0: none."""
    triggered: bool = False
    """Whether the price has met its stop."""
    expires: int = -1
    """-1: good till cancelled; 0: ends with the session of its first bar; above: the day (ordinal) it ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedOrder:
    """An order that is wanted, with its risk verdict; not yet at any broker."""

    symbol: str
    side: Side
    quantity: int
    type: OrderType = "market"
    limit: int | None = None
    stop: int | None = None
    strategy: str = ""
    trail: int | None = None
    stop_loss: int | None = None
    take_profit: int | None = None
    trail_exit: int | None = None
    relative: bool = False
    oco: str = ""
    expires: int = -1
    price: int = 0
    """Reference price in units: the last close, on which it was sized."""
    notional: int = 0
    """Quantity times reference price, in cents."""
    increases_exposure: bool = True
    bits: int = 0
    """Reasons of :func:`~retainer.trading.kernels.risk`; 0 means it may go ahead."""

    def accepted(self, order_id: str, at: int, *, protective: bool = False, reply_to: str = "") -> Order:
        """This order as the broker holds it."""
        return Order(
            id=order_id,
            symbol=self.symbol,
            side=self.side,
            quantity=self.quantity,
            type=self.type,
            limit=self.limit,
            stop=self.stop,
            at=at,
            strategy=self.strategy,
            protective=protective,
            reply_to=reply_to,
            trail=self.trail,
            stop_loss=self.stop_loss,
            take_profit=self.take_profit,
            trail_exit=self.trail_exit,
            relative=self.relative,
            oco=self.oco,
            expires=self.expires,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """An order, or part of it, carried out."""

    order_id: str
    symbol: str
    side: Side
    quantity: int
    price: int
    """Price paid or received, in units, on the tick."""
    reference: int
    """Price before slippage: the open, the stop or the limit."""
    at: int
    """Close time of the bar that filled it, nanoseconds UTC."""
    fee: int
    """Cents."""
    realised: int
    """Profit or loss of the shares sold against their average cost, cents, before fees; 0 for a buy."""
    strategy: str = ""
    reply_to: str = ""
    unfilled: int = 0
    """Shares that were cancelled instead: cash or shares did not reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A resting order that ended without (all of) its fill, and why, in words."""

    order: Order
    reason: str


PostingKind = Literal["deposit", "fill", "fee", "dividend", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One ledger line in whole numbers. Cash is the sum of all ``amount``, shares the sum of all ``quantity``."""

    at: int
    kind: PostingKind
    symbol: str = ""
    quantity: int = 0
    """Signed change of shares."""
    price: int = 0
    """Units per share."""
    amount: int = 0
    """Signed change of cash, cents."""
    realised: int = 0
    """Realised profit booked by this line, cents (sells, cash in lieu)."""
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Last bar seen of a symbol."""

    close: int
    """Units."""
    factor: float
    at: int
    day_volume: int = 0
    """Shares traded in its session so far."""
    mean_volume: float = 0.0
    """Exponential mean of the volume of whole sessions; 0 before the first."""
    bought: int = 0
    """Shares the account bought in this session and has not sold in it."""
    trips: int = 0
    """Round trips of the account in this session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """An accepted order, remembered for the rate and duplicate limits."""

    at: int
    symbol: str
    side: Side
    quantity: int
    """0 once it was cancelled: it still counts for the rates, but doing it again is no duplicate."""
    increases: bool
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """Everything the kernels know. Treat the mappings as read-only."""

    account: str = "paper"
    version: int = 0
    """Bars and changes written so far; the store checks it (:meth:`bumped`)."""
    at: int = 0
    """Close time of the last bar set, nanoseconds UTC; 0 before the first."""
    cash: int = 0
    deposits: int = 0
    realised: int = 0
    dividends: int = 0
    fees: int = 0
    positions: Mapping[str, Position] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    """Target weight per symbol at the last decision, basis points of equity."""
    recent: tuple[Recent, ...] = ()
    """Orders accepted during the last 24 hours of the account's clock."""
    peaks: tuple[tuple[int, int], ...] = ()
    """(close time, equity in cents), falling: what can still be the highest of :data:`PEAK_WINDOW_NS`."""
    day: str = ""
    """Date (New York) of the last bar set."""
    day_equity: int = 0
    """Equity at the last close before ``day``, cents."""
    next_seq: int = 1
    blocked: tuple[str, ...] = ()
    """Symbols with an order whose fate is unknown: no new order in them."""
    unsettled: tuple[int, ...] = (0, 0, 0)
    """Proceeds of sales, cents: of this session, of the one before, of the one before that."""

    @staticmethod
    def opened(cash: int, account: str = "paper") -> AccountState:
        """A new account with ``cash`` cents deposited."""
        return AccountState(account=account, cash=cash, deposits=cash, peaks=((0, cash),), day_equity=cash)

    @property
    def peak(self) -> int:
        """Highest equity at a close of the last 90 days of the account's clock, cents."""
        return self.peaks[0][1] if self.peaks else 0

    def with_equity(self, cents: int) -> AccountState:
        """The account after a close worth ``cents`` at ``at``: the peak follows."""
        kept = [(t, e) for t, e in self.peaks if e > cents and self.at - t <= PEAK_WINDOW_NS]
        return replace(self, peaks=(*kept, (self.at, cents)))

    def quantity(self, symbol: str) -> int:
        """Shares held of ``symbol``."""
        position = self.positions.get(symbol)
        return position.quantity if position else 0

    def bumped(self) -> AccountState:
        """The same state with the next version number: what a close writes."""
        return replace(self, version=self.version + 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that :meth:`from_json` turns back into an equal state, bit for bit."""
        data = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in {"positions", "orders", "marks", "recent", "targets", "blocked", "peaks", "unsettled"}
        }
        return {
            "format": STATE_FORMAT,
            **data,
            "positions": [asdict(self.positions[s]) for s in sorted(self.positions)],
            "orders": [asdict(o) for o in self.orders],
            "marks": {s: asdict(self.marks[s]) for s in sorted(self.marks)},
            "targets": dict(sorted(self.targets.items())),
            "recent": [asdict(r) for r in self.recent],
            "blocked": list(self.blocked),
            "peaks": [list(peak) for peak in self.peaks],
            "unsettled": list(self.unsettled),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> AccountState:
        """Inverse of :meth:`to_json`. Raises :class:`InvalidInputError` for another format or missing parts."""
        if data.get("format") not in READABLE:
            raise InvalidInputError(
                f"account state has format {data.get('format')!r}, this version reads up to {STATE_FORMAT}.",
                hint="Use the version of retainer that wrote it, or newer.",
            )
        plain = {k: v for k, v in data.items() if k != "format"}
        try:
            plain["positions"] = {p["symbol"]: Position(**p) for p in data["positions"]}
            plain["orders"] = tuple(Order(**o) for o in data["orders"])
            plain["marks"] = {s: Mark(**m) for s, m in data["marks"].items()}
            plain["recent"] = tuple(Recent(**r) for r in data["recent"])
            plain["blocked"] = tuple(data["blocked"])
            plain["peaks"] = tuple((at, cents) for at, cents in data["peaks"])
            plain["unsettled"] = tuple(data.get("unsettled", (0, 0, 0)))
            return AccountState(**plain)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"account state is damaged: {error}.", hint="Restore a backup or replay the journal."
            ) from error

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal states, equal digests."""
        return digest(self.to_json())


def equity(state: AccountState) -> int:
    """Cash plus positions at their last close, in cents (ties to even when a close is not on the cent)."""
    return state.cash + div_half_even(positions_units(state), UNITS_PER_CENT)


def positions_units(state: AccountState) -> int:
    """Value of all positions at their last close, in price units, exact."""
    return sum(p.quantity * state.marks[s].close for s, p in state.positions.items() if s in state.marks)
