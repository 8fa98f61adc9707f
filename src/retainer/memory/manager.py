"""``MemoryManager``: the public face of memory, for the service and for a library user."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from retainer.core.clock import Clock, SystemClock
from retainer.core.errors import InvalidInputError
from retainer.core.labels import OWNER, Label
from retainer.core.protocols import View
from retainer.memory import projection
from retainer.memory.cards import rule
from retainer.memory.person import PersonMemory
from retainer.memory.replying import facts_text
from retainer.memory.settings import MemorySettings
from retainer.memory.values import Erased, Fact, Forgetting, Recalled, Role, Turn
from retainer.memory.words import content_tokens
from retainer.safety.redact import redact

OWN = "owner"
"""The person meant when none is named."""
_RULES = "rules:own"
_ALL = frozenset({"everything", "all", "me", "everything about me", "all about me", "everything you know about me"})
_LAST = frozenset({"that", "this", "it", "my last message", "the last message", "what i just said", "that again"})
_ABOUT = re.compile(r"^(?:everything|all|anything|what i said|what you know)?\s*about\s+(?P<topic>.+)$", re.I)
_WISH = re.compile(r"^(?:please\s+)?(?:forget|erase|delete)\b[\s:,]*(?:that\s+(?=\S+\s+\S))?", re.I)


class MemoryManager:
    """Memories of people, one file each in ``folder``; without a folder they last as long as this object.

    Thread-safe. In the service :meth:`catch_up` feeds it from the runtime database; a library user calls
    :meth:`remember`. Texts are kept word for word, cleaned of secrets; no model is involved.
    """

    def __init__(
        self, folder: Path | str | None = None, *, settings: MemorySettings | None = None, clock: Clock | None = None
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.settings = settings or MemorySettings()
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._open: OrderedDict[str, PersonMemory] = OrderedDict()

    # --- the service -------------------------------------------------------------------------------------------------
    def catch_up(self, view: View, person: str, upto: int | None = None) -> int:
        """Read what was said to and by ``person`` since the last time, before event ``upto``; returns turns added.

        Call it at the start of handling a message, with that message's ``seq``: a few milliseconds at most. A lost or
        damaged file is rebuilt by the same call.
        """
        return projection.project(self.person(person), view, person, upto)

    def rebuild(self, view: View, person: str) -> int:
        """Throw the file away and read everything again; returns the number of turns."""
        with self._lock:
            self._drop(person)
            return self.catch_up(view, person)

    # --- remembering -------------------------------------------------------------------------------------------------
    def remember(
        self,
        text: str,
        *,
        person: str = OWN,
        source: str | None = None,
        conv: str = "library:local",
        role: Role = "person",
        speaker: str | None = None,
        at: datetime | None = None,
        label: Label = OWNER,
        seq: int | None = None,
    ) -> bool:
        """Keep one message; ``False`` if ``source`` (its id) is known already. Facts are read from it by rules."""
        if not text.strip():
            raise InvalidInputError("An empty message cannot be remembered.", hint="Pass its text.")
        memory = self.person(person)
        with memory.lock:
            place = memory.mark("own") + 1 if seq is None else seq
            turn = Turn(
                source=source or f"own:{place}",
                conv=conv,
                seq=place,
                at=at or self._clock.now(),
                role=role,
                speaker=speaker or {"person": "you", "assistant": "assistant", "quoted": "quoted"}[role],
                text=text,
                label=label,
            )
            added = memory.add(turn)
            memory.set_mark("own", max(memory.mark("own"), place))
        return added

    def update_behavior(self, feedback: str, *, person: str = OWN, at: datetime | None = None) -> Fact:
        """Keep a standing rule for how to behave (``answer shorter``); the newest rule on a matter holds."""
        if not feedback.strip():
            raise InvalidInputError("An empty rule says nothing.", hint="Say it in words, e.g. “answer shorter”.")
        memory = self.person(person)
        with memory.lock:
            place = memory.mark("own") + 1
            turn = Turn(
                source=f"own:{place}",
                conv=_RULES,
                seq=place,
                at=at or self._clock.now(),
                role="person",
                speaker="you",
                text=feedback.strip(),
                label=OWNER,
            )
            memory.add(turn, [rule(redact(feedback.strip()))])
            memory.set_mark("own", place)
            return next(fact for fact in memory.facts(past=True) if fact.source == turn.source)

    # --- asking ------------------------------------------------------------------------------------------------------
    def recall(
        self,
        query: str,
        *,
        person: str = OWN,
        k: int | None = None,
        now: datetime | None = None,
        exclude: Collection[str] = (),
        before: int | None = None,
    ) -> list[Recalled]:
        """Past turns that fit ``query``, best first; none below the relevance floor, none for small talk.

        ``exclude``: sources already shown; ``before``: only events before this one. Their labels must join the turn's.
        """
        return self.person(person).recall(
            query,
            self.settings.recall if k is None else k,
            now or self._clock.now(),
            floor=self.settings.floor,
            exclude=exclude,
            before=before,
        )

    def history(
        self, conv: str, *, person: str = OWN, limit_tokens: int | None = None, upto: int | None = None
    ) -> list[Turn]:
        """The newest turns of a conversation, oldest first; see :meth:`PersonMemory.history`."""
        return self.person(person).history(conv, limit_tokens or self.settings.history_tokens, upto=upto)

    def facts(self, *, person: str = OWN, at: datetime | None = None, past: bool = False) -> list[Fact]:
        """What the person stated and still holds (or held ``at``; with ``past``, ever)."""
        return self.person(person).facts(at, past=past)

    def behavior(self, *, person: str = OWN) -> list[str]:
        """Standing rules in the person's words, oldest first."""
        return [fact.words for fact in self.person(person).facts(kinds=("instruction",))]

    def profile(self, *, person: str = OWN) -> list[str]:
        """The newest facts as sentences, for a prompt; at most ``settings.facts``."""
        facts = [fact for fact in self.facts(person=person) if fact.kind != "instruction"]
        return [fact.words for fact in facts[len(facts) - min(len(facts), self.settings.facts) :]]

    def about(self, *, person: str = OWN) -> str:
        """The answer to “what do you know about me”."""
        return facts_text(self.facts(person=person))

    def export(self, *, person: str = OWN) -> Iterator[str]:
        """Everything about a person as JSON lines."""
        return self.person(person).export()

    # --- forgetting --------------------------------------------------------------------------------------------------
    def listed(self, *, person: str = OWN) -> list[int]:
        """Which facts :meth:`about` lists, in its order, by their own lasting numbers."""
        return [fact.number for fact in self.facts(person=person)]

    def plan_forget(
        self, what: str, *, person: str = OWN, before: int | None = None, shown: Sequence[int] | None = None
    ) -> Forgetting:
        """What the wish ``what`` (“that”, “3”, “my birthday”, “everything about Oslo”, “everything”) comes down to.

        A number is a line of the list ``shown`` (:meth:`listed`), which the person has before their eyes; by default,
        of the list as it is now. Forgetting a fact erases the messages it was read from, or recall would bring it
        back. Nothing is changed yet.
        """
        wish = " ".join(_WISH.sub("", what.strip(), count=1).strip(" .!?").split())
        memory = self.person(person)
        if wish.casefold() in _ALL:
            return Forgetting(person=person, everything=True)
        if wish.casefold() in _LAST:
            return _plan(memory, person, memory.latest(before))
        if wish.isdigit():
            listed = self.listed(person=person) if shown is None else shown
            return _plan(memory, person, _numbered(memory, listed, int(wish)))
        if match := _ABOUT.match(wish):
            topic = content_tokens(match["topic"])
            return _plan(memory, person, [*memory.matching(topic), *_facts_about(memory, topic)])
        return _plan(memory, person, _facts_about(memory, content_tokens(wish)))

    def forget(self, what: str | Forgetting, *, person: str = OWN, upto: int | None = None) -> Erased:
        """Erase at once from the memory file; a plan may be applied twice.

        In the service also call :func:`retainer.memory.truth.record_forgetting` in the close, so that the runtime
        database forgets as well.
        """
        plan = self.plan_forget(what, person=person) if isinstance(what, str) else what
        memory = self.person(plan.person)
        all_upto = (upto if upto is not None else 2**62) if plan.everything else None
        return memory.erase(plan.sources, all_upto=all_upto)

    # --- files -------------------------------------------------------------------------------------------------------
    def path(self, person: str) -> Path | None:
        """The person's file; ``None`` when memories are not kept."""
        if self.folder is None:
            return None
        plain = re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", person) is not None
        return self.folder / f"{person if plain else 'p-' + hashlib.sha256(person.encode()).hexdigest()[:32]}.db"

    def person(self, person: str) -> PersonMemory:
        """The memory of one person, opened on first use. Nobody else's is reachable through it."""
        if not person:
            raise InvalidInputError("A memory needs a person.", hint="Pass the person's id.")
        with self._lock:
            found = self._open.get(person)
            if found is None:
                found = self._open[person] = PersonMemory(self.path(person), redact)
                self._trim()
            self._open.move_to_end(person)
            return found

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _trim(self) -> None:
        """Let go of the least used files; one still in use elsewhere closes when that use ends."""
        while self.folder is not None and len(self._open) > self.settings.open_files:
            self._open.popitem(last=False)

    def _drop(self, person: str) -> None:
        found = self._open.pop(person, None)
        if found is not None:
            found.close()
        path = self.path(person)
        if path is not None:
            for suffix in ("", "-wal", "-shm", ".damaged"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def _plan(memory: PersonMemory, person: str, sources: Sequence[str]) -> Forgetting:
    distinct = tuple(dict.fromkeys(sources))
    facts = sum(fact.source in distinct for fact in memory.facts(past=True))
    return Forgetting(person=person, sources=distinct, facts=facts, found=bool(distinct))


def _numbered(memory: PersonMemory, listed: Sequence[int], line: int) -> list[str]:
    """Sources of the fact in this line of a list and of those it superseded."""
    if not 1 <= line <= len(listed):
        return []
    facts = memory.facts(past=True)
    key = next((fact.key for fact in facts if fact.number == listed[line - 1]), None)
    return [fact.source for fact in facts if fact.key == key]


def _facts_about(memory: PersonMemory, words: list[str]) -> list[str]:
    """Sources of facts (past ones too) whose key or sentence holds every one of ``words``."""
    facts = memory.facts(past=True)
    keys = {
        fact.key
        for fact in facts
        if words and set(words) <= set(content_tokens(f"{fact.key.replace(':', ' ')} {fact.words}"))
    }
    return [fact.source for fact in facts if fact.key in keys]
