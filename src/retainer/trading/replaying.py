"""Replay: the events of an account's lane, folded again by the same kernels, against everything that was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from retainer.core.errors import NotFoundError
from retainer.core.protocols import Row, View
from retainer.core.values import Json
from retainer.trading.bars import Bar
from retainer.trading.brokers.paper import TOOL, order_from_args
from retainer.trading.handlers.on_bar import read_bar_event
from retainer.trading.kernels import apply_accept, cancel_where, fill, open_account, order_id, propose
from retainer.trading.records import epoch, load, read_bars
from retainer.trading.state import AccountState, Fill, Order, Posting, ProposedOrder, equity
from retainer.trading.steps import Step, read_steps, rules_in, taken_orders
from retainer.trading.units import ns_to_datetime
from retainer.trading.words import count

_FILL: Final = ("order_id", "symbol", "side", "quantity", "price", "reference", "fee", "realised", "strategy")
_LINE: Final = ("kind", "symbol", "quantity", "price", "amount", "realised", "order_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that was recorded otherwise than the events make it."""

    event: int
    """Number of the event, as ``retainer log`` shows it."""
    version: int
    at: int
    """The account's time, ns."""
    kind: str
    """Of the step: ``bar``, ``change`` or ``start``."""
    what: str
    """``bars``, ``orders``, ``fills``, ``ledger``, ``close``, ``decisions`` or ``state``."""
    recorded: str
    replayed: str

    @property
    def words(self) -> str:
        """One sentence for a person."""
        step = {"bar": "a bar set", "change": "a change of orders"}.get(self.kind, self.kind)
        when = f"{ns_to_datetime(self.at):%Y-%m-%d %H:%M} UTC, {step}"
        return (
            f"Version {self.version} (event {self.event}, {when}) differs in its {self.what}: recorded "
            f"{self.recorded}, replayed {self.replayed}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What folding an account's recorded events gave."""

    account: str
    steps: int
    bars: int
    """Bar sets among them."""
    orders: int
    fills: tuple[Fill, ...]
    postings: int
    """Ledger lines."""
    state: AccountState
    first: int
    """The account's time at the first step, ns."""
    differences: tuple[Difference, ...] = ()
    """The first one of each kind, in order."""

    @property
    def equal(self) -> bool:
        """Whether every version has its recorded digest, and every fill, ledger line and close is as recorded."""
        return not self.differences

    @property
    def difference(self) -> str:
        """The first difference in words; empty when there is none."""
        return self.differences[0].words if self.differences else ""

    @property
    def words(self) -> str:
        """A sentence or two for a person."""
        what = (
            f"{count(self.steps, 'step')} with {count(self.bars, 'bar set')}, {count(self.orders, 'order')}, "
            f"{count(len(self.fills), 'fill')} and {count(self.postings, 'ledger line')}"
        )
        if self.equal:
            return f"Replayed {what}: all of the account '{self.account}' is the same, bit for bit."
        return f"Replayed {what}: NOT the same. {self.difference}"

    def to_json(self) -> dict[str, Json]:
        """Everything but the state and the single fills, as plain JSON."""
        return {
            "account": self.account,
            "equal": self.equal,
            "steps": self.steps,
            "bars": self.bars,
            "orders": self.orders,
            "fills": len(self.fills),
            "ledger": self.postings,
            "from": ns_to_datetime(self.first).isoformat(),
            "to": ns_to_datetime(self.state.at).isoformat(),
            "version": self.state.version,
            "digest": self.state.digest(),
            "differences": [{**asdict(one), "at": ns_to_datetime(one.at).isoformat()} for one in self.differences],
        }


def replay(view: View, account: str = "paper") -> Replay:
    """Fold everything the account's lane has recorded: bars as they came in, orders as they were accepted, and what
    people cancelled and stopped. Raises :class:`NotFoundError` when there is nothing.

    Also right while the service writes on: what came after the state that was read first is left alone.
    """
    return _Fold(_read(view, account)).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What the database says, read before anything is folded."""

    stored: AccountState
    steps: Sequence[Step]
    taken: Mapping[int, Sequence[Order]]
    asked: Mapping[str, Order]
    """Orders by id as the effects say that they were sent."""
    sets: Mapping[int, Mapping[str, Bar]]
    """Bars by close as they are kept."""
    events: Mapping[int, Mapping[str, Any]]
    """Bar events as they came in, by number; those that were erased are missing."""
    fills: Mapping[int, Sequence[Row]]
    ledger: Mapping[int, Sequence[Row]]
    decisions: Mapping[int, Sequence[Row]]
    closes: Mapping[float, int]
    cash: int


def _read(view: View, account: str) -> _Record:
    stored = load(view, account)
    steps = [] if stored is None else [s for s in read_steps(view, account) if s.version <= stored.version]
    if stored is None or not steps:
        raise NotFoundError(f"The account '{account}' has recorded nothing yet.", hint="Wait for its first bar.")
    sets: dict[int, dict[str, Bar]] = {}
    for bar in read_bars(view, account):
        sets.setdefault(bar.close_time, {})[bar.symbol] = bar
    ledger = _by_event(view, "ledger", account, steps[-1])
    deposit = next((row for rows in ledger.values() for row in rows if row["kind"] == "deposit"), None)
    return _Record(
        stored=stored,
        steps=steps,
        taken=taken_orders(view, account),
        asked={order.id: order for order in _asked(view, account)},
        sets=sets,
        events=_events(view, account),
        fills=_by_event(view, "fill", account, steps[-1]),
        ledger=ledger,
        decisions=_by_event(view, "decision", account, steps[-1]),
        closes={
            row["at"]: row["equity"]
            for row in view.query("SELECT at, equity FROM equity WHERE account = ?", (account,))
        },
        cash=int(deposit["amount"]) if deposit else 0,
    )


def _by_event(view: View, table: str, account: str, last: Step) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    sql = f"SELECT * FROM {table} WHERE account = ? AND event_seq <= ? ORDER BY id"  # noqa: S608  names of ours
    for row in view.query(sql, (account, last.event_seq)):
        found.setdefault(row["event_seq"], []).append(row)
    return found


def _events(view: View, account: str) -> dict[int, Mapping[str, Any]]:
    rows = view.query(
        "SELECT event.seq, body.bytes FROM event JOIN body ON body.id = event.body_id"
        " WHERE event.lane = ? AND event.kind = 'bar'",
        (f"account:{account}",),
    )
    return {row["seq"]: json.loads(row["bytes"]) for row in rows}


def _asked(view: View, account: str) -> Iterator[Order]:
    rows = view.query(
        "SELECT body.bytes FROM effect JOIN body ON body.id = effect.args_id"
        " WHERE effect.tool = ? AND effect.queue = ?",
        (TOOL, f"account:{account}"),
    )
    for row in rows:
        args = json.loads(row["bytes"])
        for leg in args.get("legs") or [args]:
            yield order_from_args(leg)


class _Fold:
    """The fold, and the first difference of each kind."""

    def __init__(self, record: _Record) -> None:
        self._record = record
        self._differences: dict[str, Difference] = {}
        self._fills: list[Fill] = []
        self._postings = 0

    def run(self) -> Replay:
        """Step by step, each compared as soon as it is done."""
        record, account = self._record, self._record.stored.account
        steps = record.steps
        state = open_account(record.cash, account)[0] if record.cash else AccountState(account=account)
        for step in steps:
            if step.inputs["kind"] == "start":
                state = AccountState.from_json(step.inputs["state"])
            else:
                state = self._step(state, step, first=step is steps[0])
            self._compare(step, "state", step.digest[:16], state.digest()[:16])
        self._last(steps[-1], state)
        self._strangers(steps)
        return Replay(
            account=account,
            steps=len(steps),
            bars=sum(1 for step in steps if step.inputs["kind"] == "bar"),
            orders=sum(len(record.taken.get(step.event_seq, ())) for step in steps),
            fills=tuple(self._fills),
            postings=self._postings,
            state=state,
            first=steps[0].at,
            differences=tuple(sorted(self._differences.values(), key=lambda one: one.version)),
        )

    def _step(self, state: AccountState, step: Step, *, first: bool) -> AccountState:
        inputs = step.inputs
        lines: tuple[Posting, ...] = ()
        if first:
            lines = (Posting(at=step.at, kind="deposit", amount=state.cash),)
        for order in self._record.taken.get(step.event_seq, ()):
            sent = self._record.asked.get(order.id)
            if sent is not None:
                self._compare(step, "orders", _order_words(order), _order_words(sent))
            state = apply_accept(state, order)
        if inputs["kind"] == "change":
            kept = set(inputs["kept"])
            state, _ = cancel_where(state, lambda order: order.id not in kept)
            state = replace(state, blocked=tuple(inputs["blocked"]))
            fills: tuple[Fill, ...] = ()
        else:
            state, fills, more = self._bar(state, step)
            lines = (*lines, *more)
            self._compare(step, "close", self._record.closes.get(epoch(step.at)), equity(state))
        rows: Sequence[Row] = self._record.fills.get(step.event_seq, ())
        kept_lines: Sequence[Row] = self._record.ledger.get(step.event_seq, ())
        self._compare(step, "fills", _table(rows, _FILL), _table([asdict(one) for one in fills], _FILL))
        self._compare(step, "ledger", _table(kept_lines, _LINE), _table([asdict(one) for one in lines], _LINE))
        self._fills += fills
        self._postings += len(lines)
        return state.bumped()

    def _bar(self, state: AccountState, step: Step) -> tuple[AccountState, tuple[Fill, ...], tuple[Posting, ...]]:
        inputs = step.inputs
        bars = self._bars(step)
        if inputs["stopped"]:
            state, _ = cancel_where(state, lambda order: order.side == "buy" and not order.protective)
        limits, fees = rules_in(inputs)
        filled = fill(state, bars, step.at, fees)
        state = filled.state
        name = str(inputs.get("strategy", {}).get("name", ""))
        proposal = propose(state, limits, inputs["targets"], step.at, name)
        if name:
            wanted = [_wish(order, state.account, step.at) for order in proposal.orders]
            self._compare(step, "decisions", self._decided(step), _table(wanted, _DECISION))
        return (proposal.state if inputs["targets"] else state), filled.fills, filled.postings

    def _bars(self, step: Step) -> Mapping[str, Bar]:
        """The bar set as its event brought it in; as it is kept, where the event's text was erased."""
        kept = self._record.sets.get(step.at, {})
        body = self._record.events.get(step.event_seq)
        if body is None:
            return kept
        at, brought = read_bar_event(body)
        self._compare(step, "bars", _bar_words(step.at, kept), _bar_words(at, brought))
        return brought

    def _decided(self, step: Step) -> str:
        rows = self._record.decisions.get(step.event_seq, ())
        return _table([row for row in rows if row["author"].startswith("strategy:")], _DECISION)

    def _last(self, step: Step, state: AccountState) -> None:
        """The state as it is kept, field by field."""
        kept, made = self._record.stored.to_json(), state.to_json()
        names = [name for name in made if kept.get(name) != made[name]]
        for name in names[:1]:
            self._compare(step, "state", f"{name} {_short(kept.get(name))}", f"{name} {_short(made[name])}")

    def _strangers(self, steps: Sequence[Step]) -> None:
        """Fills and ledger lines that no step of the account made."""
        known = {step.event_seq for step in steps}
        begun = steps[0].event_seq
        for what, rows, columns in (("fills", self._record.fills, _FILL), ("ledger", self._record.ledger, _LINE)):
            for event in sorted(seq for seq in rows if seq not in known and seq > begun):
                before = [step for step in steps if step.event_seq < event][-1]
                self._compare(replace(before, event_seq=event), what, _table(rows[event], columns), _NOTHING)

    def _compare(self, step: Step, what: str, recorded: object, replayed: object) -> None:
        if recorded == replayed or what in self._differences:
            return
        self._differences[what] = Difference(
            event=step.event_seq,
            version=step.version,
            at=step.at,
            kind=str(step.inputs["kind"]),
            what=what,
            recorded=_NOTHING if recorded is None else str(recorded),
            replayed=_NOTHING if replayed is None else str(replayed),
        )


_NOTHING: Final = "nothing"
_DECISION: Final = ("symbol", "side", "quantity", "price", "order_id")


def _wish(order: ProposedOrder, account: str, at: int) -> dict[str, Any]:
    name = order_id(account, order.strategy, order.symbol, order.side, at)
    return {**asdict(order), "order_id": name}


def _table(rows: Sequence[Mapping[str, Any] | Row], columns: Sequence[str]) -> str:
    """Rows as text that is equal only if every value is."""
    return "; ".join(" ".join(f"{row[name]}" for name in columns) for row in rows) or _NOTHING


def _bar_words(at: int, bars: Mapping[str, Bar]) -> str:
    return "; ".join(f"{symbol} {at} {_table([bar.to_body()], _BAR)}" for symbol, bar in sorted(bars.items()))


_BAR: Final = ("open", "high", "low", "close", "volume", "factor")


def _order_words(order: Order) -> str:
    return " ".join(f"{value}" for name, value in asdict(order).items() if name != "reply_to")


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:200]}..."
