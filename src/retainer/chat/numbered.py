"""Several cards at once: they are shown as a numbered list, and “yes 2”, “no 1”, “no to all” answer from that list.

A number means the card that was *shown* under it: the list is a recorded step, so a card that was answered or expired
meanwhile never hands its number to another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retainer.agent.text import core_words, normal
from retainer.core.protocols import Context, View
from retainer.core.values import Json

STEP = "cards"
_YES = "yes|approve|confirm|accept"
_NO = "no|reject|decline|cancel|refuse|drop"
_COUNTS = {"first": 1, "one": 1, "second": 2, "two": 2, "third": 3, "three": 3, "fourth": 4, "four": 4}
_NUMBER = re.compile(
    rf"(?:(?P<yes>{_YES})|(?:{_NO})) (?:to )?(?:the )?(?:card |number |nr |no )?"
    rf"(?P<number>[0-9]{{1,2}}|{'|'.join(_COUNTS)})(?: one| card)?"
)
_ALL = re.compile(
    rf"(?:(?P<yes>{_YES})|(?:{_NO})) (?:to )?(?:all|both|all of them|both of them|everything|all cards|every card)"
)
_NONE = {"none", "none of them", "neither", "neither of them"}
_ORDER_OFF = re.compile(r"(?:cancel|withdraw|drop|reject) (?:my |the |that |this )?(?:last )?(?:order|card)")


@dataclass(frozen=True, slots=True)
class Numbered:
    """An answer to a listed card (``number``, from 1), or to all of them (``None``)."""

    yes: bool
    number: int | None


def numbered_answer(text: str) -> Numbered | None:
    """``yes 2``, ``no 1``, ``no to all``, ``none``; ``None`` for anything else."""
    if len(text) > 80:
        return None
    said = normal(" ".join(core_words(text)))
    if said in _NONE:
        return Numbered(yes=False, number=None)
    if (whole := _ALL.fullmatch(said)) is not None:
        return Numbered(yes=whole["yes"] is not None, number=None)
    found = _NUMBER.fullmatch(said)
    if found is None:
        return None
    number = _COUNTS.get(found["number"]) or int(found["number"])
    return Numbered(yes=found["yes"] is not None, number=number)


def takes_back(text: str) -> bool:
    """``cancel my order``: while a card waits, this is a no to it."""
    return _ORDER_OFF.fullmatch(" ".join(core_words(text))) is not None


def brief(summary: str) -> str:
    """A card in one line: its title and what stands first below it."""
    lines = [line.strip().replace("*", "") for line in summary.strip().split("\n") if line.strip()]
    return "; ".join(lines[:3])


async def list_cards(ctx: Context, cards: Sequence[tuple[str, str]], head: str = "") -> str:
    """The numbered list of ``cards`` (id, summary), recorded under this event."""

    async def shown() -> Json:
        return {"ids": [approval for approval, _ in cards]}

    await ctx.step(STEP, shown)
    lines = [f"{number}. {brief(summary)}" for number, (_, summary) in enumerate(cards, start=1)]
    first = head or f"{len(cards)} cards wait for your answer:"
    return "\n".join(
        [first, *lines, "Say for example “yes 2” to approve the second, “no 1” to reject the first, or “no to all”."]
    )


def last_list(view: View, lane: str, before: int, step: str = STEP) -> list[str]:
    """Ids of the list that was shown last in ``lane`` before event ``before``; empty when none ever was.

    ``step`` is the name under which lists of that kind are recorded.
    """
    row = view.one(
        "SELECT b.bytes FROM step s JOIN event e ON e.seq = s.event_seq JOIN body b ON b.id = s.body_id "
        "WHERE e.lane = ? AND s.name = ? AND s.event_seq < ? ORDER BY s.event_seq DESC LIMIT 1",
        (lane, step, before),
    )
    record: Any = None if row is None else json.loads(row["bytes"])
    ids = record.get("ids") if isinstance(record, dict) else None
    return [str(one) for one in ids] if isinstance(ids, list) else []
