"""Phrase grammars: exact sentences with typed gaps, compiled from what capabilities declare.

``how did the bot do [{period}]``: words, ``[optional]`` (also a word's end: ``share[s]``), ``(one|other)``, ``{slot}``.
Case, punctuation, apostrophes and politeness do not matter; everything else does. Nothing here is fuzzy, so it may
decide about money.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from retainer.agent.slots import Slot, choices_of, slot_of
from retainer.agent.text import Words, peel, read, tokens
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import InvalidInputError
from retainer.core.values import Json

MOST_FORMS = 2000
"""A phrase that unfolds into more word sequences than this is refused: split it."""

Element = str | Slot


@dataclass(frozen=True, slots=True)
class Match:
    """A text that is exactly one of a capability's phrases. ``args`` are validated and JSON."""

    capability: Capability
    args: Mapping[str, Json]
    phrase: str
    literal_words: int


@dataclass(slots=True)
class _Node:
    words: dict[str, _Node] = field(default_factory=dict)
    slots: dict[Slot, _Node] = field(default_factory=dict)
    ends: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    capability: int
    phrase: str
    values: Mapping[str, Json]
    literal: int
    free: int
    """Words swallowed by free text: fewer is better."""


class Grammar:
    """All phrases of a set of capabilities, as one trie."""

    def __init__(self, capabilities: Sequence[Capability]) -> None:
        """Raises :class:`InvalidInputError` naming the capability and phrase that does not compile."""
        self.capabilities = tuple(capabilities)
        self.names = symbol_names(self.capabilities)
        self._root = _Node()
        for index, capability in enumerate(self.capabilities):
            for phrase in capability.phrases:
                self._add(index, capability, phrase)

    def _add(self, index: int, capability: Capability, phrase: str) -> None:
        for form in compile_phrase(capability, phrase):
            node = self._root
            for element in form:
                if isinstance(element, str):
                    node = node.words.setdefault(element, _Node())
                else:
                    node = node.slots.setdefault(element, _Node())
            node.ends.append((index, phrase))

    def match(self, text: str) -> Match | None:
        """What ``text`` says, if it is one of the phrases, whole and exactly; ``None`` otherwise.

        The reading with most literal words wins. Two different readings as good as each other are no reading when
        either would move money.
        """
        words = read(text)
        count = len(words.folded)
        if not 0 < count <= 220:
            return None
        before, after = peel(words.folded)
        for start, end in dict.fromkeys([(0, count), (before, count - after)]):
            if (match := self._best(words, start, end)) is not None:
                return match
        return None

    def _best(self, words: Words, start: int, end: int) -> Match | None:
        found = sorted(
            self._walk(self._root, words, start, end, {}, 0, 0),
            key=lambda one: (-one.literal, one.free, one.capability),
        )
        best: Match | None = None
        for one in found:
            if best is not None and one.literal < best.literal_words:
                break
            match = self._valid(one, words, start, end)
            if match is None:
                continue
            if best is None:
                best = match
            elif _differ(best, match) and _moves_money(best, match):
                return None
        return best

    def _walk(
        self, node: _Node, words: Words, at: int, end: int, values: dict[str, Json], literal: int, free: int
    ) -> Iterator[_Found]:
        if at == end:
            for capability, phrase in node.ends:
                yield _Found(capability, phrase, dict(values), literal, free)
            return
        following = node.words.get(words.folded[at])
        if following is not None:
            yield from self._walk(following, words, at + 1, end, values, literal + 1, free)
        for slot, after in node.slots.items():
            for stop, value in slot.spans(words, at, end, self.names):
                if stop < end and not after.words and not after.slots:
                    continue
                taken = {**values, slot.name: value}
                swallowed = free + (stop - at if slot.kind in ("text", "word") else 0)
                yield from self._walk(after, words, stop, end, taken, literal, swallowed)

    def _valid(self, one: _Found, words: Words, start: int, end: int) -> Match | None:
        capability = self.capabilities[one.capability]
        values = {**implied(capability.parameters, words.folded[start:end], one.values), **one.values}
        args = validated(capability.parameters, values)
        return None if args is None else Match(capability, args, one.phrase, one.literal)


def _differ(one: Match, other: Match) -> bool:
    return one.capability.name != other.capability.name or one.args != other.args


def _moves_money(*matches: Match) -> bool:
    return any(match.capability.effect_class is EffectClass.MONEY for match in matches)


def validated(model: type[BaseModel], values: Mapping[str, Json]) -> dict[str, Json] | None:
    """``values`` as the model's validated JSON arguments (only what was given), or ``None`` when they do not fit."""
    try:
        parsed = model.model_validate(dict(values))
    except ValidationError:
        return None
    dumped: dict[str, Json] = parsed.model_dump(mode="json", exclude_unset=True)
    return dumped


