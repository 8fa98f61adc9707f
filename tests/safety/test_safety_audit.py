"""The audit chain shows every kind of tampering."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError
from retainer.safety import audit
from retainer.safety.audit import Anchor
from retainer.safety.local import LocalStore
from retainer.safety.redact import default_redactor

WHEN = datetime.fromisoformat("2026-11-02T15:00:00+00:00")


def chain(lanes: dict[str, int]) -> LocalStore:
    store = LocalStore()
    for lane, count in lanes.items():
        for n in range(count):
            at = WHEN + timedelta(seconds=n)
            store.write_now(
                lambda tx, lane=lane, n=n, at=at: audit.append(tx, lane, "effect.done", f"e{n}:x", {"n": n}, at)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            )
    return store


def tampered(store: LocalStore, sql: str, *params: object) -> tuple[str, ...]:
    anchors = audit.anchors(store.view())
    store.write_now(lambda tx: tx.execute(sql, params))
    return tuple(problem.what for problem in audit.verify(store.view(), anchors).problems)


@pytest.mark.parametrize(("lane", "kind", "ref"), [(5, "k", "r"), ("home", True, "r"), ("home", "k", 1.5)])
def test_only_texts_are_appended_or_the_chain_would_not_hold(lane: Any, kind: Any, ref: Any) -> None:
    store = LocalStore()
    with pytest.raises(InvalidInputError):
        store.write_now(lambda tx: audit.append(tx, lane, kind, ref, {}, WHEN))
    assert audit.verify(store.view()).ok
    store.close()


def test_an_untouched_chain_holds_and_grows_past_its_anchor() -> None:
    store = chain({"a": 3, "b": 2})
    anchors = audit.anchors(store.view())
    store.write_now(lambda tx: audit.append(tx, "a", "effect.done", "e9:x", {}, WHEN))
    report = audit.verify(store.view(), anchors)
    assert report.ok
    assert report.entries == 6
    assert report.anchors["a"].count == 4
    assert report.words == "6 entries in 2 chains, each as it was written"


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("UPDATE audit SET data = '{\"n\":99}' WHERE lane = 'a' AND n = 2", "changed: entry 2"),
        ("UPDATE audit SET at = at + 1 WHERE lane = 'a' AND n = 2", "changed: entry 2"),
        ("UPDATE audit SET kind = 'effect.refused' WHERE lane = 'a' AND n = 1", "changed: entry 1"),
        ("UPDATE audit SET ref = 'e7:y' WHERE lane = 'a' AND n = 3", "changed: entry 3"),
        ("DELETE FROM audit WHERE lane = 'a' AND n = 2", "removed: entry 2"),
        ("DELETE FROM audit WHERE lane = 'a' AND n = 1", "removed: entry 1"),
        ("DELETE FROM audit WHERE lane = 'a' AND n = 4", "cut: 3 entries where the anchor counts 4"),
        ("DELETE FROM audit WHERE lane = 'a'", "cut: 0 entries where the anchor counts 4"),
        ("UPDATE audit SET lane = 'c' WHERE lane = 'a'", "cut: 0 entries"),
    ],
)
def test_tampering_is_named(sql: str, word: str) -> None:
    assert any(word in what for what in tampered(chain({"a": 4, "b": 1}), sql))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("data = substr(data, 1, length(data) - 3)", "changed: entry 2"),
        ("data = '[{\"body\":1}]'", "changed: entry 2"),
        ('data = \'{"body":1e999,"digest":"é"}\'', "changed: entry 2"),
        ("data = '{\"body\":' || 10000000000000000000000 || ',\"digest\":1}'", "changed: entry 2"),
        ("data = '{\"body\":1' || replace(hex(zeroblob(100000)), '00', '[')", "changed: entry 2"),
        ("data = x'fffe'", "changed: entry 2"),
        ("data = CAST(x'fffe' AS TEXT)", "changed: entry 2"),
        ("data = CAST(data AS BLOB)", "changed: entry 2"),
        ("ref = x'fe'", "changed: entry 2"),
        ("kind = CAST(x'fe' AS TEXT)", "changed: entry 2"),
        ("hash = x'00'", "changed: entry 2"),
        ("hash = CAST(x'c3' AS TEXT)", "changed: entry 2"),
        ("hash = CAST(hash AS BLOB)", "changed: entry 2"),
        ("at = 9e999", "changed: entry 2"),
        ("at = -9e999", "changed: entry 2"),
        ("at = 'noon'", "changed: entry 2"),
        ("at = x'00'", "changed: entry 2"),
        ("n = 'abc'", "inserted: no chain has an entry 'abc'"),
        ("n = x'01'", "inserted: no chain has an entry b"),
        ("n = CAST(x'ff' AS TEXT)", "inserted: no chain has an entry None"),
        ("n = 2.5", "inserted: no chain has an entry 2.5"),
        ("n = 0", "inserted: no chain has an entry 0"),
        ("n = -7", "inserted: no chain has an entry -7"),
        ("n = 9223372036854775807", "inserted: no chain has an entry 9223372036854775807"),
        ("lane = x'61'", "inserted: entries of a chain whose name is no text"),
        ("lane = CAST(x'ff' AS TEXT)", "inserted: entries of a chain whose name is no text"),
    ],
)
@pytest.mark.parametrize("length", [2, 4])
def test_what_sqlite_takes_and_nobody_of_ours_writes_is_named_and_the_chain_goes_on(
    change: str, word: str, length: int
) -> None:
    store = chain({"a": length, "b": 1})
    assert any(word in what for what in tampered(store, f"UPDATE audit SET {change} WHERE lane = 'a' AND n = 2"))
    before = len(audit.verify(store.view()).problems)
    made = store.write_now(lambda tx: audit.append(tx, "a", "effect.done", "e9:x", {"n": 9}, WHEN))
    store.write_now(lambda tx: audit.anchor(tx, WHEN))
    assert [entry.hash for entry in audit.about(store.view(), "e9:x")] == [made]
    assert [entry.data for entry in audit.entries(store.view(), "b")] == [{"n": 0}]
    assert all(entry.ref != "e1:x" for entry in audit.entries(store.view()) if "data" not in change)
    assert len(audit.verify(store.view()).problems) == before
    assert audit.made(store.view()) == [audit.anchors(store.view())[audit.ANCHORS]]


@pytest.mark.parametrize("number", [0, -1, "'x'", 1.5])
def test_an_entry_beside_the_chain_is_found_and_is_nobody_s(number: object) -> None:
    store = chain({"a": 3})
    forged = f"INSERT INTO audit VALUES ('a', {number}, 1.0, 'effect.allowed', 'e1:FAKE', '{{}}', 'x')"
    [problem] = tampered(store, forged)
    assert problem.startswith("inserted: no chain has an entry")
    assert audit.about(store.view(), "e1:FAKE") == []
    assert len(audit.entries(store.view())) == 3


@pytest.mark.parametrize(
    "data",
    [
        "'x'",
        "'{\"chains\":[1]}'",
        '\'{"chains":{"a":1}}\'',
        '\'{"chains":{"\\ud800":[9,"x"]}}\'',
        "x'ff'",
        "CAST(x'ff' AS TEXT)",
    ],
)
def test_an_anchor_s_own_entry_that_says_nothing_is_named(data: str) -> None:
    store = chain({"a": 3})
    told = store.write_now(lambda tx: audit.anchor(tx, WHEN))
    store.write_now(lambda tx: tx.execute(f"UPDATE audit SET data = {data} WHERE lane = 'anchors'"))
    report = audit.verify_anchored(store.view(), [Anchor(told.count, told.head)])
    assert "changed: entry 1 does not match its hash" in [problem.what for problem in report.problems]
    for problem in report.problems:
        assert problem.lane.encode()


def test_a_broken_chain_says_where_in_one_line() -> None:
    store = chain({"a": 3})
    store.write_now(lambda tx: tx.execute("DELETE FROM audit WHERE n = 2"))
    assert audit.verify(store.view()).words.startswith("1 problem, the first in a: removed: entry 2")


def test_a_rewritten_chain_shows_against_the_anchor_only() -> None:
    anchor = audit.anchors(chain({"a": 3}).view())
    forged = LocalStore()
    for n in range(3):
        forged.write_now(
            lambda tx, n=n: audit.append(tx, "a", "effect.done", f"e{n}:x", {"n": n + 1}, WHEN)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        )
    assert audit.verify(forged.view()).ok
    assert any("rewritten" in p.what for p in audit.verify(forged.view(), anchor).problems)


def test_entries_read_back_newest_first_and_by_reference() -> None:
    store = chain({"a": 3})
    assert [entry.n for entry in audit.entries(store.view(), "a", limit=2)] == [3, 2]
    assert [entry.data for entry in audit.about(store.view(), "e1:x")] == [{"n": 1}]


def test_a_known_secret_never_enters_the_chain() -> None:
    default_redactor().register("hunter2-canary-value")
    store = LocalStore()
    store.write_now(lambda tx: audit.append(tx, "a", "x", "e1", {"reason": "bad hunter2-canary-value"}, WHEN))
    assert "canary" not in repr(store.view().query("SELECT * FROM audit"))
    assert audit.verify(store.view()).ok


@given(st.integers(1, 12), st.data())
def test_any_single_change_is_seen(length: int, data: st.DataObject) -> None:
    store = chain({"a": length})
    n = data.draw(st.integers(1, length))
    column = data.draw(st.sampled_from(["kind", "ref", "data", "hash"]))
    assert tampered(store, f"UPDATE audit SET {column} = {column} || 'x' WHERE n = ?", n)
    store.close()


def test_long_chains_are_read_in_pages() -> None:
    store = LocalStore()
    store.write_now(lambda tx: [audit.append(tx, "a", "x", str(n), {}, WHEN) for n in range(1203)])
    report = audit.verify(store.view(), {"a": Anchor(1203, audit.anchors(store.view())["a"].head)})
    assert (report.ok, report.entries) == (True, 1203)
