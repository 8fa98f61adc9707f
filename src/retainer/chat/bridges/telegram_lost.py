"""Finding a placeholder whose number was lost: Telegram took it, we ended before we had written down its number.

The Bot API cannot be asked what it was told. But messages of a chat are numbered upwards, and editing a message to the
text it has already is answered by "message is not modified": so the numbers after the last one that we know of are
tried, a few of them. Numbers that belong to something known are never tried, so no older message can be touched: every
message of ours starts as a placeholder whose number is written down before anything else is said in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from retainer.core.clock import to_epoch
from retainer.core.effects import StoredEffect
from retainer.core.protocols import View

PROBES = 8
"""Numbers tried for one placeholder."""
_ROWS = 500
"""Latest known messages that are looked at."""
_SUPERGROUP = "-100"
"""Chats whose ids begin so number their own messages; all others of a bot share one sequence."""
_INCOMING = re.compile(r"(-?\d+):\d+\.(\d+)")


def candidates(view: View, effect: StoredEffect, chat_id: str, taken: Collection[str]) -> Iterator[int]:
    """Numbers that the lost placeholder of ``effect`` may have, likeliest first; without those ``taken`` or known.

    It stands below whatever was there when it was sent, so that replies stay in their order.
    """
    start = max(_there_before(view, effect), _said_before(view, effect))
    if not start:
        return
    used = {number for number, _ in _known(view, chat_id)} | {int(ref) for ref in taken if ref.isdecimal()}
    number, tried = start, 0
    while tried < PROBES:
        number += 1
        if number not in used:
            tried += 1
            yield number


def _there_before(view: View, effect: StoredEffect) -> int:
    """The latest number that surely existed when ``effect`` was made; 0 for none."""
    since = to_epoch(effect.created_at)
    chat_id = effect.queue.partition(":")[2]
    return max((number for number, at in _known(view, chat_id) if at <= since), default=0)


def _said_before(view: View, effect: StoredEffect) -> int:
    """The latest number among what was said before ``effect`` in its chat, where one waits for the other: 0 for a
    placeholder that its handler opened itself, without waiting.
    """
    row = view.one("SELECT id, held FROM effect WHERE key = ?", (effect.key,))
    if row is None or row["held"]:
        return 0
    earlier = view.query(
        "SELECT ref FROM effect WHERE queue = ? AND id <= ? AND ref IS NOT NULL ORDER BY id DESC LIMIT ?",
        (effect.queue, row["id"], _ROWS),
    )
    parts = view.query(
        "SELECT p.ref FROM reply_part p JOIN effect e ON e.key = p.effect_key WHERE e.queue = ? AND e.id <= ?"
        " ORDER BY e.id DESC LIMIT ?",
        (effect.queue, row["id"], _ROWS),
    )
    return max((int(found["ref"]) for found in (*earlier, *parts) if found["ref"].isdecimal()), default=0)


def _known(view: View, chat_id: str) -> Iterator[tuple[int, float]]:
    """Numbers of known messages in the same sequence, with an instant (epoch seconds) at which each existed."""
    for row in view.query(
        "SELECT external_id, received_at FROM event WHERE source = 'telegram' ORDER BY seq DESC LIMIT ?", (_ROWS,)
    ):
        found = _INCOMING.fullmatch(row["external_id"])
        if found is not None and _together(found[1], chat_id):
            yield int(found[2]), row["received_at"]
    effects = "SELECT queue, ref, updated_at FROM effect WHERE tool = 'telegram.reply' AND ref IS NOT NULL"
    parts = (
        "SELECT e.queue, p.ref, e.updated_at FROM reply_part p JOIN effect e ON e.key = p.effect_key"
        " WHERE e.tool = 'telegram.reply'"
    )
    for query in (f"{effects} ORDER BY id DESC LIMIT ?", f"{parts} ORDER BY e.id DESC LIMIT ?"):
        for row in view.query(query, (_ROWS,)):
            if row["ref"].isdecimal() and _together(row["queue"].partition(":")[2], chat_id):
                yield int(row["ref"]), row["updated_at"]


def _together(one: str, other: str) -> bool:
    """Whether two chats count their messages in the same sequence."""
    return one == other or not (one.startswith(_SUPERGROUP) or other.startswith(_SUPERGROUP))
