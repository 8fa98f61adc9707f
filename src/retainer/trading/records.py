"""Rows of an account: read as values, written together in the close of the event that changed them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from retainer.core.errors import RetainerError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import canonical, digest
from retainer.trading.bars import Bar
from retainer.trading.state import AccountState, Fill, Order, Posting, equity
from retainer.trading.steps import write_step
from retainer.trading.units import NS

EXIT_AUTHOR: Final = "exit:"


def epoch(ns: int) -> float:
    """Nanoseconds as the store keeps instants. Exact: bars and orders are stamped on whole seconds."""
    return ns / NS


def nanoseconds(seconds: float) -> int:
    """Inverse of :func:`epoch`."""
    return round(seconds * NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """Why an order was or was not made: what ``why`` answers from. Prices in units, ``at`` in nanoseconds."""

    at: int
    author: str
    """``strategy:<name>``, ``exit:<name>`` for its protective exits, or the id of the person who asked for it."""
    symbol: str
    side: str
    quantity: int
    price: int
    order_id: str
    state: str
    """``proposed``, ``asked``, ``accepted``, ``filled``, ``cancelled``, ``refused`` or ``unknown``."""
    indicators: Mapping[str, Any] = field(default_factory=dict)
    signal: str = ""
    risk: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the strategy saw in a symbol at its last look, order or none."""

    symbol: str
    at: int
    target: int
    """Wanted weight, basis points of equity."""
    indicators: Mapping[str, Any]
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Everything one event changes in one account: written whole, or not at all."""

    before: int | None
    """Version of the stored state this was computed from; ``None``: the account is opened now."""
    state: AccountState
    taken: tuple[int, ...] = ()
    """Accepted orders (``paper_order.seq``) that entered the state."""
    bars: tuple[Bar, ...] = ()
    fills: tuple[Fill, ...] = ()
    postings: tuple[Posting, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    ended: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Order id -> (new state, reason) of decisions and orders that moved on."""
    evaluations: tuple[Evaluation, ...] = ()
    mark: bool = False
    """Whether equity is marked at the state's time."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What a bar set was handled with beside the bars (control, targets, limits, fees), for replay."""


def load(view: View, account: str) -> AccountState | None:
    """The stored state. Raises :class:`RetainerError` when it is not what was written."""
    row = view.one("SELECT state, digest FROM account WHERE id = ?", (account,))
    if row is None:
        return None
    stored = json.loads(row["state"])
    if digest(stored) != row["digest"]:
        raise RetainerError(
            f"The stored state of the account '{account}' does not match its digest.",
            hint="Restore a backup, or replay the account from its events.",
        )
    return AccountState.from_json(stored)


def waiting_orders(view: View, account: str) -> list[tuple[int, Order]]:
    """Orders the paper broker accepted that have not entered the state yet, in order of acceptance."""
    rows = view.query(
        "SELECT seq, body FROM paper_order WHERE account = ? AND taken_by IS NULL AND state = 'accepted' ORDER BY seq",
        (account,),
    )
    return [(row["seq"], Order(**json.loads(row["body"]))) for row in rows]


def accept_row(tx: Tx, account: str, order: Order, effect_key: str) -> bool:
    """The paper broker takes ``order``; ``False`` when it has it already (its id is unique for ever)."""
    if tx.one("SELECT seq FROM paper_order WHERE id = ?", (order.id,)) is not None:
        return False
    tx.execute(
        "INSERT INTO paper_order (id, account, effect_key, at, symbol, side, quantity, strategy, body, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'accepted')",
        (
            order.id,
            account,
            effect_key,
            epoch(order.at),
            order.symbol,
            order.side,
            order.quantity,
            order.strategy,
            _text(asdict(order)),
        ),
    )
    return True


def write(tx: Tx, event_seq: int, change: Change) -> None:
    """Write ``change``. Raises :class:`RetainerError` if the account moved on meanwhile (nothing is written)."""
    write_step(tx, event_seq, change)
    _write_state(tx, event_seq, change)
    account = change.state.account
    for seq in change.taken:
        tx.execute("UPDATE paper_order SET taken_by = ? WHERE seq = ?", (event_seq, seq))
    for bar in change.bars:
        _write_bar(tx, account, bar)
    for posting in change.postings:
        _write_posting(tx, account, event_seq, posting)
    for decision in change.decisions:
        _write_decision(tx, account, event_seq, decision)
    for order_id, (state, reason) in change.ended.items():
        tx.execute("UPDATE paper_order SET state = ?, reason = ? WHERE id = ?", (state, reason, order_id))
        tx.execute("UPDATE decision SET state = ? WHERE order_id = ?", (state, order_id))
    for fill in change.fills:
        _write_fill(tx, account, event_seq, fill)
    for evaluation in change.evaluations:
        _write_evaluation(tx, account, evaluation)
    if change.mark:
        _write_mark(tx, change.state)


