"""The backtest engine: the live kernels over a whole history, compiled where numba is there, plain otherwise.

What it does is what live does, bar for bar: the same ``fill``, ``propose`` and ``judge``, the same limits and fees. It
knows no strategy: it trades a :class:`Plan` of targets and orders. Decisions fall at the close of bar t, market orders
fill at the open of t+1; orders of the last bar stay pending and are reported. After a stop-out with an unchanged target
there is no new entry until the target changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Floats, Ints, Market
from retainer.trading.fills import REASONS
from retainer.trading.kernel import build, vectors
from retainer.trading.kernel import layout as at
from retainer.trading.kernel.rules import rules_of
from retainer.trading.kernel.tape import Prepared, as_lists, prepare_tape
from retainer.trading.limits import NO_LIMITS
from retainer.trading.plan import (
    FILL_ON,
    EngineSettings,
    Plan,
    PlannedOrder,
    exit_cells,
    planned_cells,
    scaled_targets,
    target_cells,
)
from retainer.trading.state import ORDER_TYPES
from retainer.trading.units import PPM, PRICE_SCALE

__all__ = [
    "CANCELLED",
    "CANCEL_REASONS",
    "FILL",
    "ORDER_KINDS",
    "REFUSAL",
    "EngineSettings",
    "Many",
    "PendingOrder",
    "Plan",
    "PlannedOrder",
    "Prepared",
    "Run",
    "prepare",
    "simulate",
    "simulate_many",
]

ORDER_KINDS: Final = ORDER_TYPES
"""Names of the column ``kind``."""
FILL: Final = np.dtype(
    [
        ("at", "i8"),
        ("row", "i8"),
        ("symbol", "i4"),
        ("side", "i1"),
        ("quantity", "f8"),
        ("price", "f8"),
        ("reference", "f8"),
        ("fee", "f8"),
        ("realised", "f8"),
        ("order", "i8"),
        ("kind", "i1"),
        ("decided", "i8"),
        ("unfilled", "f8"),
        ("parent", "i8"),
    ]
)
"""A fill: ``row`` counts in ``Run.at``, ``symbol`` in ``Run.symbols``; ``reference`` is the price before slippage,
``order`` the order's number within the run, ``decided`` when it was placed, ``parent`` the entry an exit guards."""
REFUSAL: Final = np.dtype(
    [("at", "i8"), ("row", "i8"), ("symbol", "i4"), ("side", "i1"), ("quantity", "f8"), ("bits", "i8")]
)
"""An order that risk refused; ``bits`` are :class:`~retainer.trading.limits.Reason`."""
CANCELLED: Final = np.dtype(
    [("at", "i8"), ("row", "i8"), ("symbol", "i4"), ("order", "i8"), ("quantity", "f8"), ("reason", "i1")]
)
CANCEL_REASONS: Final = REASONS
"""Words of the column ``reason`` of cancellations."""
WORTH_COMPILING: Final = 150_000
"""Cells from which loading compiled kernels pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOrder:
    """An order that was alive after the last bar: never filled, never flattered. Dollars and shares."""

    symbol: str
    side: Literal["buy", "sell"]
    quantity: float
    type: str
    limit: float | None
    stop: float | None
    decided: int
    """Close at which it was placed, ns."""
    parent: int
    """Number of the entry it guards; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What happened. Dollars and shares; rows are those of ``at``."""

    symbols: tuple[str, ...]
    at: Ints
    equity: Floats
    cash: Floats
    gross: Floats
    """Value of all positions; shorts count positive."""
    shares: Floats
    """Held at the end, per symbol."""
    marks: Floats
    """Last close per symbol, raw."""
    fills: NDArray[Any]
    refused: NDArray[Any]
    cancelled: NDArray[Any]
    skipped: int
    """Changes of target for which limits and cash left no room for one share."""
    pending: tuple[PendingOrder, ...]
    start_cash: float
    fees: float
    dividends: float
    realised: float
    borrow_cost: float
    slippage_cost: float
    """What fills were worse by than the market's own prices."""
    flatters: bool
    """Whether orders were filled at the very price they were decided on."""
    compiled: bool
    settings: EngineSettings

    @property
    def final(self) -> float:
        """Equity after the last bar."""
        return float(self.equity[-1])

    @property
    def exposure(self) -> Floats:
        """Value of all positions as a share of equity; shorts count positive."""
        return np.divide(self.gross, self.equity, out=np.zeros_like(self.gross), where=self.equity > 0)

    def digest(self) -> str:
        """SHA-256 over every figure: equal for the plain and the compiled twin."""
        total = hashlib.sha256()
        for array in (
            self.at,
            self.equity,
            self.cash,
            self.gross,
            self.shares,
            self.marks,
            self.fills,
            self.refused,
            self.cancelled,
        ):
            total.update(np.ascontiguousarray(array).tobytes())
        rest = (self.symbols, self.skipped, self.pending, self.fees, self.dividends, self.realised, self.borrow_cost)
        total.update(repr((*rest, self.slippage_cost)).encode())
        return total.hexdigest()


