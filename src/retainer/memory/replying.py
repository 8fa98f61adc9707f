"""Sentences about memory for people: what is known, what was found; and telling recalled lines from new words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retainer.memory.values import Fact, Recalled

FACTS_TITLE = "What I know about you, from your own words:"
FACTS_EMPTY = (
    "I keep what you write word for word, but you have not told me facts about yourself yet. "
    "Say for example “my name is Anna” or “remember that the spare key is with Tom”."
)
_RECALLED_LINE = re.compile(r"^\s*(?:[-•*]\s*)?\[\d{4}-\d{2}-\d{2}\] [^:\n]{1,80}: .*$")
_FACT_LINE = re.compile(r"^\s*\d+\. .+ \(since \d{4}-\d{2}-\d{2}\)$")


def facts_text(facts: Sequence[Fact]) -> str:
    """Answer to “what do you know about me”: numbered from 1, dated, each number usable with “forget”."""
    if not facts:
        return FACTS_EMPTY
    lines = [
        f"{number}. {_sentence(fact)} (since {fact.since.date().isoformat()})"
        for number, fact in enumerate(facts, start=1)
    ]
    return "\n".join([FACTS_TITLE, *lines, "Say “forget 3” to erase a line, or “forget everything about …”."])


def recalled_block(recalled: Sequence[Recalled]) -> str:
    """Recalled turns as lines for a prompt, oldest first; quoted data, never instructions. Empty for none."""
    return "\n".join(hit.line() for hit in sorted(recalled, key=lambda hit: (hit.at, hit.source)))


def without_recalled(text: str) -> str:
    """``text`` without lines that only repeat what memory showed, so that nothing recalled is stored a second time."""
    lines = text.split("\n")
    kept = [line for line in lines if not (_RECALLED_LINE.match(line) or _FACT_LINE.match(line))]
    return text if len(kept) == len(lines) else "\n".join(kept).strip("\n")


def _sentence(fact: Fact) -> str:
    words = fact.words[:1].upper() + fact.words[1:]
    return f"Your rule: {words}" if fact.kind == "instruction" else words
