"""How large a statement becomes before SQLite compiles it.

SQLite copies a common table expression to every place that names it, and those inside it again: twenty lines in which
each names the one before twice become a million. This happens before the authorizer is asked and before anything can
interrupt it, and takes gigabytes; so it is counted here, on the words alone.
"""

from __future__ import annotations

import re
from collections import defaultdict

MAX_WORDS = 20_000
"""More than any statement has without copies; compiling as much takes some hundredths of a second."""
_MAX_DEPTH = 100
_TOKEN = re.compile(
    r"""(?xs) \s+ | --[^\n]* | /\*.*?(?:\*/|\Z)            # nothing
      | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
      | (?P<word> [\w$]+ ) | (?P<sign> . )"""
)


def too_many_words(sql: str) -> bool:
    """Whether ``sql`` has more than :data:`MAX_WORDS` words with every common table expression written out.

    Never too few: a word counts as the largest expression of that name, wherever it stands and however it is quoted.
    Names that lead to each other in a circle are too many; a recursive expression names itself, which is one.
    """
    bodies, named = _bodies(_words(sql))
    sizes: dict[int, int] = {}

    def size(body: int, above: tuple[int, ...]) -> int:
        if body in above or len(above) > _MAX_DEPTH:
            return MAX_WORDS + 1
        if body not in sizes:
            inside = (*above, body)
            sizes[body] = sum(
                1 + max((size(each, inside) for each in named[word] if each != body), default=0)
                for word in bodies[body]
            )
        return sizes[body]

    return size(0, ()) > MAX_WORDS


def _words(sql: str) -> list[str]:
    """Words begin with a space, whether quoted or not; signs are alone. A text counts: SQLite takes it for a name."""
    found: list[str] = []
    for match in _TOKEN.finditer(sql):
        if match["quoted"]:
            mark = match["quoted"][-1]
            found.append(" " + match["quoted"][1:-1].replace(mark * 2, mark).casefold())
        elif match["word"]:
            found.append(" " + match["word"].casefold())
        elif match["sign"]:
            found.append(match["sign"])
    return found


def _bodies(words: list[str]) -> tuple[list[list[str]], dict[str, list[int]]]:
    """The words of the statement and of each expression in it, without those inside; and which have which name."""
    bodies: list[list[str]] = [[]]
    named: dict[str, list[int]] = defaultdict(list)
    inside = [0]
    for place, word in enumerate(words):
        if word == "(":
            name = _name(words, place)
            if name is not None:
                named[name].append(len(bodies))
                bodies.append([])
            inside.append(inside[-1] if name is None else len(bodies) - 1)
        elif word == ")":
            if len(inside) > 1:
                inside.pop()
        elif word[0] == " ":
            bodies[inside[-1]].append(word)
    return bodies, named


def _name(words: list[str], bracket: int) -> str | None:
    """The name of the expression whose body begins at ``bracket``: ``name AS (`` or ``name (columns) AS (``."""
    place = bracket - 1
    if place > 0 and words[place] == " materialized":
        place -= 2 if words[place - 1] == " not" else 1
    if place < 1 or words[place] != " as":
        return None
    place -= 1
    if words[place] == ")":
        while place > 0 and words[place] != "(":
            place -= 1
        place -= 1
    return words[place] if place >= 0 and words[place][0] == " " else None
