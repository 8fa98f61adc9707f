"""What a handler has of the world while it handles one event, and the transaction that closes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

import structlog

from retainer.core.clock import utc
from retainer.core.effects import Effect, EffectClass, EffectState, Outcome, StoredEffect, Turn
from retainer.core.errors import InvalidInputError, RefusedError, RetainerError
from retainer.core.events import NewEvent
from retainer.core.labels import Label, Trust
from retainer.core.protocols import Store, Tx, View
from retainer.core.replies import split_address
from retainer.core.values import Json
from retainer.runtime import bodies, effects
from retainer.runtime.carrier import Carrier, Later, Started, open_placeholder
from retainer.runtime.inbox import MOST_HOPS, end_event, insert_event
from retainer.runtime.journal import COMMIT, Journal, record_step
from retainer.runtime.outbox import CHAIN, Outbox
from retainer.runtime.timers import Timer, cancel_timer, set_timer

T = TypeVar("T")
log = structlog.get_logger(__name__)

_CALL_TRIES = 3
_CALL_PAUSE = 2.0
MOST_EVENTS: Final = 50
"""Events for other agents, and timers, that one event may lead to."""
SHORTEST: Final = timedelta(seconds=1)
"""Between a timer and the one that its own handling sets: a chain of them has no other end."""


class ParkError(RetainerError):
    """The records of this event do not fit the code any more; a person has to decide."""


class TurnContext:
    """:class:`~retainer.core.protocols.Context` over the journal of one event."""

    def __init__(
        self, store: Store, outbox: Outbox, carrier: Carrier, journal: Journal, *, aside: bool = False
    ) -> None:
        self.event = journal.event
        self.aside = aside
        self.leaves = False
        """Whether the handler stepped aside: nothing is closed, it begins again out of the lane's way."""
        self.parked: str | None = None
        """Why this event has to be parked, once that is known."""
        self._store = store
        self._outbox = outbox
        self._carrier = carrier
        self._journal = journal
        self._interrupted = False
        self._names: set[str] = set()
        self._pending_commits: list[str] = []
        self._sent: dict[str, Effect] = {}
        self._wishes = 0
        self._reads = 0
        self._replies = 0
        self._opened: dict[str, StoredEffect] = {}
        self._events: list[NewEvent] = []
        self._units: list[Callable[[Tx], Sequence[Effect] | None]] = []
        self._timers: dict[str, Timer | None] = {}

    # --- reading -----------------------------------------------------------------------------------------------------
    @property
    def now(self) -> datetime:
        return self._journal.begun_at

    @property
    def attempts(self) -> int:
        return self.event.attempts

    @property
    def view(self) -> View:
        """A fresh snapshot; it stays consistent for as long as its holder keeps it (up to 10 seconds)."""
        return self._store.view()

    @property
    def turn(self) -> Turn:
        reply_to = self.event.reply_to
        channel = self.event.body.get("channel")
        if not isinstance(channel, str):
            channel = split_address(reply_to)[0] if reply_to else None
        return Turn(
            label=self._journal.label,
            sender=self.event.sender,
            channel=channel,
            reply_to=reply_to,
            agent=self.event.agent,
            kind=self.event.kind,
            source=self.event.source,
            commitments=frozenset(self._journal.commitments),
            spent=frozenset(self._journal.spent),
            wishes=self._wishes,
            reads=self._reads,
            replies=self._replies,
        )

    @property
    def interrupted(self) -> bool:
        return self._interrupted

    def interrupt(self) -> None:
        """Ask the handler to finish early."""
        self._interrupted = True

    # --- steps -------------------------------------------------------------------------------------------------------
    async def step(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        *,
        input_digest: str = "",
        label: Label | Callable[[T], Label] | None = None,
    ) -> T:
        self._check_parked()
        self._take_name("step", name)
        recorded = self._journal.steps.get(name)
        if recorded is not None:
            if not recorded.fits(input_digest):
                self._park(f"Step {name!r} was recorded for another input than the one it has now.")
            return cast("T", recorded.value)
        await self._carrier.confirm()
        text = bodies.encode(await fn())
        value = json.loads(text)
        read = label(value) if callable(label) else label

        def unit(tx: Tx, now: datetime) -> None:
            self._flush_commits(tx, now)
            record_step(tx, self.event.seq, name, text, now, self._journal.rows, input_digest, read)
            self._journal.rows += 1

        await self._carrier.record(unit)
        if read is not None:
            self._journal.label = self._journal.label.join(read)
        return cast("T", value)

    def commit(self, effect: Effect) -> None:
        digest = effect.digest
        if digest in self._journal.commitments:
            return
        if self._journal.label.trust is Trust.UNTRUSTED:
            raise RefusedError(
                "Something untrusted was read before this call was committed.",
                hint="Commit from the sender's message first, then read.",
            )
        self._journal.commitments.add(digest)
        self._pending_commits.append(digest)

    # --- calls -------------------------------------------------------------------------------------------------------
    async def call(self, effect: Effect) -> Outcome:
        self._check_parked()
        self._take_name("effect", effect.name)
        stored = self._journal.effects.get(effect.name)
        if stored is not None:
            self._count(effect)
            if stored.digest != effect.digest:
                self._park(f"Effect {effect.name!r} was recorded with other arguments than the ones it has now.")
            return await self._resume(stored)
        placed, begun = await self._write(lambda tx, now: self._place_call(tx, effect, now))
        self._count(effect)
        if isinstance(begun, str):
            return Outcome(EffectState.ASKED, approval_id=begun)
        async with self._carrier.lock(placed.queue):
            return self._outcome(await self._see_through(placed.key, begun))

    def _place_call(
        self, tx: Tx, effect: Effect, now: datetime
    ) -> tuple[StoredEffect, StoredEffect | Started | Later | str]:
        self._flush_commits(tx, now)
        placed = self._outbox.place(tx, effect, self.event, self.turn, now, held=True)
        if placed.state is EffectState.ASKED:
            row = tx.one("SELECT approval_id FROM effect WHERE key = ?", (placed.key,))
            return placed, str(row["approval_id"]) if row else ""
        self._spend(placed)
        return placed, self._carrier.begin(tx, placed, now)

    async def _resume(self, stored: StoredEffect) -> Outcome:
        """Re-entry: the record counts; what may or may not have happened is resolved by its repeat class."""
        if stored.name in self._journal.asked:
            return Outcome(EffectState.ASKED, approval_id=self._journal.asked[stored.name])
        if stored.state in effects.FINAL:
            return self._outcome(stored)
        async with self._carrier.lock(stored.queue):
            return self._outcome(await self._see_through(stored.key, None))

    async def _see_through(self, key: str, begun: StoredEffect | Started | Later | None) -> StoredEffect:
        """A few tries within the turn, then an honest end: refused if nothing left, else unknown."""
        ended = await (self._carrier.attempt(key) if begun is None else self._carrier.go_on(begun))
        for _ in range(_CALL_TRIES - 1):
            if not isinstance(ended, Later):
                return ended
            await asyncio.sleep(min(ended.seconds, _CALL_PAUSE))
            ended = await self._carrier.attempt(key)
        if isinstance(ended, Later):
            later = ended
            return await self._carrier.write(lambda tx, now: self._carrier.give_up(tx, key, later, now))
        return ended

    def _outcome(self, ended: StoredEffect) -> Outcome:
        label = self._carrier.label_of(ended, ended.state)
        if label is not None:
            self._journal.label = self._journal.label.join(label)
        return Outcome(ended.state, ended.result, ended.reason)

    # --- placeholders ------------------------------------------------------------------------------------------------
    async def open(self, effect: Effect) -> None:
        self._check_parked()
        adapter = self._outbox.adapters.get(effect.tool)
        if adapter is None or not hasattr(adapter, "open"):
            return
        known = stored = self._journal.effects.get(effect.name)
        if stored is None:
            stored = await self._write(lambda tx, now: self._place_open(tx, effect, now))
        if stored is None or stored.state is not EffectState.SENDING:
            return
        if stored.ref is None:
            stored = await self._show(adapter, stored, again=known is not None)
        self._opened[effect.name] = stored

    def _place_open(self, tx: Tx, effect: Effect, now: datetime) -> StoredEffect | None:
        """A placeholder is a row *sending* that this handler holds; one that may not be said gets none."""
        self._flush_commits(tx, now)
        if self._outbox.verdict(tx, effect, self.turn, now).decision != "allow":
            return None
        return effects.insert_effect(
            tx,
            effect,
            event_seq=self.event.seq,
            lane=self.event.lane,
            agent=self.event.agent,
            state=EffectState.SENDING,
            repeat=self._outbox.repeat(effect.tool),
            now=now,
            held=True,
        )

    async def _show(self, adapter: Any, stored: StoredEffect, *, again: bool) -> StoredEffect:
        try:
            async with asyncio.timeout(10.0):
                await self._carrier.confirm()
                permit = self._outbox.guard.permit(stored)
                ref = await open_placeholder(adapter, stored, permit, again=again)
        except Exception as error:  # noqa: BLE001 - a missing placeholder is harmless, the reply itself will be sent
            log.info("placeholder_failed", tool=stored.tool, key=stored.key, kind=type(error).__name__)
            return stored
        await self._write(lambda tx, now: effects.set_ref(tx, stored.key, ref, now))
        return replace(stored, ref=ref)

    async def update(self, name: str, args: Mapping[str, Json]) -> None:
        stored = self._opened.get(name)
        if stored is None or stored.ref is None:
            return
        try:
            await self._carrier.confirm()
            await self._outbox.adapters[stored.tool].update(stored, args)
        except Exception as error:  # noqa: BLE001 - an update that fails is made up for by the next or by the reply
            log.debug("update_failed", tool=stored.tool, key=stored.key, kind=type(error).__name__)

    # --- for the close -----------------------------------------------------------------------------------------------
    def send(self, effect: Effect) -> None:
        if effect.name not in self._opened:
            self._take_name("effect", effect.name)
        elif effect.name in self._sent:
            raise InvalidInputError(f"Two effects of event {self.event.seq} are named {effect.name!r}.")
        self._sent[effect.name] = effect

    def emit(self, event: NewEvent) -> None:
        _check_kind("bar" if event.source.startswith("feed:") else event.kind)
        if event.sender not in {None, self.event.sender, self.event.agent}:
            raise RefusedError(f"This is not on behalf of {event.sender}: they did not send event {self.event.seq}.")
        if self.event.hops >= MOST_HOPS:
            raise RefusedError(CHAIN, hint=f"`explain {self.event.seq}` shows what led here.")
        if len(self._events) >= MOST_EVENTS:
            raise RefusedError(f"{MOST_EVENTS} events for other agents out of one is the limit.")
        self._events.append(event)

    def apply(self, unit: Callable[[Tx], Sequence[Effect] | None]) -> None:
        self._units.append(unit)

    def timer(self, name: str, *, at: datetime, body: Mapping[str, Json], kind: str = "timer") -> None:
        _check_kind(kind)
        if name not in self._timers and len(self._timers) >= MOST_EVENTS:
            raise RefusedError(f"{MOST_EVENTS} timers out of one event is the limit.")
        if self.event.source == "timer":
            at = max(utc(at), self.now + SHORTEST)
        self._timers[name] = Timer(
            lane=self.event.lane,
            name=name,
            agent=self.event.agent,
            at=utc(at),
            kind=kind,
            body=dict(body),
            sender=self.event.sender,
            cause=self.event.name,
            reply_to=self.event.reply_to,
            event_seq=self.event.seq,
        )

    def step_aside(self) -> bool:
        if not self.aside:
            self.leaves = True
        return self.leaves

    def cancel_timer(self, name: str) -> None:
        self._timers[name] = None

    def close(self, tx: Tx, now: datetime) -> list[StoredEffect]:
        """The closing transaction: event done, domain rows, effects, events, timers; all or nothing.

        Returns the effects as they were placed.
        """
        if not end_event(tx, self.event.seq, "done", now.timestamp()):
            return []
        self._flush_commits(tx, now)
        sent = dict(self._sent)
        for unit in self._units:
            for effect in unit(tx) or ():
                if sent.setdefault(effect.name, effect) is not effect:
                    raise InvalidInputError(f"Two effects of event {self.event.seq} are named {effect.name!r}.")
        spent = set(self._journal.spent)
        placed: list[StoredEffect] = []
        for effect in sent.values():
            turn = self.turn if spent == self._journal.spent else replace(self.turn, spent=frozenset(spent))
            stored = self._outbox.place(tx, effect, self.event, turn, now)
            placed.append(stored)
            self._count(effect)
            if (
                self._journal.commitments
                and stored.state is EffectState.READY
                and effect.digest in self._journal.commitments
            ):
                spent.add(effect.digest)
        for event in self._events:
            label = self._journal.label.join(event.label)
            cause, hops = event.cause or self.event.name, self.event.hops + 1
            insert_event(tx, replace(event, cause=cause, label=label, hops=hops), now)
        for name, timer in self._timers.items():
            if timer is None:
                cancel_timer(tx, self.event.lane, name)
            else:
                set_timer(tx, replace(timer, label=self._journal.label), now)
        self._outbox.release(tx, self.event, f"I have no answer. `explain {self.event.seq}` has the details.", now)
        return placed

    # --- inside ------------------------------------------------------------------------------------------------------
    def _count(self, effect: Effect) -> None:
        if effect.effect_class is EffectClass.READ:
            self._reads += 1
        elif effect.queue != self.event.reply_to:
            self._wishes += 1
        else:
            self._replies += 1

    async def _write(self, unit: Callable[[Tx, datetime], T]) -> T:
        return await self._carrier.write(unit)

    def _spend(self, placed: StoredEffect) -> None:
        if placed.state is EffectState.READY and placed.digest in self._journal.commitments:
            self._journal.spent.add(placed.digest)

    def _flush_commits(self, tx: Tx, now: datetime) -> None:
        while self._pending_commits:
            digest = self._pending_commits.pop(0)
            record_step(tx, self.event.seq, COMMIT + digest, "true", now, self._journal.rows, "", None)
            self._journal.rows += 1

    def _take_name(self, what: str, name: str) -> None:
        if f"{what}:{name}" in self._names:
            raise InvalidInputError(
                f"Two {what}s of event {self.event.seq} are named {name!r}.", hint="Give each its own name."
            )
        self._names.add(f"{what}:{name}")

    def _park(self, why: str) -> None:
        self.parked = why
        raise ParkError(why, hint="It waits for your decision: `explain` shows its records.")

    def _check_parked(self) -> None:
        if self.parked is not None:
            raise ParkError(self.parked)


def _check_kind(kind: str) -> None:
    """What a person says, presses or types comes in through their bridge alone."""
    if kind == "command":
        raise RefusedError("A command is what a person says or presses; no agent can say one for them.")
    if kind == "message":
        raise RefusedError("A message is what a person wrote; an agent asks another with a request.")
    if kind == "bar":
        raise RefusedError(
            "An agent cannot put market data into a lane: strategies' own orders rest on it.",
            hint="Add a feed; its events come in through the runtime.",
        )
