"""Facts from explicit statements, by rules: no model, and no value that is not in the message itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["fact", "preference", "instruction", "note"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One fact as read from a message. ``value`` is a part of that message, letter for letter."""

    key: str
    kind: Kind
    value: str
    words: str


_SENTENCE = re.compile(
    r"(?<=[.!?;])\s+|\n+|,?\s+(?:and|but)\s+(?=(?:i|my|call|remember|please)\b)|,\s+(?=(?:i|my)\b)", re.I
)
_LEAD = re.compile(
    r"^(?:(?:hi|hello|hey|well|so|also|ok|okay|oh|yes|no|btw|by the way|actually|please|and|but|just|now|"
    r"for your information|fyi)\b[\s,:.!-]*)+",
    re.I,
)
_TAIL = re.compile(
    r"(?:\s+(?:now|these days|currently|at the moment|any ?more|as of today|by the way|btw|though|too|as well|please|"
    r"from now on|instead))+$",
    re.I,
)
_CUT = re.compile(r"\s+(?:because|since|so|which|but|and|although|with my|where)\s+|,\s|\s\(", re.I)
_NAME = r"(?P<value>[^\W\d_][\w'’-]*(?:\s+[A-Z][\w'’.-]*){0,3})"
_OWN = (
    r"(?:favou?rite\s+\w+|wife|husband|partner|son|daughter|sister|brother|mother|father|mom|mum|dad|dog|cat|pet|doctor|"
    r"dentist|boss|job|car|hobby|address|email|phone(?:\s+number)?|anniversary|home\s?town|age|time\s?zone)"
)
_NOT_A_VALUE = re.compile(r"^(?:not|what|who|how|why|where|when|that|which|if|it|this|a question|wrong|right)\b", re.I)

_TABLE: tuple[tuple[str, str, Kind, str], ...] = (
    (rf"^my name is (?-i:{_NAME})", "name", "fact", "Your name is {value}."),
    (rf"^(?:you can |you may )?call me (?-i:{_NAME})", "name", "fact", "Your name is {value}."),
    (r"^i (?:now )?live (?:in|at) (?P<value>.+)", "home", "fact", "You live in {value}."),
    (r"^i(?:'m|’m| am) living in (?P<value>.+)", "home", "fact", "You live in {value}."),
    (r"^i(?:'ve|’ve| have)?(?: just)? moved to (?P<value>.+)", "home", "fact", "You live in {value}."),
    (r"^i (?:now )?work (?:at|for) (?P<value>.+)", "employer", "fact", "You work at {value}."),
    (r"^i (?:now )?work as (?P<value>.+)", "job", "fact", "You work as {value}."),
    (r"^my birthday is (?:on )?(?P<value>.+)", "birthday", "fact", "Your birthday is {value}."),
    (r"^i was born (?:on|in) (?P<value>.+)", "birthday", "fact", "You were born {value}."),
    (r"^i(?:'m|’m| am) allergic to (?P<value>.+)", "allergy:{norm}", "fact", "You are allergic to {value}."),
    (
        r"^i (?:really |absolutely )?(?:don'?t|don’t|do not) (?:really )?(?:like|enjoy) (?P<value>.+)",
        "taste:{norm}",
        "preference",
        "You don’t like {value}.",
    ),
    (
        r"^i (?:really )?(?:hate|dislike|can'?t stand) (?P<value>.+)",
        "taste:{norm}",
        "preference",
        "You don’t like {value}.",
    ),
    (r"^i (?:really )?(?:like|love|enjoy|adore) (?P<value>.+)", "taste:{norm}", "preference", "You like {value}."),
    (r"^i prefer (?P<value>.+)", "taste:{norm}", "preference", "You prefer {value}."),
    (
        rf"^my (?P<own>{_OWN}(?:['’]s name)?) (?:is|are) (?:called |named )?(?P<value>.+)",
        "my:{own}",
        "fact",
        "Your {own}: {value}.",
    ),
    (
        r"^(?:remember|don'?t forget|note|keep in mind)(?: that|:) (?P<value>.+)",
        "note:{norm}",
        "note",
        "You asked me to remember: {value}",
    ),
    (
        r"^(?P<value>(?:answer|reply|respond|write|talk|speak|be|keep it)\b.*\b(?:short|shorter|brief|briefly|"
        r"concise|long|longer|detail|details|detailed)\b)",
        "rule:length",
        "instruction",
        "{value}",
    ),
    (
        r"^(?P<value>(?:(?:always|never|don'?t ever) )?(?:answer|reply|respond|write|talk|speak)"
        r"(?: to me| with me)? (?:in )?(?-i:[A-Z])\w+)$",
        "rule:language",
        "instruction",
        "{value}",
    ),
    (r"^from now on,? (?P<value>.+)", "rule:{norm}", "instruction", "{value}"),
    (r"^(?P<value>(?:always|never) .+)", "rule:{norm}", "instruction", "{value}"),
)
_RULES = tuple((re.compile(pattern, re.I), key, kind, words) for pattern, key, kind, words in _TABLE)
_NOTE_KINDS = frozenset({"note", "instruction"})


def statements(text: str) -> list[Statement]:
    """The facts stated in ``text``, in order. Questions and longer tales yield nothing."""
    found: list[Statement] = []
    for sentence in _sentences(text):
        statement = _read(sentence)
        if statement is not None and statement.value in text:
            found.append(statement)
    return found


def rule(text: str) -> Statement:
    """``text`` as a standing instruction, whatever its words."""
    clean = text.strip()
    for statement in statements(clean):
        if statement.kind == "instruction":
            return statement
    return Statement(f"rule:{norm(clean)}", "instruction", clean, clean)


def norm(value: str) -> str:
    """``value`` as part of a key: folded words, articles left out."""
    words = re.findall(r"\w+", value.casefold())
    kept = [word for word in words if word not in {"a", "an", "the", "my", "to"}]
    return " ".join(kept or words)[:120]


def _sentences(text: str) -> Iterator[str]:
    if re.match(r"\s*(?:please\s+)?(?:remember|note|keep in mind|don'?t forget)(?: that|:)", text, re.I):
        yield _LEAD.sub("", text.strip().split("\n")[0])
        return
    for piece in _SENTENCE.split(text):
        sentence = _LEAD.sub("", piece.strip())
        if sentence and not sentence.endswith("?"):
            yield sentence


def _read(sentence: str) -> Statement | None:
    for pattern, key, kind, words in _RULES:
        match = pattern.match(sentence)
        if match is None:
            continue
        value = _trim(match["value"], keep=kind in _NOTE_KINDS)
        if not value or len(value) > 300 or (kind not in _NOTE_KINDS and _NOT_A_VALUE.match(value)):
            return None
        if kind not in _NOTE_KINDS and len(value.split()) > 8:
            return None
        own = " ".join(match.groupdict().get("own", "").casefold().split()) if "own" in match.groupdict() else ""
        named = key.format(norm=norm(value), own=own.replace("’", "'"))
        sentence_words = words.format(value=value, own=own)
        return Statement(named, kind, value, sentence_words)
    return None


def _trim(value: str, *, keep: bool) -> str:
    if not keep:
        value = _CUT.split(value, maxsplit=1)[0]
    value = value.strip().rstrip(".!;, ")
    return _TAIL.sub("", value).strip() if not keep else value
