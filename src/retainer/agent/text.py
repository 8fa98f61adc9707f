"""Reading a person's words: one normal form for grammars, commands and the router."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_APOSTROPHES = str.maketrans(dict.fromkeys("'’‘ʼ`´", ""))
_MINUS = re.compile(r"[\u2212\u2013\u2014](?=[$€£]?\.?[0-9])")
"""What phones write for a minus before a number; dropping it would turn -5 into 5."""
_WORD = re.compile(
    r"""
    [0-9]{1,2}:[0-9]{2}(?:[aApP][mM]\b)?                          # 9:30  9:30am
    | (?:(?<!\w)-)?[$€£]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)(?:[%$€£]|[^\W_]+)?
                                                                  # 5  -5  1,000.50  .5  $20  20$  43%  5k  9am
    | [$€£](?![^\W_])                                             # a currency sign on its own: 500 €
    | [^\W_]+(?:[.\-/:&@_'’‘ʼ`´][^\W_]+)*                        # words, BRK.B, well-known, what's, p&l
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Words:
    """A text cut into words. ``folded`` are compared; ``plain[start:end]`` of ``spans`` is what was written."""

    plain: str
    spans: tuple[tuple[int, int], ...]
    folded: tuple[str, ...]

    def raw(self, start: int, end: int) -> str:
        """The text as written from word ``start`` to before word ``end``, punctuation between them included."""
        return self.plain[self.spans[start][0] : self.spans[end - 1][1]]

    def bracketed(self, start: int, end: int) -> str:
        """:meth:`raw` with the brackets that touch its ends: ``2 * (3 + 4)`` keeps the last one."""
        first, last = self.spans[start][0], self.spans[end - 1][1]
        while first and self.plain[first - 1] in "([{":
            first -= 1
        while last < len(self.plain) and self.plain[last] in ")]}":
            last += 1
        return self.plain[first:last]


def read(text: str) -> Words:
    """Cut ``text`` into words. Numbers keep their point, sign and unit, times their colon."""
    plain = _MINUS.sub("-", unicodedata.normalize("NFKC", text))
    spans = []
    folded = []
    for match in _WORD.finditer(plain):
        word = match.group().rstrip(",")
        spans.append((match.start(), match.start() + len(word)))
        folded.append(word.translate(_APOSTROPHES).casefold())
    return Words(plain, tuple(spans), tuple(folded))


POLITE_BEFORE = (
    ("hey",),
    ("hi",),
    ("hello",),
    ("ok",),
    ("okay",),
    ("so",),
    ("well",),
    ("and",),
    ("now",),
    ("please",),
    ("can", "you"),
    ("could", "you"),
    ("would", "you"),
    ("will", "you"),
    ("can", "you", "tell", "me"),
    ("could", "you", "tell", "me"),
    ("can", "u"),
    ("tell", "me"),
    ("i", "want", "to"),
    ("id", "like", "to"),
    ("i", "would", "like", "to"),
    ("lets",),
    ("just",),
)
"""Openings that carry no meaning, longest alternatives included; peeled off repeatedly."""

POLITE_AFTER = (("please",), ("thanks",), ("thank", "you"), ("pls",), ("mate",), ("for", "me"), ("thx",))
"""Endings that carry no meaning."""


def vocabulary(words: str) -> frozenset[str]:
    """A set of words written as one string."""
    return frozenset(words.split())


def tokens(text: str) -> list[str]:
    """The folded words of ``text``: ``"What's AAPL at?"`` -> ``["whats", "aapl", "at"]``."""
    return list(read(text).folded)


def normal(text: str) -> str:
    """The normal form of a whole text: folded words with single spaces."""
    return " ".join(read(text).folded)


def peel(words: Sequence[str]) -> tuple[int, int]:
    """How many leading and trailing words of folded ``words`` are mere politeness; never all of them."""
    start, end = 0, len(words)
    changed = True
    while changed and start < end:
        changed = False
        for polite in sorted(POLITE_BEFORE, key=len, reverse=True):
            if tuple(words[start : start + len(polite)]) == polite and start + len(polite) < end:
                start, changed = start + len(polite), True
                break
        for polite in POLITE_AFTER:
            if tuple(words[end - len(polite) : end]) == polite and end - len(polite) > start:
                end, changed = end - len(polite), True
                break
    return start, len(words) - end


def core_words(text: str) -> list[str]:
    """Folded words of ``text`` without politeness."""
    words = tokens(text)
    before, after = peel(words)
    return words[before : len(words) - after]
