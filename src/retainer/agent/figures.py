"""The figure filter: a model says no amount of money at all, and other figures about it only from a trusted record.

Text is passed on as it streams; from the first figure of a sentence on, it is held until the sentence ends and its
figures are checked. A sentence that fails is replaced, once, by an honest one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from retainer.agent.slots import NUMBER_WORDS
from retainer.agent.text import vocabulary

HONEST_FIGURE = (
    "I will not give you that figure from memory: ask me, for example, “how did the bot do this month?” "
    "and I will read it from the ledger."
)
"""Stands in for a sentence with a figure that no record supports."""

HONEST_DEED = "To be clear: I have not placed or changed any order. Orders only happen after you approve their card."
"""Stands in for a sentence in which a model claims to have traded."""

_FIGURE = re.compile(r"[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?")
_SPELLED = (frozenset(NUMBER_WORDS) - {"one"}) | vocabulary(
    "sixty seventy eighty ninety hundreds thousands million millions billion dozen half double doubled tripled"
)
_SPELLED_WORD = re.compile(r"\b(?:" + "|".join(sorted(_SPELLED)) + r")\b", re.IGNORECASE)
_UNIT = re.compile(
    r"[$€£%]|\b(?:dollars?|usd|euros?|eur|pounds?|bucks|cents?|percent|per cent|pct|basis points|bps)\b", re.IGNORECASE
)
_ACCOUNT = re.compile(
    r"\b(?:profits?|loss(?:es)?|lost|gain(?:s|ed)?|p&l|pnl|returns?|balance|equity|cash|portfolio|positions?|holdings?"
    r"|account|shares?|stocks?|trades?|traded|orders?|bought|sold|earned|bot|price|priced|worth|drawdown|dividends?)\b",
    re.IGNORECASE,
)
_DEED = re.compile(
    r"\b(?:i|i['’]ve|we|we['’]ve|i have|we have)\s+(?:\w+ly\s+|just\s+|already\s+|now\s+)?"
    r"(?:bought|sold|purchased|placed|executed|submitted|cancell?ed|approved|ordered|closed|liquidated"
    r"|invested|transferred|deposited|withdrawn)\b"
    r"|\b(?:order|trade|purchase|sale|transfer)\s+(?:has been|was|is)\s+(?:\w+ly\s+)?"
    r"(?:placed|executed|submitted|filled|completed|approved|cancell?ed|confirmed)\b",
    re.IGNORECASE,
)
_MARKER = re.compile(r"\s*([0-9]{1,2})[.)]\s*")
_END = re.compile(r"(?<![0-9])[.!?…]+[\"'”’)\]]*(?=\s)|(?<=[0-9])[.!?…]+[\"'”’)\]]*(?=\s)|\n+")


def figures(text: str) -> set[Decimal]:
    """Every number written in digits in ``text``, without sign, separators or trailing zeros."""
    found: set[Decimal] = set()
    for match in _FIGURE.finditer(text):
        try:
            found.add(Decimal(match.group().replace(",", "")).normalize())
        except InvalidOperation:  # pragma: no cover - the pattern only lets numbers through
            continue
    return found


def grounded_figures(texts: Iterable[str]) -> frozenset[Decimal]:
    """The figures that trusted texts hold: what a model may repeat."""
    found: set[Decimal] = set()
    for text in texts:
        found |= figures(text)
    return frozenset(found)


class FigureFilter:
    """Feed it deltas with :meth:`push`; :attr:`text` is what may be shown so far; :meth:`finish` at the end."""

    def __init__(self, grounded: frozenset[Decimal] = frozenset(), *, about_money: bool = False) -> None:
        """``about_money``: the question already is, so every figure counts, even in a sentence without a unit."""
        self._grounded = grounded
        self._about_money = about_money
        self._item = 0
        self._done = ""
        self._sentence = ""
        self._said: set[str] = set()
        self.blocked = 0
        """Sentences that were replaced."""

    @property
    def text(self) -> str:
        """What may be shown now: checked sentences and the open one up to its first figure."""
        return (self._done + _safe_part(self._sentence)).rstrip()

    def push(self, delta: str) -> None:
        """Take the next piece of the model's text."""
        self._sentence += delta
        while (end := _END.search(self._sentence)) is not None:
            sentence, self._sentence = self._sentence[: end.end()], self._sentence[end.end() :]
            self._close(sentence)

    def finish(self) -> str:
        """No more is coming; returns the final text."""
        sentence, self._sentence = self._sentence, ""
        self._close(sentence)
        return self._done.strip()

    def _close(self, sentence: str) -> None:
        replacement = self._verdict(sentence)
        if replacement is None:
            self._done += sentence
            return
        self.blocked += 1
        if replacement not in self._said:
            self._said.add(replacement)
            lead = sentence[: len(sentence) - len(sentence.lstrip())]
            tail = sentence[len(sentence.rstrip()) :]
            self._done += lead + replacement + tail

    def _verdict(self, sentence: str) -> str | None:
        if _DEED.search(sentence):
            return HONEST_DEED
        self._about_money = self._about_money or speaks_of_money(sentence)
        if self._list_marker(sentence) or not self._about_money:
            return None
        said = figures(sentence)
        if _UNIT.search(sentence) and (said or _SPELLED_WORD.search(sentence)):
            return HONEST_FIGURE  # even a recorded amount: a model may call a cost a profit, or a past one today's
        return None if said <= self._grounded else HONEST_FIGURE

    def _list_marker(self, sentence: str) -> bool:
        """``1.``, then ``2.`` ...: the numbering of a list, which ends a sentence for the splitter."""
        if (match := _MARKER.fullmatch(sentence)) is None or int(match[1]) != self._item + 1:
            return False
        self._item += 1
        return True


def speaks_of_money(text: str) -> bool:
    """Whether ``text`` has a currency, a percentage or a word about accounts and trades."""
    return bool(_UNIT.search(text) or _ACCOUNT.search(text))


def _safe_part(sentence: str) -> str:
    """The open sentence up to its first figure, deed or unfinished word that may become one."""
    cut = len(sentence)
    for pattern in (_FIGURE, _SPELLED_WORD, _UNIT, _DEED):
        if (match := pattern.search(sentence)) is not None:
            cut = min(cut, match.start())
    if cut == len(sentence):
        cut = sentence.rfind(" ") + 1 if not sentence.endswith((" ", "\n")) else cut
    return sentence[:cut]