def implied(model: type[BaseModel], said: Sequence[str], given: Mapping[str, Json]) -> dict[str, Json]:
    """Values of choice fields that the phrase's own words name: *buy* 5 AAPL has ``side="buy"``.

    Only when exactly one of the field's choices was said.
    """
    found: dict[str, Json] = {}
    for name, info in model.model_fields.items():
        if name in given:
            continue
        values = {value for spoken, value in choices_of(info).items() if _contains(said, spoken)}
        if len(values) == 1:
            found[name] = values.pop()
    return found


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(tuple(words[at : at + len(part)]) == tuple(part) for at in range(len(words) - len(part) + 1))


def symbol_names(capabilities: Sequence[Capability]) -> dict[str, str]:
    """Spoken name -> symbol, from every capability's ``extra["symbols"]`` (``{"apple": "AAPL"}`` or a list)."""
    names: dict[str, str] = {}
    for capability in capabilities:
        declared = capability.extra.get("symbols")
        if isinstance(declared, Mapping):
            for spoken, symbol in declared.items():
                names[" ".join(tokens(spoken))] = str(symbol)
                names[str(symbol).casefold()] = str(symbol)
        elif isinstance(declared, Sequence) and not isinstance(declared, str):
            names.update({str(symbol).casefold(): str(symbol) for symbol in declared})
    return names


# --- compiling -------------------------------------------------------------------------------------------------------
def compile_phrase(capability: Capability, phrase: str) -> list[tuple[Element, ...]]:
    """Every word sequence a phrase allows. Raises :class:`InvalidInputError` for a phrase that does not compile."""
    parser = _Parser(capability, phrase)
    forms = [form for form in dict.fromkeys(_words_of(raw) for raw in parser.parse()) if form]
    if not forms:
        raise parser.error("is empty")
    return forms


def _words_of(raw: tuple[Element, ...]) -> tuple[Element, ...]:
    """A form's raw pieces as words; pieces without a space between them make one word: ``share[s]``."""
    form: list[Element] = []
    text = ""
    for piece in raw:
        if isinstance(piece, str):
            text += piece
        else:
            form += [*tokens(text), piece]
            text = ""
    return (*form, *tokens(text))


class _Parser:
    """Recursive descent over one phrase."""

    def __init__(self, capability: Capability, phrase: str) -> None:
        self._capability = capability
        self._phrase = phrase
        self._at = 0

    def error(self, what: str) -> InvalidInputError:
        return InvalidInputError(
            f"Phrase {self._phrase!r} of {self._capability.name} {what}.",
            hint="Use words, [optional], (one|other) and {field}.",
        )

    def parse(self) -> list[tuple[Element, ...]]:
        forms = self._alternatives("")
        if self._at < len(self._phrase):
            raise self.error(f"has a stray {self._phrase[self._at]!r}")
        return forms

    def _alternatives(self, closing: str) -> list[tuple[Element, ...]]:
        forms = self._sequence()
        while self._peek() == "|" and closing:
            self._at += 1
            forms = forms + self._sequence()
        if closing:
            if self._peek() != closing:
                raise self.error(f"misses a {closing!r}")
            self._at += 1
        return forms

    def _sequence(self) -> list[tuple[Element, ...]]:
        forms: list[tuple[Element, ...]] = [()]
        while (char := self._peek()) and char not in "|])":
            if char == "[":
                self._at += 1
                part = [(), *self._alternatives("]")]
            elif char == "(":
                self._at += 1
                part = self._alternatives(")")
            elif char == "{":
                part = [(self._slot(),)]
            elif char == "}":
                raise self.error("has a stray '}'")
            else:
                part = [self._literal()]
            forms = [form + more for form in forms for more in part]
            if len(forms) > MOST_FORMS:
                raise self.error(f"unfolds into more than {MOST_FORMS} forms")
        return forms

    def _peek(self) -> str:
        return self._phrase[self._at : self._at + 1]

    def _literal(self) -> tuple[Element, ...]:
        start = self._at
        while (char := self._peek()) and char not in "[](){}|":
            self._at += 1
        return (self._phrase[start : self._at],)

    def _slot(self) -> Slot:
        end = self._phrase.find("}", self._at)
        name = self._phrase[self._at + 1 : end].strip()
        if end < 0 or not name:
            raise self.error("has an unfinished {slot}")
        self._at = end + 1
        try:
            return slot_of(self._capability.parameters, name)
        except KeyError:
            raise self.error(f"names {{{name}}}, which is no field of its parameters") from None


def match(text: str, capabilities: Sequence[Capability]) -> Match | None:
    """:meth:`Grammar.match` for one question; keep a :class:`Grammar` to ask many."""
    return Grammar(capabilities).match(text)
