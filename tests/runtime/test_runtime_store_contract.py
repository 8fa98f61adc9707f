"""What every store promises, whatever the database: each test runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import START, message, order
from tests.runtime.postgres_server import PostgresServer

from retainer.core.clock import to_epoch
from retainer.core.effects import EffectState, RepeatClass
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import Migration, Tx
from retainer.runtime import bodies, effects
from retainer.runtime.auditing import settle
from retainer.runtime.base import BaseStore
from retainer.runtime.control import history, read_control, set_control
from retainer.runtime.explain import depth, explain, recent
from retainer.runtime.inbox import (
    end_event,
    insert_event,
    last_seq,
    load_event,
    next_of_lane,
    requeue,
    retry_event,
    select_events,
)
from retainer.runtime.journal import COMMIT, load_journal, record_step, steps_of
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore
from retainer.runtime.store import NewerDatabaseError, StorageError, savepoint
from retainer.runtime.timers import Timer, cancel_timer, fire_due, pending_timers, set_timer
from retainer.safety import audit, people
from retainer.safety.schema import MIGRATIONS as SAFETY

PLAIN = Migration("t/001", "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);\nCREATE INDEX t_v ON t (v);")
SCHEMA = (*RUNTIME, *SAFETY, PLAIN)
NOW = to_epoch(START)
Open = Callable[..., BaseStore]


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same database each time; what is open at the end is closed."""
    made: list[BaseStore] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""

    def open_(migrations: tuple[Migration, ...] = SCHEMA, *, owner: bool = True) -> BaseStore:
        if url:
            from retainer.runtime.postgres.store import PostgresStore

            made.append(PostgresStore.open(url, migrations, owner=owner, tick=0.05))
        else:
            made.append(SqliteStore.open(tmp_path / "r.db", migrations, owner=owner, tick=0.05))
        return made[-1]

    yield open_
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: Open) -> BaseStore:
    return open_store()


def keys(store: BaseStore) -> list[int]:
    return [row["k"] for row in store.view().query("SELECT k FROM t ORDER BY k")]


def put(tx: Tx, key: int, value: str = "x") -> int:
    return tx.insert("INSERT INTO t (k, v) VALUES (?, ?)", (key, value))


class Chain:
    """As much of a guard as the audit needs."""

    def record(self, tx: Tx, lane: str, kind: str, ref: str, data: Any, now: Any) -> None:
        audit.append(tx, lane, kind, ref, data, now)


# --- units of work ---------------------------------------------------------------------------------------------------
async def test_many_units_share_a_commit_and_a_failing_one_is_undone_alone(store: BaseStore) -> None:
    def unit(tx: Tx, key: int) -> int:
        put(tx, key)
        if key % 7 == 3:
            raise ValueError(str(key))
        return key

    found = await asyncio.gather(
        *(store.write(lambda tx, k=k: unit(tx, k)) for k in range(200)),  # type: ignore[misc]  # bound default
        return_exceptions=True,
    )
    good = [k for k in range(200) if k % 7 != 3]
    assert keys(store) == good
    assert [f for f in found if isinstance(f, int)] == good
    assert {str(f) for f in found if isinstance(f, ValueError)} == {str(k) for k in range(200) if k % 7 == 3}


async def test_a_broken_rule_of_the_schema_fails_its_unit_alone(store: BaseStore) -> None:
    found = await asyncio.gather(
        *(store.write(lambda tx, k=k: put(tx, k)) for k in (1, 2, 1, 3)),  # type: ignore[misc]  # bound default
        return_exceptions=True,
    )
    assert [type(f).__name__ if isinstance(f, Exception) else f for f in found[:2] + found[3:]] == [1, 2, 3]
    assert isinstance(found[2], Exception)
    assert not isinstance(found[2], StorageError)
    assert keys(store) == [1, 2, 3]


