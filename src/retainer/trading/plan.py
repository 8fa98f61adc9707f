"""What a backtest is asked to do: settings of the account, targets and orders of the plan. Checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

import numpy as np

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Floats, Ints, Market
from retainer.trading.kernel import layout as at
from retainer.trading.kernel.rules import FRACTIONS
from retainer.trading.kernel.tape import Prepared
from retainer.trading.limits import Fees, Limits
from retainer.trading.state import ORDER_NUMBERS, OrderType, Side
from retainer.trading.units import BPS, PPM, PRICE_SCALE, to_units

FILL_ON: Final[Mapping[str, int]] = {
    "next_open": at.NEXT_OPEN,
    "next_close": at.NEXT_CLOSE,
    "same_close": at.SAME_CLOSE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The account of a backtest and how its orders are filled."""

    cash: Decimal = Decimal(100_000)
    """Dollars it opens with."""
    fees: Fees = field(default_factory=Fees)
    limits: Limits | None = None
    """``None``: cash and shares bind, nothing else."""
    fill_on: Literal["next_open", "next_close", "same_close"] = "next_open"
    """When market orders are filled. ``same_close`` is the very price the decision was made on: it flatters, and is
    here only to compare with engines that do so."""
    exact: bool = False
    """Unrounded: no tick, no cent, targets not rounded to basis points; as most backtesters compute."""
    to_cents: bool = False
    """With ``exact``: the amount of every fill is rounded to the nearest cent, and so is its fee, which is a share of
    the rounded amount (prices are not rounded): as a broker's statement has it, and nautilus_trader."""
    fractional: bool = False
    """Quantities in millionths of a share instead of whole shares."""
    volume_share: float = 0.0
    """At most this share of a bar's volume is filled, the rest carries over; 0: no such cap."""
    short: bool = False
    """Whether more may be sold than is held."""
    borrow: float = 0.0
    """Yearly cost of borrowed shares as a share of their value, paid for every night."""
    settle_sessions: int = 0
    """Sessions until the proceeds of a sale can buy again (1 is T+1); at most 3."""
    calendar: str | None = None
    """Exchange calendar (``XNYS``): bars outside its sessions fill nothing and accept nothing."""
    account: str = "backtest"
    strategy: str = "backtest"

    def __post_init__(self) -> None:
        """Raises :class:`InvalidInputError` for what cannot be meant."""
        if not self.cash.is_finite() or not 0 < self.cash <= 10**12:
            raise InvalidInputError(f"An account cannot open with {self.cash} dollars.", hint="0 < cash <= 1e12.")
        if self.fill_on not in FILL_ON:
            raise InvalidInputError(f"fill_on {self.fill_on!r} is unknown.", hint=f"One of {', '.join(FILL_ON)}.")
        for name in ("volume_share", "borrow"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"{name} {getattr(self, name)} is no share.", hint="0 to 1.")
        if self.to_cents and not self.exact:
            raise InvalidInputError("to_cents goes with exact=True.", hint="Without it everything is rounded anyway.")
        if self.settle_sessions not in range(4):
            raise InvalidInputError(f"settle_sessions {self.settle_sessions} is out of range.", hint="0 to 3.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOrder:
    """An order of its own, placed at the close of one bar. Prices in dollars."""

    row: int
    """Index into the bars of its symbol."""
    symbol: str
    side: Side
    quantity: float
    """Shares."""
    type: OrderType = "market"
    limit: float | None = None
    stop: float | None = None
    trail: float | None = None
    """Distance of a trailing order as a share of the price."""
    stop_loss: float | None = None
    """Price of an exit that rests once this order has filled; with ``take_profit``, one cancels the other."""
    take_profit: float | None = None
    oco: str = ""
    """Orders of one symbol with the same name: what fills of one is taken off the others."""
    day: bool = False
    """Whether it ends with its session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to want at every close. Arrays have one value per bar of their symbol."""

    targets: Mapping[str, Floats]
    """Weight of equity (or shares); NaN: no opinion, nothing happens."""
    unit: Literal["weight", "shares"] = "weight"
    stop_loss: Mapping[str, Floats] | None = None
    """Distance of a stop from the entry's fill price, as a share of it, read where the entry is decided; NaN: none."""
    take_profit: Mapping[str, Floats] | None = None
    trailing: Mapping[str, Floats] | None = None
    orders: tuple[PlannedOrder, ...] = ()
    start: int | None = None
    """First close to trade on, ns; earlier bars feed indicators only."""
    end: int | None = None


def target_cells(plan: Plan, market: Market, tape: Prepared, settings: EngineSettings) -> Floats:
    """The plan's targets, one per cell: basis points or quantities. Raises :class:`InvalidInputError` naming a row."""
    whole = len(tape.symbols) == 1
    cells = np.full((0 if whole and plan.targets else tape.count, len(tape.symbols)), np.nan)
    for symbol, raw in plan.targets.items():
        s, own, values = _column(symbol, raw, market, tape, "targets")
        scaled = scaled_targets(values, plan.unit, settings, symbol)
        if whole:
            return scaled
        cells[slice(None) if own.size == tape.count else own, s] = scaled
    return cells.ravel()


def scaled_targets(values: Floats, unit: str, settings: EngineSettings, what: str) -> Floats:
    """Targets as the kernels take them. Raises :class:`InvalidInputError` naming the row of one that cannot be."""
    most = 100.0 if unit == "weight" else 1e15
    least = -most if settings.short else 0.0
    if values.size and not least <= np.fmin.reduce(values, axis=None) <= np.fmax.reduce(values, axis=None) <= most:
        bad = (values < least) | (values > most)
        if bad.any():
            row = int(np.argmax(bad))
            raise InvalidInputError(
                f"{what}: the target {values.ravel()[row]} at {row} cannot be meant.",
                hint="Weights are shares of equity; below 0 only with short=True.",
            )
    scale = BPS if unit == "weight" else FRACTIONS if settings.fractional and not settings.exact else 1
    if settings.exact and (unit == "weight" or settings.fractional):
        return values * scale
    return np.rint(values if scale == 1 else values * scale)


def exit_cells(plan: Plan, market: Market, tape: Prepared) -> Floats:
    """Exits that go with entries, three columns per cell; empty when the plan has none."""
    given = (plan.stop_loss, plan.take_profit, plan.trailing)
    if not any(given):
        return np.zeros(0)
    cells = np.zeros((tape.count, len(tape.symbols), at.EXIT_COLUMNS))
    for column, (name, series) in enumerate(zip(("stop_loss", "take_profit", "trailing"), given, strict=True)):
        for symbol, raw in (series or {}).items():
            s, own, values = _column(symbol, raw, market, tape, name)
            bad = (values <= 0) | np.isinf(values) | ((values >= 1) & (name != "take_profit"))
            if bad.any():
                row = int(np.flatnonzero(bad)[0]) + tape.first[s]
                raise InvalidInputError(
                    f"{symbol}, row {row}: {name} {values[row - tape.first[s]]} is no distance.",
                    hint="A share of the entry's price, like 0.05.",
                )
            cells[own, s, column] = np.rint(np.nan_to_num(values) * PPM)
    return cells.ravel()


def _column(symbol: str, raw: Floats, market: Market, tape: Prepared, what: str) -> tuple[int, Ints, Floats]:
    if symbol not in market:
        raise InvalidInputError(f"{what}: there are no bars of {symbol}.", hint=f"Known: {', '.join(tape.symbols)}.")
    values = np.asarray(raw, dtype=np.float64)
    if values.shape != (len(market[symbol]),):
        raise InvalidInputError(
            f"{what} of {symbol} have the shape {values.shape}; its bars are {len(market[symbol])}.",
            hint="One value per bar.",
        )
    s = tape.symbols.index(symbol)
    own = tape.rows[s]
    return s, own, values[tape.first[s] : tape.first[s] + own.size]


def planned_cells(plan: Plan, market: Market, tape: Prepared, settings: EngineSettings) -> tuple[Floats, Ints, Ints]:
    """The plan's own orders in the columns of the order table, by cell. Raises :class:`InvalidInputError`."""
    placed = []
    groups: dict[tuple[str, str], int] = {}
    for number, order in enumerate(plan.orders):
        if order.symbol not in market or not 0 <= order.row < len(market[order.symbol]):
            raise InvalidInputError(f"Order {number}: {order.symbol} has no row {order.row}.")
        s = tape.symbols.index(order.symbol)
        offset = order.row - tape.first[s]
        if not 0 <= offset < tape.rows[s].size:
            continue
        placed.append((int(tape.rows[s][offset]) * len(tape.symbols) + s, number, order))
    placed.sort(key=lambda item: item[:2])
    reals = np.zeros((len(placed), at.ORDER_COLUMNS))
    wholes = np.zeros((len(placed), at.ORDER_COLUMNS), dtype=np.int64)
    for n, (_, number, order) in enumerate(placed):
        _check_order(order, number)
        lots = FRACTIONS if settings.fractional and not settings.exact else 1
        reals[n, at.O_QUANTITY] = order.quantity if settings.exact else round(order.quantity * lots)
        for column, price in (
            (at.O_LIMIT, order.limit),
            (at.O_STOP, order.stop),
            (at.O_LOSS, order.stop_loss),
            (at.O_PROFIT, order.take_profit),
        ):
            reals[n, column] = 0.0 if price is None else price if settings.exact else to_units(price)
        reals[n, at.O_TRAIL] = round((order.trail or 0.0) * PPM)
        wholes[n, at.O_SIDE] = 1 if order.side == "buy" else -1
        wholes[n, at.O_TYPE] = ORDER_NUMBERS[order.type]
        # groups of the kernel's own brackets count up from 1: those of the plan are kept apart from them
        group = groups.setdefault((order.symbol, order.oco), -len(groups) - 1) if order.oco else 0
        wholes[n, at.O_GROUP] = group
        wholes[n, at.O_EXPIRES] = 0 if order.day else -1
        wholes[n, at.O_REF] = number
    return reals.ravel(), wholes.ravel(), np.array([cell for cell, *_ in placed], dtype=np.int64)


def _check_order(order: PlannedOrder, number: int) -> None:
    where = f"Order {number} ({order.side} {order.symbol}, row {order.row})"
    if order.side not in {"buy", "sell"} or order.type not in ORDER_NUMBERS:
        raise InvalidInputError(
            f"{where}: side or type {order.type!r} is unknown.", hint=f"Types: {', '.join(ORDER_NUMBERS)}."
        )
    for name in ("quantity", "limit", "stop", "trail", "stop_loss", "take_profit"):
        value = getattr(order, name)
        if value is not None and not 0 < value < float("inf"):
            raise InvalidInputError(f"{where}: {name} {value} is not above zero.", hint="Leave out what is not meant.")
    if order.trail is not None and order.trail >= 1:
        raise InvalidInputError(f"{where}: trail {order.trail} is no share of the price.", hint="Write 0.05 for 5 %.")
    for name, price in (("stop_loss", order.stop_loss), ("take_profit", order.take_profit)):
        if price is not None and price * PRICE_SCALE < 1:
            raise InvalidInputError(f"{where}: {name} {price} is below the smallest price.")
