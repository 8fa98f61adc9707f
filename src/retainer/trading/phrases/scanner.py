"""Reading a sentence from left to right, remembering what could not be read."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from retainer.agent.slots import NUMBER_WORDS
from retainer.core.errors import InvalidInputError

_SIGNS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "≥": ">=", "≤": "<="})
_SPACE = re.compile(r"[\s]+")
_WORD_NUMBER = re.compile(rf"\b({'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))})\b")


def plain(text: str) -> str:
    """One line of small letters with plain signs; number words become digits."""
    folded = _SPACE.sub(" ", unicodedata.normalize("NFKC", text).translate(_SIGNS)).strip().lower()
    return _WORD_NUMBER.sub(lambda match: NUMBER_WORDS[match[1]], folded)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class Scanner:
    """A position in a sentence; patterns are tried there and move it on when they fit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: str) -> re.Match[str] | None:
        """The pattern right here, after spaces; it must not end within a word."""
        begin = self.at
        while begin < len(self.text) and self.text[begin] == " ":
            begin += 1
        match = _compiled(pattern).match(self.text, begin)
        if match is None or match.end() == begin or self._within_word(match.end()):
            return None
        self.at = match.end()
        return match

    def _within_word(self, end: int) -> bool:
        before, after = self.text[end - 1 : end], self.text[end : end + 1]
        return before.isalnum() and after.isalnum()

    @property
    def done(self) -> bool:
        """Whether nothing but spaces and full stops is left."""
        return not self.rest.strip(" .,;!?")

    @property
    def rest(self) -> str:
        """What is left, as it will be shown."""
        return self.text[self.at :].strip()

    def lost(self, wanted: str = "") -> InvalidInputError:
        """The error for what cannot be read here."""
        shown = self.rest[:60] or "the end of the sentence"
        hint = wanted or "For example: test buying AAPL when RSI(2) is under 10, sell when RSI is over 70."
        return InvalidInputError(f"I do not understand “{shown}”.", hint=hint)