async def test_an_error_that_a_unit_swallows_does_not_spoil_the_others(store: BaseStore) -> None:
    def swallows(tx: Tx) -> str:
        try:
            tx.execute("INSERT INTO nowhere VALUES (1)")
        except Exception:  # noqa: BLE001 - the very mistake this test is about
            return "went on"
        return "impossible"

    found = await asyncio.gather(
        store.write(lambda tx: put(tx, 1)),
        store.write(swallows),
        store.write(lambda tx: put(tx, 2)),
        return_exceptions=True,
    )
    assert (found[0], found[2]) == (1, 2)
    assert found[1] == "went on" or isinstance(found[1], StorageError)
    assert keys(store) == [1, 2]


def test_a_savepoint_undoes_only_itself(store: BaseStore) -> None:
    def unit(tx: Tx) -> None:
        put(tx, 1)
        with pytest.raises(Exception, match=r"(?i)unique"), savepoint(tx):
            tx.query("INSERT INTO t (k) VALUES (2), (1) RETURNING k")
        with savepoint(tx):
            put(tx, 3)

    store.write_now(unit)
    assert keys(store) == [1, 3]


def test_a_unit_alone_that_fails_leaves_nothing(store: BaseStore) -> None:
    def unit(tx: Tx) -> None:
        put(tx, 1)
        raise KeyError("no")

    for _ in range(3):
        with pytest.raises(KeyError):
            store.write_now(unit)
    assert keys(store) == []
    store.write_now(lambda tx: put(tx, 2))
    assert keys(store) == [2]


def test_insert_tells_the_new_key_and_zero_when_ignored(store: BaseStore) -> None:
    sql = "INSERT INTO t (k, v) VALUES (?, 'x') ON CONFLICT DO NOTHING"
    assert store.write_now(lambda tx: (tx.insert(sql, (5,)), tx.insert(sql, (5,)))) == (5, 0)


def test_execute_tells_how_many_rows_changed(store: BaseStore) -> None:
    def unit(tx: Tx) -> list[int]:
        for key in range(5):
            put(tx, key)
        return [
            tx.execute("UPDATE t SET v = 'y' WHERE k > ?", (2,)),
            tx.execute("UPDATE t SET v = 'y' WHERE k > ?", (7,)),
            tx.execute("DELETE FROM t"),
        ]

    assert store.write_now(unit) == [2, 0, 5]


def test_a_transaction_is_over_when_its_unit_is(store: BaseStore) -> None:
    kept: list[Tx] = []
    store.write_now(kept.append)
    for call in (kept[0].query, kept[0].one, kept[0].execute, kept[0].insert):
        with pytest.raises(StorageError, match="has ended"):
            call("INSERT INTO t (k) VALUES (1)")


def test_write_soon_does_not_wait_and_survives_a_failure(store: BaseStore) -> None:
    store.write_soon(lambda tx: tx.execute("INSERT INTO nowhere VALUES (1)"))
    store.write_soon(lambda tx: put(tx, 1))
    store.write_now(lambda tx: put(tx, 2))
    assert keys(store) == [1, 2]


def test_marks_in_quotes_percents_and_every_kind_of_value_survive(store: BaseStore) -> None:
    texts = ["50 % of it?", "it's", "ünï ☃ \U0001f600", "", "a\\b\n"]

    def unit(tx: Tx) -> None:
        for key, text in enumerate(texts):
            put(tx, key, text)

    store.write_now(unit)
    view = store.view()
    assert [r["v"] for r in view.query("SELECT v FROM t ORDER BY k")] == texts
    assert view.one("SELECT k FROM t WHERE v = ? AND v LIKE '50 %?'", (texts[0],)) == {"k": 0}
    assert view.one("SELECT COUNT(*) AS n, SUM(k) AS s, MAX(v) AS m FROM t") == {"n": 5, "s": 10, "m": texts[2]}
    assert view.one("SELECT k, CAST(? AS TEXT) AS none FROM t WHERE k = ?", (None, 2)) == {"k": 2, "none": None}


def test_texts_sort_by_code_point(store: BaseStore) -> None:
    words = ["b", "B", "a", "_", "é", "A", "~"]
    store.write_now(lambda tx: [put(tx, key, word) for key, word in enumerate(words)])
    assert [r["v"] for r in store.view().query("SELECT v FROM t ORDER BY v")] == sorted(words)


