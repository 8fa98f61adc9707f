"""What the language model may be used for: calls and tokens per hour and day, for everybody and for each person.

Use is counted in rows, in slices of five minutes, so a restart forgets nothing; numbers and a person's id are kept.
Whatever is answered without a model (commands, exact questions, *stop*, cards) never looks here. Calls that are under
way at the moment a limit is reached may end beyond it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Protocol

from retainer.core.clock import Clock, from_epoch, to_epoch
from retainer.core.errors import RetainerError
from retainer.core.protocols import ChatMessage, ChatModel, Generation, Tx, View
from retainer.core.values import Json
from retainer.safety.limits import Limits, over, wait

SLICE = 300
"""Seconds that are counted together; a limit frees up to this much later than to the second."""
_HOUR, _DAY = 3600, 86_400
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Use:
    """What was used within a window."""

    calls: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """A limit of the budget that is reached."""

    limit: str
    """In words: ``600 model calls an hour``."""
    free_at: datetime

    def when(self, now: datetime, zone: tzinfo | None = None) -> str:
        """``at 16:05 (in 12 minutes)``, in ``zone``."""
        at = self.free_at.astimezone(zone) if zone else self.free_at
        return f"at {at:%H:%M}{'' if zone else ' UTC'} (in {wait(self.free_at, now)})"


class BudgetSpentError(RetainerError):
    """A model call was not made because of a limit of the budget."""

    def __init__(self, spent: Spent, now: datetime) -> None:
        super().__init__(f"{spent.limit} is the limit; it frees {spent.when(now)}.", hint="Ask again then.")
        self.spent = spent


# --- rows ------------------------------------------------------------------------------------------------------------
def count(tx: Tx, person: str, now: datetime, *, calls: int = 0, tokens: int = 0) -> None:
    """Add to the slice of ``now``; slices that no window reaches any more are dropped."""
    at = int(to_epoch(now)) // SLICE * SLICE
    known = tx.execute(
        "UPDATE model_use SET calls = calls + ?, tokens = tokens + ? WHERE at = ? AND person_id = ?",
        (calls, tokens, at, person),
    )
    if not known:
        tx.execute("DELETE FROM model_use WHERE at < ?", (at - _DAY - SLICE,))
        tx.execute(
            "INSERT INTO model_use (at, person_id, calls, tokens) VALUES (?, ?, ?, ?)", (at, person, calls, tokens)
        )


def used(view: View, now: datetime, window: timedelta = timedelta(hours=1), *, person: str | None = None) -> Use:
    """What everybody, or ``person``, has used in the last ``window``."""
    slices = _slices(view, now, int(window.total_seconds()), person)
    return Use(sum(use.calls for _, use in slices), sum(use.tokens for _, use in slices))


def spent(view: View, person: str, now: datetime, limits: Limits) -> Spent | None:
    """The limit that keeps the next call of ``person`` out, the one that frees last; ``None`` while there is room."""
    checks: tuple[tuple[int, str, int, str | None, Callable[[Use], int]], ...] = (
        (limits.model_calls_per_hour, "model calls an hour", _HOUR, None, _calls),
        (limits.model_calls_per_person, "model calls an hour for one person", _HOUR, person, _calls),
        (limits.model_tokens_per_hour, "model tokens an hour", _HOUR, None, _tokens),
        (limits.model_tokens_per_day, "model tokens a day", _DAY, None, _tokens),
    )
    found = []
    for most, words, window, who, of in checks:
        slices = _slices(view, now, window, who)
        left = sum(of(use) for _, use in slices)
        if over(left, most):
            for at, use in slices:
                left -= of(use)
                if not over(left, most):
                    found.append(Spent(f"{most:,} {words}", from_epoch(at + SLICE + window)))
                    break
    return max(found, key=lambda each: each.free_at, default=None)


def _calls(use: Use) -> int:
    return use.calls


def _tokens(use: Use) -> int:
    return use.tokens


def _slices(view: View, now: datetime, window: int, person: str | None) -> list[tuple[int, Use]]:
    """Slices of which a part is within the window, oldest first. A clock that was set back leaves later ones out."""
    at = int(to_epoch(now))
    rows = view.query(
        "SELECT at, SUM(calls) AS calls, SUM(tokens) AS tokens FROM model_use"
        " WHERE at > ? AND at <= ? AND person_id = COALESCE(?, person_id) GROUP BY at ORDER BY at",
        (at - window - SLICE, at, person),
    )
    return [(int(row["at"]), Use(int(row["calls"]), int(row["tokens"]))) for row in rows]


def use_lines(view: View, now: datetime, limits: Limits) -> list[str]:
    """For ``status``; nothing while nothing was used."""
    hour, day = used(view, now), used(view, now, timedelta(days=1))
    if not day.calls:
        return []
    return [
        f"Model use: {hour.calls:,} of {limits.model_calls_per_hour:,} calls and {hour.tokens:,} of"
        f" {limits.model_tokens_per_hour:,} tokens this hour; {day.tokens:,} of {limits.model_tokens_per_day:,} tokens"
        " in 24 hours."
    ]


# --- told once -------------------------------------------------------------------------------------------------------
def told(view: View, person: str, now: datetime) -> bool:
    """Whether ``person`` knows already that the budget is spent now."""
    row = view.one("SELECT until FROM model_told WHERE person_id = ?", (person,))
    return row is not None and float(row["until"]) > to_epoch(now)


def note_told(tx: Tx, person: str, until: datetime) -> None:
    """``person`` has been told; not again before ``until``."""
    tx.execute(
        "INSERT INTO model_told (person_id, until) VALUES (?, ?)"
        " ON CONFLICT (person_id) DO UPDATE SET until = excluded.until",
        (person, to_epoch(until)),
    )


# --- the model, counted ----------------------------------------------------------------------------------------------
class _Store(Protocol):
    def view(self) -> View: ...

    def write_soon(self, apply: Callable[[Tx], Any]) -> None: ...


class ModelBudget:
    """The budget of one service."""

    def __init__(self, store: _Store, clock: Clock, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self._store = store

    def spent(self, person: str) -> Spent | None:
        """See :func:`spent`, as of now."""
        return spent(self._store.view(), person, self.clock.now(), self.limits)

    def metered(self, model: ChatModel, person: str) -> ChatModel:
        """``model``, whose calls are counted for ``person`` and refused once the budget is spent."""
        return _Metered(self, model, person)

    def count(self, person: str, *, calls: int = 0, tokens: int = 0) -> None:
        """Queue it for the writer: it is durable no later than what is written next, the step of that very call."""
        now = self.clock.now()
        self._store.write_soon(lambda tx: count(tx, person, now, calls=calls, tokens=tokens))


class _Metered:
    """Implements :class:`~retainer.core.protocols.ChatModel`.

    A call is counted before it is made, its tokens when it has ended; one that was cut short, or whose server does not
    count, is estimated.
    """

    def __init__(self, budget: ModelBudget, model: ChatModel, person: str) -> None:
        self._budget = budget
        self._model = model
        self._person = person

    @property
    def name(self) -> str:
        return self._model.name

    async def stream(self, messages: Sequence[ChatMessage], **how: Any) -> AsyncGenerator[str | Generation, None]:
        """As the model's own. Raises :class:`BudgetSpentError` before anything is asked."""
        self._begin()
        tokens = _asked(messages)
        pieces: AsyncIterator[str | Generation] = self._model.stream(messages, **how)
        try:
            async for piece in pieces:
                tokens = tokens + 1 if isinstance(piece, str) else _total(piece, tokens)
                yield piece
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
            self._budget.count(self._person, tokens=tokens)

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        **how: Any,
    ) -> Generation:
        """As the model's own. Raises :class:`BudgetSpentError` before anything is asked."""
        self._begin()
        tokens = _asked(messages)
        try:
            done = await self._model.complete(messages, schema=schema, **how)
            tokens = _total(done, tokens + len(done.text) // _CHARACTERS_PER_TOKEN)
        finally:
            self._budget.count(self._person, tokens=tokens)
        return done

    def _begin(self) -> None:
        found = self._budget.spent(self._person)
        if found is not None:
            raise BudgetSpentError(found, self._budget.clock.now())
        self._budget.count(self._person, calls=1)


def _asked(messages: Sequence[ChatMessage]) -> int:
    return sum(len(message.content) for message in messages) // _CHARACTERS_PER_TOKEN


def _total(done: Generation, estimate: int) -> int:
    return done.usage.prompt + done.usage.completion or estimate
