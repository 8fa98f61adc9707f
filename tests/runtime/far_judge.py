"""What the far sides of ``crash_child.py`` must say in the end, whatever happened in between."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any


def rows(path: Path, sql: str) -> list[Any]:
    """All rows of a query on the database at ``path``."""
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def judge(folder: Path, deaths: int) -> int:
    """Assert that nothing was lost or repeated beyond what its repeat class allows; returns the number of messages."""
    far, ours = folder / "far.db", folder / "retainer.db"
    count: int = rows(far, "SELECT COUNT(*) FROM upstream")[0][0]
    wanted = {f"message {n}" for n in range(count)}

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
    assert bubbles["..."] <= deaths * 3, "at worst an empty bubble for a placeholder cut off while it was shown"

    sms = Counter(text for (text,) in rows(far, "SELECT text FROM sms"))
    assert set(sms.values()) <= {1}, "what cannot be known is never repeated"
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
    return count