def test_whole_numbers_truth_values_and_instants_keep_their_kind(store: BaseStore) -> None:
    at = 1_767_600_000.123456

    def unit(tx: Tx) -> None:
        tx.execute("INSERT INTO totp_slot (slot, used_at) VALUES (?, ?)", (2**40 + 1, at))
        tx.execute("INSERT INTO totp_slot (slot, used_at) VALUES (?, ?)", (True, 7))

    store.write_now(unit)
    rows = store.view().query("SELECT slot, used_at FROM totp_slot ORDER BY slot")
    assert rows == [{"slot": 1, "used_at": 7.0}, {"slot": 2**40 + 1, "used_at": at}]
    assert [type(value) for row in rows for value in row.values()] == [int, float, int, float]


# --- views -----------------------------------------------------------------------------------------------------------
def test_a_view_is_one_snapshot_and_a_new_one_sees_more(store: BaseStore) -> None:
    store.write_now(lambda tx: put(tx, 1))
    first = store.view()
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 1}
    store.write_now(lambda tx: put(tx, 2))
    assert store.view().one("SELECT COUNT(*) AS n FROM t") == {"n": 2}
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 1}
    first.close()
    assert first.one("SELECT COUNT(*) AS n FROM t") == {"n": 2}
    with store.view() as view:
        assert view.one("SELECT k FROM t WHERE k = 9") is None


def test_views_cannot_write_and_a_failed_query_harms_nobody(store: BaseStore) -> None:
    with pytest.raises(StorageError):
        store.view().query("INSERT INTO t (k) VALUES (1)")
    with pytest.raises(Exception, match="nowhere"):
        store.view().query("SELECT * FROM nowhere")
    assert keys(store) == []


