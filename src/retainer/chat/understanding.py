"""What a message means before any model is asked: the deciders of the chat agent's ``DecisionEngine``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from retainer.agent.engine import DecisionEngine, FunctionDecider, Intent
from retainer.agent.grammar import Grammar, Match
from retainer.agent.router import Candidate, Router
from retainer.agent.text import core_words
from retainer.chat.commands import NO_ADVICE, STOP_HINT, advice_like, stop_like
from retainer.chat.conversation import Message
from retainer.chat.ordering import NOT_ORDERED, may_propose, refuses_orders, several_orders
from retainer.chat.reminders import parse_reminder
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass
from retainer.memory.cards import Statement, statements

_CLAUSES = re.compile(r"[.?!;\n]+\s*|\s*,?\s+and (?:also |then )?|\s*,\s+", re.IGNORECASE)
_GREETINGS = frozenset(
    {"hi", "hello", "hey", "good morning", "good evening", "good afternoon", "hi there", "hello there"}
)
_MOST_CLAUSES = 4
_LONGEST_ANSWER = 30
_UNIT = re.compile(r" (?:shares?|stocks?|of them|of it)$")
_TO_KEEP = frozenset({"fact", "note", "instruction"})
"""What people say so that it is kept. A taste ("I like sailing") is kept too, but it is conversation."""


@dataclass(frozen=True, slots=True)
class Understood:
    """Grammar and router over the capabilities of one moment; rebuilt when those change."""

    capabilities: tuple[Capability, ...]
    grammar: Grammar
    router: Router


class Understanding:
    """Finds what is meant, with certainty or as candidates. Deciders may be added: ``engine.add(...)``."""

    def __init__(self, capabilities: Callable[[], Sequence[Capability]], zone: ZoneInfo, floor: float) -> None:
        self._capabilities = capabilities
        self._zone = zone
        self._floor = floor
        self._built: Understood | None = None
        self.engine: DecisionEngine[Message] = DecisionEngine(
            [
                FunctionDecider("grammar", self._grammar),
                FunctionDecider("reminders", self._reminder),
                FunctionDecider("orders", self._orders),
                FunctionDecider("clauses", self._clauses),
                FunctionDecider("caution", self._caution),
                FunctionDecider("told", self._told),
            ]
        )

    @property
    def current(self) -> Understood:
        """For the capabilities offered now."""
        offered = tuple(self._capabilities())
        if self._built is None or self._built.capabilities != offered:
            usable = [capability for capability in offered if not capability.urgent]
            self._built = Understood(offered, Grammar(usable), Router(usable, floor=self._floor))
        return self._built

    def matches(self, text: str) -> list[Match]:
        """The exact reading of ``text``: one match, or several readings of its clauses; empty when there is none.

        Only questions are taken clause by clause; an order stands alone in its message.
        """
        grammar = self.current.grammar
        whole = grammar.match(text)
        if whole is not None:
            return [whole]
        parts = [part.strip() for part in _CLAUSES.split(text) if part and part.strip()]
        if not 2 <= len(parts) <= _MOST_CLAUSES:
            return []
        found = [grammar.match(part) for part in parts]
        readings = [match for match in found if match is not None and match.capability.effect_class is EffectClass.READ]
        return readings if len(readings) == len(parts) else []

    def candidates(self, text: str, k: int) -> list[Candidate]:
        """What a model may choose among; empty: it is conversation, as is what people tell about themselves."""
        if "?" not in text and statements(text):
            return []
        found = self.current.router.candidates(text, k) if k else []
        names = self.current.grammar.names
        return [
            one
            for one in found
            if one.capability.effect_class is not EffectClass.MONEY or may_propose(text, one.capability, names)
        ]

    def completed(self, text: str, earlier: str) -> str | None:
        """The whole wish, when ``text`` answers what ``earlier`` had left open: *buy AAPL*, and then *5*.

        A capability that asks for the missing part says in ``extra["answers"]`` how the two make one phrase; the
        grammar has to read it, so nothing is guessed.
        """
        answer = _UNIT.sub("", " ".join(core_words(text)))
        if not earlier or not answer or len(answer) > _LONGEST_ANSWER or self.current.grammar.match(text) is not None:
            return None
        asked = self.current.grammar.match(earlier)
        forms = asked.capability.extra.get("answers") if asked is not None else None
        if asked is None or not isinstance(forms, Sequence):
            return None
        for form in forms:
            try:
                whole = str(form).format(answer=answer, **asked.args)
            except KeyError:
                continue
            found = self.current.grammar.match(whole)
            if found is not None and found.capability.effect_class is EffectClass.MONEY:
                return whole
        return None

    def _grammar(self, message: Message) -> Intent | None:
        match = self.current.grammar.match(message.text)
        if match is None:
            return None
        return Intent(
            action="capability",
            capability=match.capability.name,
            args=match.args,
            reasons=(f"phrase {match.phrase!r}",),
        )

    def _reminder(self, message: Message) -> Intent | None:
        wish = parse_reminder(message.text, message.now, self._zone)
        if wish is None:
            return None
        return Intent(action="remind", text=wish.task, args={"at": None if wish.at is None else wish.at.isoformat()})

    def _orders(self, message: Message) -> Intent | None:
        said = several_orders(message.text, self.current.grammar.match)
        if said is None and refuses_orders(message.text):
            said = NOT_ORDERED
        return None if said is None else Intent(action="say", text=said)

    def _clauses(self, message: Message) -> Intent | None:
        return Intent(action="several") if len(self.matches(message.text)) > 1 else None

    def _caution(self, message: Message) -> Intent | None:
        if advice_like(message.text):
            return Intent(action="say", text=NO_ADVICE)
        return Intent(action="say", text=STOP_HINT) if stop_like(message.text) else None

    def _told(self, message: Message) -> Intent | None:
        """What is said to be remembered is acknowledged as it was understood; memory keeps it by the same rules."""
        told = [] if "?" in message.text else statements(message.text)
        if not any(one.kind in _TO_KEEP for one in told):
            return None
        kept = "; ".join(_acknowledged(one) for one in told)
        return Intent(action="say", text=f"I will remember: {kept}.")


def _acknowledged(statement: Statement) -> str:
    """A fact as it will be listed; a note or a rule as it was said."""
    return (statement.words if statement.kind in {"fact", "preference"} else statement.value).rstrip(".")


def greeting(text: str) -> bool:
    """Whether ``text`` is a bare greeting."""
    return " ".join(re.findall(r"[a-z]+", text.casefold())) in _GREETINGS