def _write_state(tx: Tx, event_seq: int, change: Change) -> None:
    state = change.state
    text, digest, at = _text(state.to_json()), state.digest(), epoch(state.at)
    if change.before is None:
        if tx.one("SELECT id FROM account WHERE id = ?", (state.account,)) is None:
            tx.execute(
                "INSERT INTO account (id, version, at, state, digest, event_seq) VALUES (?, ?, ?, ?, ?, ?)",
                (state.account, state.version, at, text, digest, event_seq),
            )
            return
    elif tx.execute(
        "UPDATE account SET version = ?, at = ?, state = ?, digest = ?, event_seq = ? WHERE id = ? AND version = ?",
        (state.version, at, text, digest, event_seq, state.account, change.before),
    ):
        return
    raise RetainerError(
        f"The account '{state.account}' was changed by somebody else meanwhile.", hint="The event is handled again."
    )


def _write_bar(tx: Tx, account: str, bar: Bar) -> None:
    tx.execute(
        "INSERT INTO bar (account, at, symbol, open, high, low, close, volume, factor)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account,
            epoch(bar.close_time),
            bar.symbol,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.factor,
        ),
    )


def _write_posting(tx: Tx, account: str, event_seq: int, posting: Posting) -> None:
    tx.execute(
        "INSERT INTO ledger (account, event_seq, at, kind, symbol, quantity, price, amount, realised, order_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account,
            event_seq,
            epoch(posting.at),
            posting.kind,
            posting.symbol,
            posting.quantity,
            posting.price,
            posting.amount,
            posting.realised,
            posting.order_id,
        ),
    )


def _write_fill(tx: Tx, account: str, event_seq: int, fill: Fill) -> None:
    tx.execute(
        "INSERT INTO fill (account, event_seq, order_id, at, symbol, side, quantity, price, reference, fee, realised,"
        " strategy) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account,
            event_seq,
            fill.order_id,
            epoch(fill.at),
            fill.symbol,
            fill.side,
            fill.quantity,
            fill.price,
            fill.reference,
            fill.fee,
            fill.realised,
            fill.strategy,
        ),
    )


def _write_decision(tx: Tx, account: str, event_seq: int, decision: DecisionRecord) -> None:
    tx.execute(
        "INSERT INTO decision (account, event_seq, at, author, symbol, side, quantity, price, order_id, state,"
        " indicators, signal, risk, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account,
            event_seq,
            epoch(decision.at),
            decision.author,
            decision.symbol,
            decision.side,
            decision.quantity,
            decision.price,
            decision.order_id,
            decision.state,
            _text(dict(decision.indicators)),
            decision.signal,
            decision.risk,
            decision.reason,
        ),
    )


def _write_evaluation(tx: Tx, account: str, evaluation: Evaluation) -> None:
    tx.execute("DELETE FROM evaluation WHERE account = ? AND symbol = ?", (account, evaluation.symbol))
    tx.execute(
        "INSERT INTO evaluation (account, symbol, at, target, indicators, signal) VALUES (?, ?, ?, ?, ?, ?)",
        (
            account,
            evaluation.symbol,
            epoch(evaluation.at),
            evaluation.target,
            _text(dict(evaluation.indicators)),
            evaluation.signal,
        ),
    )


def _write_mark(tx: Tx, state: AccountState) -> None:
    tx.execute(
        "INSERT INTO equity (account, at, equity, cash) VALUES (?, ?, ?, ?)",
        (state.account, epoch(state.at), equity(state), state.cash),
    )


def read_bars(view: View, account: str, symbol: str | None = None) -> list[Bar]:
    """Every bar the account has seen (of ``symbol``), oldest first."""
    where, params = ("AND symbol = ?", (account, symbol)) if symbol else ("", (account,))
    rows = view.query(f"SELECT * FROM bar WHERE account = ? {where} ORDER BY at, symbol", params)  # noqa: S608  constant
    return [_bar(row) for row in rows]


def _bar(row: Row) -> Bar:
    return Bar(
        symbol=row["symbol"],
        close_time=nanoseconds(row["at"]),
        open=row["open"],
        high=row["high"],
        low=row["low"],
        close=row["close"],
        volume=row["volume"],
        factor=row["factor"],
    )


def read_postings(view: View, account: str) -> list[Posting]:
    """The whole ledger, oldest first."""
    rows = view.query("SELECT * FROM ledger WHERE account = ? ORDER BY id", (account,))
    return [
        Posting(
            at=nanoseconds(row["at"]),
            kind=row["kind"],
            symbol=row["symbol"],
            quantity=row["quantity"],
            price=row["price"],
            amount=row["amount"],
            realised=row["realised"],
            order_id=row["order_id"],
        )
        for row in rows
    ]


def read_marks(view: View, account: str) -> list[tuple[int, int]]:
    """Equity at every close: (nanoseconds, cents), oldest first."""
    rows = view.query("SELECT at, equity FROM equity WHERE account = ? ORDER BY at", (account,))
    return [(nanoseconds(row["at"]), row["equity"]) for row in rows]


def read_fills(view: View, account: str) -> list[Row]:
    """Every fill, oldest first, as rows."""
    return view.query("SELECT * FROM fill WHERE account = ? ORDER BY id", (account,))


def _text(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return canonical(value).decode()
