"""Killed at random moments: nothing lost, nothing done twice; the far sides' own records judge."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

KILLS = 30
CHILD = Path(__file__).with_name("crash_child.py")


def rows(path: Path, sql: str) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_thirty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), str(KILLS), str(seed)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{KILLS} 0"], done.stderr[-2000:]
    far, ours = tmp_path / "far.db", tmp_path / "retainer.db"
    count = rows(far, "SELECT COUNT(*) FROM upstream")[0][0]
    wanted = {f"message {n}" for n in range(count)}
    assert count > 20

    assert rows(ours, "SELECT state, COUNT(*) FROM event WHERE kind = 'message' GROUP BY state") == [("done", count)]
    once = Counter(text for (text,) in rows(far, "SELECT text FROM orders"))
    assert once == dict.fromkeys(wanted, 2), "a called and a queued order each, exactly once"
    assert len(rows(far, "SELECT DISTINCT key FROM orders")) == 2 * count

    shown = rows(far, "SELECT lane, text FROM shown ORDER BY n")
    assert sorted(text for _, text in shown) == sorted(wanted)
    for lane in {lane for lane, _ in shown}:
        numbers = [int(text.split()[1]) for where, text in shown if where == lane]
        assert numbers == sorted(numbers), "in order within a lane"

    bubbles = Counter(text.strip() for (text,) in rows(far, "SELECT text FROM bubbles"))
    assert {text: n for text, n in bubbles.items() if text != "..."} == dict.fromkeys(wanted, 1)
    assert bubbles["..."] <= KILLS * 3, "at worst an empty bubble for a placeholder cut off while it was shown"

    sms = Counter(text for (text,) in rows(far, "SELECT text FROM sms"))
    assert set(sms.values()) == {1}, "what cannot be known is never repeated"
    states = dict(
        rows(
            ours,
            "SELECT 'message ' || v.external_id, e.state FROM effect e JOIN event v ON v.seq = e.event_seq"
            " WHERE e.tool = 'sms.reply'",
        )
    )
    assert set(states) == wanted
    assert set(states.values()) <= {"done", "unknown"}
    assert all(text in sms for text, state in states.items() if state == "done")
    others = rows(ours, "SELECT COUNT(*) FROM effect WHERE state <> 'done' AND tool <> 'sms.reply'")
    assert others == [(0,)]