def prepare(
    market: Market, settings: EngineSettings | None = None, *, start: int | None = None, end: int | None = None
) -> Prepared:
    """The market aligned and converted, for many runs over the same bars."""
    own = settings or EngineSettings()
    return prepare_tape(market, exact=own.exact, calendar=own.calendar, start=start, end=end)


def simulate(
    market: Market,
    plan: Plan,
    settings: EngineSettings | None = None,
    *,
    compiled: bool | None = None,
    prepared: Prepared | None = None,
) -> Run:
    """Trade ``market`` by ``plan``.

    ``compiled``: ``None`` compiles where it pays; both twins give the same figures, bit for bit. ``prepared`` must be
    of the same market, settings and span. Raises :class:`InvalidInputError` naming the field and row that do not fit.
    """
    own = settings or EngineSettings()
    tape = prepared or prepare(market, own, start=plan.start, end=plan.end)
    if tape.exact != own.exact:
        raise InvalidInputError("The prepared market was made for other settings.", hint="Prepare it with these.")
    kernels = _kernels(compiled, tape.count * len(tape.symbols))
    inputs: tuple[Any, ...] = (
        np.array(_rules(own, in_shares=plan.unit == "shares")),
        tape.cells,
        tape.days,
        tape.actions,
        tape.action_cells,
        target_cells(plan, market, tape, own),
        exit_cells(plan, market, tape),
        *planned_cells(plan, market, tape, own),
        0,
        np.zeros(tape.count * at.CURVES),
    )
    if not kernels.compiled:
        inputs = tuple(one if isinstance(one, int) else one.tolist() for one in inputs)
    f, w = _trade(kernels, tape, own, inputs)
    return _report(f, w, np.asarray(inputs[-1]), tape, own, compiled=kernels.compiled)