def test_views_serve_any_thread(store: BaseStore) -> None:
    store.write_now(lambda tx: put(tx, 1))
    view, found = store.view(), []
    threads = [threading.Thread(target=lambda: found.append(view.one("SELECT k FROM t"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"k": 1}] * 8


def test_a_view_of_an_unhanded_query_gives_its_connection_back(store: BaseStore) -> None:
    for _ in range(60):
        assert store.view().query("SELECT 1 AS one") == [{"one": 1}]


# --- opening and closing ---------------------------------------------------------------------------------------------
def test_migrations_run_once_and_forward(open_store: Open) -> None:
    more = (*SCHEMA, Migration("u/001", "CREATE TABLE u (k INTEGER PRIMARY KEY);"))
    first = open_store()
    first.write_now(lambda tx: put(tx, 1))
    first.close()
    second = open_store(more)
    assert keys(second) == [1]
    assert {r["name"] for r in second.view().query("SELECT name FROM migration")} == {m.name for m in more}
    second.close()
    with pytest.raises(NewerDatabaseError, match=r"newer version \(it has u/001\)"):
        open_store()


def test_a_migration_that_fails_changes_nothing(open_store: Open) -> None:
    open_store().close()
    broken = Migration("u/001", "CREATE TABLE u (k INTEGER);\nCREATE TABLE t (k INTEGER);")
    with pytest.raises(StorageError, match="already exists"):
        open_store((*SCHEMA, broken))
    store = open_store()
    with pytest.raises(Exception, match="u"):
        store.view().query("SELECT * FROM u")


def test_a_migration_can_do_what_sql_alone_cannot_whole_or_not_at_all(open_store: Open) -> None:
    first = open_store()
    first.write_now(lambda tx: put(tx, 1))
    first.close()

    def spell(tx: Tx) -> None:
        for row in tx.query("SELECT k FROM t"):
            tx.execute("UPDATE t SET w = ? WHERE k = ?", (f"number {row['k']}", row["k"]))

    def spell_wrongly(tx: Tx) -> None:
        spell(tx)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        open_store((*SCHEMA, Migration("u/001", "ALTER TABLE t ADD COLUMN w TEXT;", spell_wrongly)))
    store = open_store((*SCHEMA, Migration("u/001", "ALTER TABLE t ADD COLUMN w TEXT;", spell)))
    assert store.view().query("SELECT k, w FROM t") == [{"k": 1, "w": "number 1"}]


def test_commands_neither_create_nor_change_the_schema(open_store: Open) -> None:
    with pytest.raises(NotFoundError, match="retainer up"):
        open_store(owner=False)
    open_store().close()
    with pytest.raises(StorageError, match="Restart the service"):
        open_store((*SCHEMA, Migration("u/001", "CREATE TABLE u (k INTEGER);")), owner=False)
    beside = open_store(owner=False)
    beside.write_now(lambda tx: put(tx, 1))
    assert keys(beside) == [1]


def test_a_closed_store_says_so(store: BaseStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.write_now(lambda tx: put(tx, 1))
    with pytest.raises(StorageError, match="closed"):
        store.view().query("SELECT 1")


def test_devices_that_were_paired_under_several_spellings_of_a_channel_are_one(open_store: Open) -> None:
    def pair(tx: Tx) -> None:
        people.ensure_local_owner(tx, START)
        for channel, name in (("Irc", "ann"), ("Telegram", "42"), ("TELEGRAM", "42"), ("telegram", "42")):
            tx.execute(
                "INSERT INTO identity (channel, stable_id, person_id, address, scope, paired_at) "
                "VALUES (?, ?, 'owner', ?, ?, 0)",
                (channel, name, f"{channel}:{name}", "propose" if channel == "telegram" else "admin"),
            )

    earlier = open_store((*RUNTIME, *SAFETY[:3]))
    earlier.write_now(pair)
    earlier.close()
    store = open_store()
    found = [people.identify(store.view(), *each) for each in (("irc", "ann"), ("Telegram", "42"))]
    assert [None if each is None else (each.channel, each.scope) for each in found] == [
        ("irc", "admin"),
        ("telegram", "propose"),
    ]
    code = store.write_now(lambda tx: people.issue_code(tx, "irc", "chat", START, by=found[1]))
    assert store.write_now(lambda tx: people.revoke(tx, START, channel="telegram", stable_id="42")) == 3
    assert store.write_now(lambda tx: people.redeem(tx, "irc", "kim", code, "Kim", START)).result == "wrong"


def test_names_of_migrations_are_unique(open_store: Open) -> None:
    with pytest.raises(InvalidInputError, match="share a name"):
        open_store((PLAIN, PLAIN))


def test_a_commit_of_another_process_is_noticed(open_store: Open) -> None:
    store, noticed = open_store(), threading.Event()
    other = open_store(owner=False)
    assert store.view().query("SELECT k FROM t") == []
    store.on_change(noticed.set)
    noticed.wait(0.3)  # what the opening itself committed
    noticed.clear()
    other.write_now(lambda tx: put(tx, 1))
    assert noticed.wait(20)
    store.on_change(None)


# --- inbox -----------------------------------------------------------------------------------------------------------
def test_received_twice_is_stored_once(store: BaseStore) -> None:
    first = store.write_now(lambda tx: insert_event(tx, message("hello"), START))
    again = store.write_now(lambda tx: insert_event(tx, message("hello"), START))
    assert (first.new, again.new, again.seq) == (True, False, first.seq)
    event = load_event(store.view(), first.seq)
    assert (event.body, event.lane, event.sender) == ({"text": "hello"}, "chat:terminal:local", "p1")
    assert store.view().one("SELECT COUNT(*) AS n FROM body") == {"n": 1}


def test_two_processes_that_receive_the_same_store_it_once(open_store: Open) -> None:
    stores = [open_store(), open_store(owner=False)]
    receipts: list[Any] = []

    def receive(store: BaseStore) -> None:
        for number in range(30):
            new = message("hi", number)
            receipt = store.write_now(partial(insert_event, new=new, now=START))
            receipts.append((number, receipt))

    threads = [threading.Thread(target=receive, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receipts) == 60
    assert sum(receipt.new for _, receipt in receipts) == 30
    assert len({(number, receipt.seq) for number, receipt in receipts}) == 30
    assert stores[0].view().one("SELECT COUNT(*) AS n FROM event") == {"n": 30}
    assert stores[0].view().one("SELECT COUNT(*) AS n FROM body") == {"n": 30}


def test_a_lane_gives_urgent_events_first_then_the_oldest(store: BaseStore) -> None:
    def fill(tx: Tx) -> None:
        for number, urgent in enumerate((False, False, True)):
            insert_event(tx, message(f"m{number}", number, urgent=urgent), START)
        insert_event(tx, message("other", 1, chat="b"), START)

    store.write_now(fill)
    lane, order_ = "chat:terminal:local", []
    for _ in range(3):
        row, wait = store.write_now(lambda tx: next_of_lane(tx, lane, NOW))
        assert row is not None
        assert wait == 0.0
        assert (row["attempts"], row["begun_at"]) == (1, NOW)
        order_.append(row["external_id"])
        ending = partial(end_event, seq=row["seq"], state="done", now=NOW)
        assert store.write_now(ending)
        assert not store.write_now(ending)
    assert order_ == ["local:2", "local:0", "local:1"]
    assert store.write_now(lambda tx: next_of_lane(tx, lane, NOW)) == (None, -1.0)


def test_a_failing_event_backs_off_dies_and_is_given_another_chance(store: BaseStore) -> None:
    seq = store.write_now(lambda tx: insert_event(tx, message("hello"), START)).seq
    store.write_now(lambda tx: retry_event(tx, seq, NOW + 5, "first"))
    assert store.write_now(lambda tx: next_of_lane(tx, "chat:terminal:local", NOW)) == (None, 5.0)
    store.write_now(lambda tx: end_event(tx, seq, "dead", NOW, "last"))
    found = explain(store.view(), seq)["event"]
    assert isinstance(found, dict)
    assert (found["state"], found["failures"], found["error"]) == ("dead", 1, "last")
    assert store.write_now(lambda tx: requeue(tx, seq))
    assert not store.write_now(lambda tx: requeue(tx, seq))
    row, _ = store.write_now(lambda tx: next_of_lane(tx, "chat:terminal:local", NOW))
    assert row is not None
    assert (row["failures"], row["not_before"]) == (0, 0.0)


# --- journal, effects, control, audit --------------------------------------------------------------------------------
def _event(store: BaseStore, text: str = "hello", number: int = 1) -> int:
    return store.write_now(lambda tx: insert_event(tx, message(text, number), START)).seq


def _order(
    store: BaseStore, state: EffectState = EffectState.READY, name: str = "order", seq: int | None = None
) -> str:
    event = _event(store) if seq is None else seq
    made = store.write_now(
        lambda tx: effects.insert_effect(
            tx,
            order(name),
            event_seq=event,
            lane="chat:terminal:local",
            agent="chat",
            state=state,
            repeat=RepeatClass.ENFORCED,
            now=START,
        )
    )
    return made.key


def test_the_journal_gives_back_what_was_recorded(store: BaseStore) -> None:
    seq = _event(store)

    def record(tx: Tx) -> None:
        record_step(tx, seq, "model:0", '{"n":[1,2.5,null,true],"text":"ünï"}', START, 0, "in", None)
        record_step(tx, seq, COMMIT + "abc", "true", START, 1, "", None)

    store.write_now(record)
    for _ in range(2):
        row, _ = store.write_now(lambda tx: next_of_lane(tx, "chat:terminal:local", NOW))
    assert row is not None
    journal = load_journal(store.view(), row)
    assert journal.steps["model:0"].value == {"text": "ünï", "n": [1, 2.5, None, True]}
    assert journal.steps["model:0"].fits("in")
    assert not journal.steps["model:0"].fits("other")
    assert journal.commitments == {"abc"}
    assert (journal.rows, journal.begun_at, journal.event.attempts) == (2, START, 2)
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.write_now(lambda tx: record_step(tx, seq, "model:0", "1", START, 2, "", None))
    assert [step.name for step in steps_of(store.view(), seq)] == ["model:0", COMMIT + "abc"]


def test_an_effect_goes_through_its_states_once(store: BaseStore) -> None:
    key = _order(store, EffectState.ASKED)

    def states(tx: Tx) -> list[bool]:
        return [
            effects.claim(tx, key, START),
            effects.make_ready(tx, key, START),
            effects.make_ready(tx, key, START),
            effects.claim(tx, key, START),
            effects.refuse(tx, key, "late", START),
        ]

    assert store.write_now(states) == [False, True, False, True, False]
    done = store.write_now(
        lambda tx: effects.end(tx, effects.by_key(tx, key), EffectState.DONE, START, result={"id": "b1"}, ref="b1")
    )
    assert (done.state, done.result, done.ref, done.attempts) == (EffectState.DONE, {"id": "b1"}, "b1", 1)
    outcome = store.view().one("SELECT kind, external_id FROM event WHERE source = 'effect'")
    assert outcome == {"kind": "outcome", "external_id": f"{key}:done"}
    assert not store.write_now(lambda tx: effects.claim(tx, key, START))


def test_words_erased_while_an_effect_was_being_sent_do_not_return_with_its_outcome(store: BaseStore) -> None:
    key = _order(store)
    sending = effects.by_key(store.view(), key)
    assert sending.args
    assert sending.summary

    def erased_meanwhile(tx: Tx) -> None:
        row = tx.one("SELECT args_id, summary_id FROM effect WHERE key = ?", (key,))
        assert row is not None
        for body in (row["args_id"], row["summary_id"]):
            bodies.erase(tx, body)
        effects.claim(tx, key, START)

    store.write_now(erased_meanwhile)
    ended = store.write_now(lambda tx: effects.end(tx, sending, EffectState.DONE, START, ref="b1"))
    assert (ended.args, ended.summary, ended.ref, ended.attempts) == ({}, effects.ERASED, "b1", 1)
    [outcome] = select_events(store.view(), "e.source = 'effect'")
    assert (outcome.body["args"], outcome.body["summary"]) == ({}, effects.ERASED)
    again = store.write_now(lambda tx: effects.end(tx, sending, EffectState.UNKNOWN, START, reason="late"))
    assert (again.state, again.reason) == (EffectState.DONE, "")


def test_stop_refuses_waiting_orders_in_the_same_transaction(store: BaseStore) -> None:
    seq = _event(store)
    waiting = [_order(store, state, f"o{n}", seq) for n, state in enumerate((EffectState.ASKED, EffectState.READY))]
    assert read_control(store.view()).state == "running"

    def stop(tx: Tx) -> int:
        set_control(tx, "stopped", by="owner", reason="enough", now=START)
        return effects.refuse_orders(tx, "stopped", START)

    assert store.write_now(stop) == 2
    assert {effects.by_key(store.view(), key).state for key in waiting} == {EffectState.REFUSED}
    late = _order(store, EffectState.ASKED, "late", seq)
    assert not store.write_now(lambda tx: effects.make_ready(tx, late, START))
    store.write_now(lambda tx: set_control(tx, "running", by="owner", reason="", now=START))
    assert [c.state for c in history(store.view())] == ["running", "stopped"]


def test_every_change_is_audited_once_in_its_lanes_chain(store: BaseStore) -> None:
    def settled(tx: Tx) -> Any:
        return settle(tx, Chain(), last_seq(tx), START)  # type: ignore[arg-type]  # as much of a guard as this needs

    key = _order(store)
    store.write_now(lambda tx: set_control(tx, "paused", by="owner", reason="Anna Example said pause", now=START))
    woken = store.write_now(settled)
    assert woken.queues == {"account:paper"}
    store.write_now(settled)
    store.write_now(
        lambda tx: (effects.claim(tx, key, START), effects.end(tx, effects.by_key(tx, key), EffectState.DONE, START))
    )
    store.write_now(settled)
    view = store.view()
    assert [e.kind for e in audit.entries(view, "chat:terminal:local")][::-1] == ["effect.allowed", "effect.done"]
    [paused] = audit.entries(view, "control")
    assert paused.kind == "control"
    assert "Anna" not in str(paused.data), "what nobody could erase"
    assert paused.data["reason"]
    assert audit.verify(view).ok
    store.write_now(lambda tx: tx.execute("UPDATE audit SET data = '{}' WHERE lane = 'control'"))
    assert not audit.verify(store.view()).ok


def test_erased_texts_are_gone_and_the_chain_still_verifies(store: BaseStore) -> None:
    key = _order(store)
    store.write_now(lambda tx: settle(tx, Chain(), last_seq(tx), START))  # type: ignore[arg-type]  # as above
    rows = store.view().query("SELECT args_id, summary_id FROM effect WHERE key = ?", (key,))
    for row in rows:
        for body_id in row.values():
            if body_id is not None:
                assert store.write_now(partial(bodies.erase, body_id=body_id))
    store.checkpoint()
    found = effects.by_key(store.view(), key)
    assert (dict(found.args), found.summary) == ({}, effects.ERASED)
    assert audit.verify(store.view()).ok


def test_erased_bytes_are_gone_from_the_tables_files(
    store: BaseStore, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    secret = "the-combination-is-" + "7" * 30
    ids = store.write_now(lambda tx: [bodies.put(tx, {"text": text}) for text in ("kept", secret, "kept too")])
    assert store.write_now(lambda tx: bodies.erase(tx, ids[1]))
    store.checkpoint()
    assert [bodies.get(store.view(), i) for i in ids] == [{"text": "kept"}, None, {"text": "kept too"}]
    if isinstance(store, SqliteStore):
        files = list(tmp_path.iterdir())
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        files = list(server.files())
    assert any(b"kept too" in path.read_bytes() for path in files)
    assert not any(secret.encode() in path.read_bytes() for path in files)


# --- timers and reading ----------------------------------------------------------------------------------------------
def test_timers_fire_once_and_move_on(store: BaseStore) -> None:
    once = Timer(lane="a", name="once", agent="chat", at=START + timedelta(seconds=5), body={"x": 1})
    daily = Timer(lane="b", name="daily", agent="chat", cron="0 9 * * *", zone="UTC")
    gone = Timer(lane="b", name="gone", agent="chat", at=START)
    store.write_now(lambda tx: [set_timer(tx, timer, START) for timer in (once, daily, gone)])
    assert store.write_now(lambda tx: cancel_timer(tx, "b", "gone"))
    assert [t.name for t in pending_timers(store.view())] == ["once", "daily"]
    assert [t.name for t in pending_timers(store.view(), "b")] == ["daily"]
    later = START + timedelta(days=1)
    assert store.write_now(lambda tx: fire_due(tx, later)) == 2
    assert store.write_now(lambda tx: fire_due(tx, later)) == 0
    assert [t.name for t in pending_timers(store.view())] == ["daily"]
    assert load_event(store.view(), 1).body == {"name": "once", "x": 1}


def test_the_records_can_be_read_in_every_way(store: BaseStore) -> None:
    seq = _event(store)
    key = _order(store, EffectState.ASKED, "o", seq)
    _event(store, "again", 2)
    figures = depth(store.view())
    assert figures.waiting == {"chat:terminal:local": 2}
    assert (figures.effects["asked"], figures.events, figures.timers) == (1, 2, 0)
    for choice in ({}, {"lane": "chat:terminal:local"}, {"agent": "chat", "kind": "message"}, {"state": "waiting"}):
        assert [event["seq"] for event in recent(store.view(), **choice)] == [2, 1]  # type: ignore[arg-type]
    assert recent(store.view(), lane="nowhere") == []
    assert [event["seq"] for event in recent(store.view(), before=2)] == [1]
    told = explain(store.view(), seq)
    assert isinstance(told["effects"], list)
    assert [e["key"] for e in told["effects"] if isinstance(e, dict)] == [key]
    with pytest.raises(NotFoundError, match="no event 99"):
        explain(store.view(), 99)
