"""``DecisionEngine``: what a text or a situation means, decided by an ordered list of deciders.

The first decider with an opinion wins, so certainty goes first: exact commands, phrase grammars, an owner's
corrections, and only then a model. A domain configures its own list; the engine knows none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.values import Json

S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What was decided, by whom and why. ``action`` is the domain's word: ``capability``, ``converse``, ``buy``."""

    action: str
    capability: str | None = None
    args: Mapping[str, Json] = field(default_factory=dict)
    text: str = ""
    """Words that belong to the decision: a question to ask back, a sentence to say."""
    decider: str = ""
    confidence: float = 1.0
    """1 for exact matches; a similarity or probability otherwise."""
    reasons: tuple[str, ...] = ()


class Decider(Protocol[S_contra]):
    """One way to decide."""

    @property
    def name(self) -> str:
        """Shown with what it decided."""
        ...

    async def decide(self, situation: S_contra) -> Intent | None:
        """An intent, or ``None`` to leave it to the next decider."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionDecider(Generic[S]):
    """A decider made from a plain function."""

    name: str
    function: Callable[[S], Intent | None]

    async def decide(self, situation: S) -> Intent | None:
        return self.function(situation)


class DecisionEngine(Generic[S]):
    """Ordered deciders over situations of one type, and typed questions with validated answers."""

    def __init__(self, deciders: Sequence[Decider[S]] = ()) -> None:
        self._deciders: list[Decider[S]] = list(deciders)

    @property
    def deciders(self) -> tuple[str, ...]:
        """Names in the order they are asked."""
        return tuple(decider.name for decider in self._deciders)

    def add(self, decider: Decider[S], *, before: str | None = None) -> None:
        """Add a decider at the end, or before the one named. Raises :class:`NotFoundError` for an unknown name."""
        if before is None:
            self._deciders.append(decider)
            return
        if before not in self.deciders:
            raise NotFoundError(f"There is no decider {before!r}.", hint=f"Known: {', '.join(self.deciders)}.")
        self._deciders.insert(self.deciders.index(before), decider)

    async def decide(self, situation: S) -> Intent | None:
        """The first intent; its ``decider`` is filled in. ``None`` when nobody has an opinion."""
        for decider in self._deciders:
            intent = await decider.decide(situation)
            if intent is not None:
                if intent.decider:
                    return intent
                return Intent(
                    action=intent.action,
                    capability=intent.capability,
                    args=intent.args,
                    text=intent.text,
                    decider=decider.name,
                    confidence=intent.confidence,
                    reasons=intent.reasons,
                )
        return None


# --- typed questions -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Choice:
    """A question with a closed list of answers."""

    question: str
    options: tuple[str, ...]

    def schema(self) -> dict[str, Json]:
        """JSON Schema that lets a model say nothing else."""
        return {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": list(self.options)}},
            "required": ["choice"],
            "additionalProperties": False,
        }

    def read(self, answer: Mapping[str, Json]) -> str:
        """The option chosen. Raises :class:`InvalidInputError` for anything else."""
        chosen = answer.get("choice")
        if not isinstance(chosen, str) or chosen not in self.options:
            raise InvalidInputError(f"{chosen!r} is none of the options of {self.question!r}.")
        return chosen


@dataclass(frozen=True, slots=True)
class Score:
    """A question answered with a whole number from ``low`` to ``high``."""

    question: str
    low: int = 0
    high: int = 10

    def schema(self) -> dict[str, Json]:
        """JSON Schema that lets a model say nothing else."""
        return {
            "type": "object",
            "properties": {"score": {"type": "integer", "minimum": self.low, "maximum": self.high}},
            "required": ["score"],
            "additionalProperties": False,
        }

    def read(self, answer: Mapping[str, Json]) -> int:
        """The score. Raises :class:`InvalidInputError` when it is no whole number in range."""
        score = answer.get("score")
        if isinstance(score, bool) or not isinstance(score, int) or not self.low <= score <= self.high:
            raise InvalidInputError(f"{score!r} is not a score from {self.low} to {self.high}.")
        return score


Question = Choice | Score
Answerer = Callable[[Question], Awaitable[Mapping[str, Json]]]


async def ask(question: Choice, answerer: Answerer) -> str | None:
    """The option an answerer (a model, a person, a rule) chose; ``None`` when its answer is not one of them."""
    try:
        return question.read(await answerer(question))
    except InvalidInputError:
        return None