def _trade(
    kernels: build.Kernels, tape: Prepared, settings: EngineSettings, inputs: tuple[Any, ...]
) -> tuple[Any, Any]:
    room = vectors.Room(events=256 + tape.count * len(tape.symbols) // 4) if kernels.compiled else vectors.Room()
    f, w = vectors.open_vectors(len(tape.symbols), _cash(settings), room, compiled=kernels.compiled)
    _permit(w, tape, settings)
    row = 0
    while row < tape.count:
        row = kernels.trade(f, w, *inputs, 0, tape.count, row, tape.count)
        if row < tape.count:
            room = room.larger()
            f, w = vectors.grown(f, w, room, compiled=kernels.compiled)
    return f, w


def _cash(settings: EngineSettings) -> float:
    return float(settings.cash) if settings.exact else float(round(settings.cash * 100))


def _permit(w: Any, tape: Prepared, settings: EngineSettings) -> None:
    limits = settings.limits or NO_LIMITS
    for s, symbol in enumerate(tape.symbols):
        w[at.HEADER + s * at.SYMBOL_COLUMNS + at.ALLOWED] = int(limits is NO_LIMITS or symbol in limits.symbols)


def _rules(settings: EngineSettings, *, in_shares: bool) -> list[float]:
    return rules_of(
        settings.fees,
        settings.limits or NO_LIMITS,
        exact=settings.exact,
        to_cents=settings.to_cents,
        fractional=settings.fractional,
        volume_ppm=settings.volume_share * PPM,
        short=settings.short,
        borrow_ppm=settings.borrow * PPM,
        settle=settings.settle_sessions,
        fill_on=FILL_ON[settings.fill_on],
        in_shares=in_shares,
    )


def _kernels(compiled: bool | None, cells: int) -> build.Kernels:
    if compiled is None:
        compiled = build.numba_installed() and (cells >= WORTH_COMPILING or build.ready())
    return build.compiled() if compiled else build.PLAIN


# --- what comes out
def _report(f: Any, w: Any, curves: Floats, tape: Prepared, settings: EngineSettings, *, compiled: bool) -> Run:
    rules = _rules(settings, in_shares=False)
    lots, price_unit = rules[at.LOTS], 1 if settings.exact else PRICE_SCALE
    money = 1 if settings.exact else 100
    equity, cash, gross = curves.reshape(at.CURVES, -1)
    if not settings.exact:
        equity, cash, gross = equity / money, cash / money, gross / (lots * price_unit)
    reals, wholes = vectors.events_of(f, w)
    header = np.asarray(f[: at.HEADER], dtype=np.float64)
    symbols = np.asarray(f[at.HEADER : int(w[at.SYMBOLS_END])], dtype=np.float64).reshape(-1, at.SYMBOL_COLUMNS)
    return Run(
        symbols=tape.symbols,
        at=tape.at,
        equity=equity,
        cash=cash,
        gross=gross,
        shares=symbols[:, at.QUANTITY] / lots,
        marks=symbols[:, at.MARK] / price_unit,
        fills=_fills(reals, wholes, tape, lots, price_unit, money),
        refused=_refused(reals, wholes, tape, lots),
        cancelled=_cancelled(reals, wholes, tape, lots),
        skipped=int(w[at.SKIPS]),
        pending=_pending(f, w, tape, lots, price_unit),
        start_cash=float(settings.cash),
        fees=float(header[at.FEES]) / money,
        dividends=float(header[at.DIVIDENDS]) / money,
        realised=float(header[at.REALISED]) / money,
        borrow_cost=float(header[at.BORROWED]) / money,
        slippage_cost=float(header[at.SLIPPAGE]) / money,
        flatters=settings.fill_on == "same_close",
        compiled=compiled,
        settings=settings,
    )


def _told(reals: Floats, wholes: Ints, kind: int, table: Any, tape: Prepared) -> tuple[NDArray[Any], Floats, Ints]:
    """The log's lines of one kind, and a table for them that knows row, time and symbol."""
    chosen = wholes[:, at.E_KIND] == kind
    numbers, whats = (reals, wholes) if chosen.all() else (reals[chosen], wholes[chosen])
    told = np.zeros(len(whats), dtype=table)
    told["row"] = rows = whats[:, at.E_ROW]
    told["at"] = tape.at[rows]
    if len(tape.symbols) > 1:
        told["symbol"] = (whats[:, at.E_SYMBOL] - at.HEADER) // at.SYMBOL_COLUMNS
    return told, numbers, whats


def _fills(reals: Floats, wholes: Ints, tape: Prepared, lots: float, price_unit: int, money: int) -> NDArray[Any]:
    fills, numbers, whats = _told(reals, wholes, at.FILLED, FILL, tape)
    fills["side"] = whats[:, at.E_SIDE]
    fills["order"] = whats[:, at.E_SEQ]
    fills["kind"] = whats[:, at.E_TYPE]
    fills["decided"] = whats[:, at.E_DECIDED]
    fills["parent"] = whats[:, at.E_PARENT]
    for name, column, unit in (
        ("quantity", at.E_QUANTITY, lots),
        ("price", at.E_PRICE, price_unit),
        ("reference", at.E_REFERENCE, price_unit),
        ("fee", at.E_FEE, money),
        ("realised", at.E_REALISED, money),
        ("unfilled", at.E_UNFILLED, lots),
    ):
        fills[name] = numbers[:, column] if unit == 1 else numbers[:, column] / unit
    return fills


def _refused(reals: Floats, wholes: Ints, tape: Prepared, lots: float) -> NDArray[Any]:
    refused, numbers, whats = _told(reals, wholes, at.REFUSED, REFUSAL, tape)
    refused["side"] = whats[:, at.E_SIDE]
    refused["quantity"] = numbers[:, at.E_QUANTITY] / lots
    refused["bits"] = whats[:, at.E_BITS]
    return refused


def _cancelled(reals: Floats, wholes: Ints, tape: Prepared, lots: float) -> NDArray[Any]:
    gone, numbers, whats = _told(reals, wholes, at.CANCELLED, CANCELLED, tape)
    gone["order"] = whats[:, at.E_SEQ]
    gone["quantity"] = numbers[:, at.E_QUANTITY] / lots
    gone["reason"] = whats[:, at.E_BITS]
    return gone


def _pending(f: Any, w: Any, tape: Prepared, lots: float, price_unit: int) -> tuple[PendingOrder, ...]:
    orders = []
    for o in range(int(w[at.SYMBOLS_END]), int(w[at.ORDERS_END]), at.ORDER_COLUMNS):
        if w[o + at.O_ALIVE] == 0:
            continue
        limit, stop = float(f[o + at.O_LIMIT]) / price_unit, float(f[o + at.O_STOP]) / price_unit
        orders.append(
            PendingOrder(
                symbol=tape.symbols[(int(w[o + at.O_SYMBOL]) - at.HEADER) // at.SYMBOL_COLUMNS],
                side="buy" if w[o + at.O_SIDE] > 0 else "sell",
                quantity=float(f[o + at.O_QUANTITY]) / lots,
                type=ORDER_KINDS[int(w[o + at.O_TYPE])],
                limit=limit or None,
                stop=stop or None,
                decided=int(w[o + at.O_AT]),
                parent=int(w[o + at.O_PARENT]),
            )
        )
    return tuple(orders)


# --- many sets
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Many:
    """What became of each set of targets. Dollars."""

    final: Floats
    fills: Ints
    fees: Floats
    worst: Floats
    """Largest fall from the highest equity, as a share of it."""
    refused: Ints
    equity: Floats | None
    """Equity per set and row, when asked for."""


def simulate_many(
    market: Market | Prepared,
    targets: NDArray[Any],
    settings: EngineSettings | None = None,
    *,
    unit: Literal["weight", "shares"] = "weight",
    curves: bool = False,
    compiled: bool | None = None,
) -> Many:
    """Trade every set of ``targets`` on an account of its own; the compiled twin lets other threads run meanwhile.

    ``targets``: sets by rows for one symbol, sets by rows by symbols (sorted) for several; NaN is no opinion, and
    where a symbol has no bar there is none. Raises
    :class:`InvalidInputError` when the shape does not fit the market.
    """
    own = settings or EngineSettings()
    tape = market if isinstance(market, Prepared) else prepare(market, own)
    width = len(tape.symbols)
    values = np.asarray(targets, dtype=np.float64)
    if values.ndim == 2 and width == 1:
        values = values[:, :, np.newaxis]
    if values.ndim != 3 or values.shape[1:] != (tape.count, width):
        raise InvalidInputError(
            f"Targets of the shape {np.shape(targets)} do not fit {tape.count} rows of {width} symbols.",
            hint="Sets by rows (one symbol), or sets by rows by symbols.",
        )
    sets = values.shape[0]
    kernels = _kernels(compiled, values.size)
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    figures, counts = np.zeros(3 * sets), np.zeros(2 * sets, dtype=np.int64)
    curve = np.zeros((sets if curves else 1) * tape.count)
    rules = np.array(_rules(own, in_shares=unit == "shares"))
    cells = scaled_targets(np.ascontiguousarray(values).ravel(), unit, own, "targets")
    missing = tape.cells[: tape.count * width] == 0.0
    if missing.any():
        cells = np.where(missing, np.nan, cells.reshape(sets, -1)).ravel()
    inputs: tuple[Any, ...] = (rules, tape.cells, tape.days, tape.actions, tape.action_cells, cells, nothing, none)
    results: tuple[Any, ...] = (figures, counts, curve)
    if not kernels.compiled:
        inputs, results = as_lists(*inputs), as_lists(*results)
    room = vectors.Room()
    f, w = vectors.open_vectors(width, _cash(own), room, compiled=kernels.compiled)
    _permit(w, tape, own)
    done = 0
    while done < sets:
        done = kernels.sweep(f, w, *inputs, _cash(own), tape.count, *results, done, sets)
        if done < sets:
            room = room.larger()
            f, w = vectors.grown(f, w, room, compiled=kernels.compiled)
            _permit(w, tape, own)
    money = 1 if own.exact else 100
    figures, counts = np.asarray(results[0]).reshape(-1, 3), np.asarray(results[1]).reshape(-1, 2)
    return Many(
        final=figures[:, 0] / money,
        fees=figures[:, 1] / money,
        worst=figures[:, 2].copy(),
        fills=counts[:, 0].copy(),
        refused=counts[:, 1].copy(),
        equity=np.asarray(results[2]).reshape(sets, tape.count) / money if curves else None,
    )
