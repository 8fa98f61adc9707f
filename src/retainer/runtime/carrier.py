"""Carrying out one effect: recheck, mark *sending*, do it, record. What a crash or an error leaves open is resolved
by the repeat class."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog

from retainer.core.clock import to_epoch
from retainer.core.effects import Decision, EffectClass, EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError, NotSentError, RejectedError
from retainer.core.labels import UNTRUSTED, Label
from retainer.core.protocols import Store, Tx, View
from retainer.runtime import bodies, effects
from retainer.runtime.auditing import Woken
from retainer.runtime.inbox import load_event
from retainer.runtime.outbox import Outbox, failure_words
from retainer.runtime.placement import placement_of
from retainer.runtime.settings import RuntimeSettings
from retainer.runtime.store import StorageError, savepoint

T = TypeVar("T")
log = structlog.get_logger(__name__)

_LONGEST: Final = 60.0
_WAITING: Final = "SELECT id FROM effect WHERE state IN ('ready', 'sending') AND queue = ? AND held = 0 LIMIT 2"
_UNSURE: Final = "It was cut off while being sent; it may or may not have happened, and it will not be repeated."


@dataclass(frozen=True, slots=True)
class Started:
    """An effect marked *sending*, to be carried out now; ``again``: an earlier try may have happened."""

    effect: StoredEffect
    again: bool


@dataclass(frozen=True, slots=True)
class Later:
    """Not over: try again after ``seconds``. ``sent``: an earlier try may have happened."""

    seconds: float
    reason: str
    sent: bool


class Carrier:
    """One attempt at a time per queue. Shared by the deliverer and by calls inside handlers."""

    def __init__(self, store: Store, outbox: Outbox, settings: RuntimeSettings, woken: Callable[[Woken], None]) -> None:
        self._store = store
        self._placement = placement_of(store)
        self._outbox = outbox
        self._settings = settings
        self._woken = woken
        self.trouble: Callable[[StorageError], None] = lambda _error: None
        """Told when work has to wait because the storage failed."""
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def lock(self, queue: str) -> AsyncIterator[None]:
        """Held while an effect of ``queue`` is being carried out, by this process or another one."""
        lock = self._locks.get(queue)
        if lock is None:
            lock = self._locks[queue] = asyncio.Lock()
        async with lock, self._placement.held(f"queue:{queue}"):
            yield

    async def confirm(self) -> None:
        """To be called right before something leaves: raises if another process has taken over meanwhile."""
        await self._placement.confirm()

    async def attempt(self, key: str) -> StoredEffect | Later:
        """Carry ``key`` one step towards its end; returns it when it has ended."""
        return await self.go_on(await self.write(lambda tx, now: self.begin(tx, effects.by_key(tx, key), now)))

    async def go_on(self, begun: StoredEffect | Started | Later) -> StoredEffect | Later:
        """What follows :meth:`begin`: nothing if it has ended, else the doing outside any transaction."""
        return await self._perform(begun) if isinstance(begun, Started) else begun

    async def write(self, unit: Callable[[Tx, datetime], T]) -> T:
        """A unit of work between two audits: of what others wrote past the runtime, and of its own."""

        def whole(tx: Tx) -> tuple[T, Woken]:
            now = self._outbox.clock.now()
            before = self._outbox.settle(tx, None, now)
            result = unit(tx, now)
            return result, before.join(self._outbox.settle(tx, before.seq, now))

        try:
            result, woken = await self._store.write(whole)
        except StorageError as error:
            self.trouble(error)
            raise
        self._woken(woken)
        return result

    async def record(self, unit: Callable[[Tx, datetime], T]) -> T:
        """A unit of work that touches nothing that is audited or wakes anybody: a step, a commitment."""
        try:
            return await self._store.write(lambda tx: unit(tx, self._outbox.clock.now()))
        except StorageError as error:
            self.trouble(error)
            raise

    # --- before ------------------------------------------------------------------------------------------------------
    def begin_reply(self, tx: Tx, queue: str, placed: Sequence[StoredEffect], now: datetime) -> Started | None:
        """In the transaction that closes an event: begin its reply, where that is no different from doing it at once.

        It must be the only thing in its queue, and to send it twice must do no harm: a program that dies in between
        does not know how far it came.
        """
        ready = [effect for effect in placed if effect.queue == queue and effect.state is EffectState.READY]
        if len(ready) != 1 or ready[0].effect_class is not EffectClass.COMMUNICATE:
            return None
        [effect] = ready
        shown = effect.repeat is RepeatClass.EDITABLE and effect.ref is not None
        if not (shown or effect.repeat is RepeatClass.ENFORCED):
            return None
        if hasattr(self._outbox.adapters.get(effect.tool), "apply") or len(tx.query(_WAITING, (queue,))) != 1:
            return None
        begun = self.begin(tx, effect, now)
        return begun if isinstance(begun, Started) else None

    def begin(self, tx: Tx, effect: StoredEffect, now: datetime) -> StoredEffect | Started | Later:
        """Recheck and mark *sending*; what lives in this database is done at once. ``effect`` is as it stands in it."""
        if effect.state not in {EffectState.READY, EffectState.SENDING}:
            return effect
        adapter = self._outbox.adapters.get(effect.tool)
        again = effect.state is EffectState.SENDING
        if adapter is None:
            return self._end(
                tx, effect, EffectState.UNKNOWN if again else EffectState.REFUSED, now, "Its tool is gone."
            )
        if again and effect.repeat is RepeatClass.NONE:
            return self._end(tx, effect, EffectState.UNKNOWN, now, _UNSURE)
        if not (again and effect.repeat is RepeatClass.LOOKUP):
            refusal = self._refusal(tx, effect, now)
            if refusal is not None:
                state = EffectState.UNKNOWN if again else EffectState.REFUSED
                return self._end(tx, effect, state, now, f"{refusal} {_UNSURE}" if again else refusal)
        if hasattr(adapter, "apply"):
            return self._apply(tx, adapter, effect, now)
        effects.claim(tx, effect.key, now)
        return Started(self._with_ref(tx, effect, now), again)

    def _watched(self, effect: StoredEffect) -> Permit:
        """The permit, which says when *stop* or a withdrawn yes comes before the adapter has sent anything."""

        def withdrawn() -> str:
            return self._refusal(self._store.view(), effect, self._outbox.clock.now()) or ""

        return self._outbox.guard.permit(effect).watch(withdrawn)

    def _refusal(self, view: View, effect: StoredEffect, now: datetime) -> str | None:
        if reason := effects.blocked(view, effect):
            return reason
        verdict = self._outbox.guard.recheck(view, effect, now)
        return None if verdict.decision is Decision.ALLOW else verdict.reason or "Not allowed any more."

    def _with_ref(self, tx: Tx, effect: StoredEffect, now: datetime) -> StoredEffect:
        """Resolve ``args.edit`` to the reference of the earlier message."""
        edit = effect.args.get("edit")
        if effect.ref is None and isinstance(edit, str):
            earlier = effects.find(tx, edit)
            if earlier is not None and earlier.ref is not None:
                effects.set_ref(tx, effect.key, earlier.ref, now)
                return replace(effect, ref=earlier.ref)
        return effect

    def _apply(self, tx: Tx, adapter: Any, effect: StoredEffect, now: datetime) -> StoredEffect | Later:
        effects.claim(tx, effect.key, now)
        try:
            with savepoint(tx):
                result = adapter.apply(tx, effect, self._outbox.guard.permit(effect))
                return self._end(tx, effect, EffectState.DONE, now, result=result)
        except RejectedError as error:
            return self._end(tx, effect, EffectState.REFUSED, now, str(error))
        except (StorageError, InvalidInputError):
            raise
        except Exception as error:  # noqa: BLE001 - the adapter's failure must not take the queue down
            log.warning("apply_failed", tool=effect.tool, key=effect.key, kind=type(error).__name__)
            if effect.attempts + 1 >= self._settings.tries:
                return self._end(tx, effect, EffectState.REFUSED, now, f"It failed: {failure_words(error)}")
            return self._postpone(tx, effect, EffectState.READY, failure_words(error), now)

    # --- doing -------------------------------------------------------------------------------------------------------
    async def _perform(self, started: Started) -> StoredEffect | Later:
        effect, doubtful = started.effect, started.again
        adapter = self._outbox.adapters[effect.tool]
        try:
            async with asyncio.timeout(self._settings.deliver_timeout):
                if started.again and effect.repeat is RepeatClass.LOOKUP:
                    found = await adapter.lookup(effect)
                    if found is not None:
                        return await self._done(effect, found)
                    refused = await self.write(lambda tx, now: self._absent(tx, effect, now))
                    if refused is not None:
                        return refused
                    doubtful = False
                effect = await self._opened(adapter, effect, again=started.again or effect.attempts > 0)
                await self.confirm()
                result = await adapter.execute(effect, self._watched(effect))
        except RejectedError as error:
            # A no to the repetition says nothing about the first time: it may rest on what that one changed.
            state = EffectState.UNKNOWN if doubtful else EffectState.REFUSED
            reason = f"{error} {_UNSURE}" if doubtful else str(error)
            return await self.write(lambda tx, now: self._end(tx, effect, state, now, reason))
        except NotSentError as error:
            return await self._not_sent(started, error)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows whether it happened
            return await self._unsure(started, error)
        return await self._done(effect, result)

    def _absent(self, tx: Tx, effect: StoredEffect, now: datetime) -> StoredEffect | None:
        """The far side never got it: as good as *ready*, so it is checked like that."""
        refusal = self._refusal(tx, effect, now)
        return None if refusal is None else self._end(tx, effect, EffectState.REFUSED, now, refusal)

    async def _opened(self, adapter: Any, effect: StoredEffect, *, again: bool) -> StoredEffect:
        """An editable message starts as a placeholder whose reference is durable before anything is said in it."""
        if effect.repeat is not RepeatClass.EDITABLE or effect.ref is not None or not hasattr(adapter, "open"):
            return effect
        await self.confirm()
        ref = await open_placeholder(adapter, effect, self._outbox.guard.permit(effect), again=again)
        await self.write(lambda tx, now: effects.set_ref(tx, effect.key, ref, now))
        return replace(effect, ref=ref)

    # --- after -------------------------------------------------------------------------------------------------------
    async def _done(self, effect: StoredEffect, result: Any) -> StoredEffect:
        reason = ""
        try:
            bodies.encode(result)
        except InvalidInputError as error:
            log.warning("result_dropped", tool=effect.tool, key=effect.key)
            result, reason = None, error.message
        return await self.write(lambda tx, now: self._end(tx, effect, EffectState.DONE, now, reason, result=result))

    async def _not_sent(self, started: Started, error: NotSentError) -> Later:
        state = EffectState.SENDING if started.again else EffectState.READY
        reason, after = str(error), error.retry_after
        # Only tries that nobody knows the end of count as such.
        tries = started.effect.attempts if started.again else None
        return await self.write(
            lambda tx, now: self._postpone(tx, started.effect, state, reason, now, after=after, tries=tries)
        )

    async def _unsure(self, started: Started, error: Exception) -> StoredEffect | Later:
        effect = started.effect
        log.warning("send_unsure", tool=effect.tool, key=effect.key, kind=type(error).__name__)
        words = "no answer in time" if isinstance(error, TimeoutError) else failure_words(error)

        def unit(tx: Tx, now: datetime) -> StoredEffect | Later:
            never = effect.repeat is RepeatClass.NONE
            tries = effect.attempts + 1 if started.again else 1  # those before were not sent at all
            if never or tries >= self._settings.deliver_tries:
                return self._end(tx, effect, EffectState.UNKNOWN, now, f"{_UNSURE} ({words})")
            return self._postpone(tx, effect, EffectState.SENDING, words, now, tries=tries)

        return await self.write(unit)

    def _postpone(
        self,
        tx: Tx,
        effect: StoredEffect,
        state: EffectState,
        reason: str,
        now: datetime,
        *,
        after: float | None = None,
        tries: int | None = None,
    ) -> Later:
        seconds = min(_LONGEST, self._settings.deliver_retry_seconds * 2 ** min(effect.attempts, 10))
        seconds = seconds if after is None else max(0.0, after)
        effects.back_off(tx, effect.key, state, to_epoch(now) + seconds, reason, now, tries=tries)
        return Later(seconds, reason, state is EffectState.SENDING)

    def _end(
        self, tx: Tx, effect: StoredEffect, state: EffectState, now: datetime, reason: str = "", *, result: Any = None
    ) -> StoredEffect:
        ended = effects.end(
            tx,
            effect,
            state,
            now,
            result=result,
            reason=reason,
            ref=_ref(effect, result),
            result_label=self.label_of(effect, state),
        )
        if state is ended.state is EffectState.UNKNOWN:
            self._tell_owner(tx, ended, now)
        return ended

    def label_of(self, effect: StoredEffect, state: EffectState) -> Label | None:
        """The label of a result: what its adapter declares; what came from outside is untrusted if it declares none."""
        if state is not EffectState.DONE:
            return None
        outside = UNTRUSTED if effect.effect_class is EffectClass.FETCH else None
        label: Label | None = getattr(self._outbox.adapters.get(effect.tool), "label", outside)
        return label

    def _tell_owner(self, tx: Tx, effect: StoredEffect, now: datetime) -> None:
        event = load_event(tx, effect.event_seq)
        spoken = effect.effect_class is EffectClass.COMMUNICATE
        if effect.reply_to is None and spoken:
            return
        what = effect.summary or effect.tool
        text = (
            f"I do not know whether this happened: {what}\nI will not repeat it. `explain {event.seq}` has the details."
        )
        self._outbox.notice(tx, event, f"{effect.name}:unknown", text, now, to=effect.reply_to)

    def give_up(self, tx: Tx, key: str, later: Later, now: datetime) -> StoredEffect:
        """End an effect that its caller does not wait for any longer."""
        effect = effects.by_key(tx, key)
        if later.sent:
            return self._end(tx, effect, EffectState.UNKNOWN, now, f"{_UNSURE} ({later.reason})")
        return self._end(tx, effect, EffectState.REFUSED, now, f"It could not be sent: {later.reason}")


async def open_placeholder(adapter: Any, effect: StoredEffect, permit: Permit, *, again: bool) -> str:
    """The reference of a placeholder; ``again``: an earlier try may have shown one that the adapter can find."""
    show = adapter.reopen if again and hasattr(adapter, "reopen") else adapter.open
    return str(await show(effect, permit))


def _ref(effect: StoredEffect, result: Any) -> str | None:
    found = result.get("ref") if isinstance(result, Mapping) else None
    if isinstance(result, str) and effect.effect_class is EffectClass.COMMUNICATE:
        found = result
    return found if isinstance(found, str) else None
