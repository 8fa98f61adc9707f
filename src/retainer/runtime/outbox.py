"""Placing effects: the guard's verdict, the row, the approval card with its expiry, and the runtime's own notices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from retainer.core.clock import Clock
from retainer.core.effects import Decision, Effect, EffectState, RepeatClass, StoredEffect, Turn, Verdict
from retainer.core.errors import RetainerError
from retainer.core.events import Event
from retainer.core.labels import TRUSTED, Trust
from retainer.core.protocols import Guard, OutgoingMessage, Tx
from retainer.core.replies import reply_effect, split_address
from retainer.runtime import effects
from retainer.runtime.auditing import Woken, settle
from retainer.runtime.inbox import MOST_HOPS
from retainer.runtime.timers import Timer, set_timer

_STATES = {
    Decision.ALLOW: EffectState.READY,
    Decision.ASK: EffectState.ASKED,
    Decision.DENY: EffectState.REFUSED,
}


CHAIN = f"Agents have led each other here over {MOST_HOPS} steps, which is the limit; what begins anew is not held up."
"""Why nothing more comes of an event at the end of too long a chain, but a reply."""


class Outbox:
    """What the close, the calls and the deliverer share: guard, clock, adapters."""

    def __init__(self, guard: Guard, clock: Clock, adapters: Mapping[str, Any], approver: str) -> None:
        self.guard = guard
        self.clock = clock
        self.adapters = adapters
        self._approver = approver

    def settle(self, tx: Tx, mark: int | None, now: datetime) -> Woken:
        """:func:`~retainer.runtime.auditing.settle` with this guard."""
        return settle(tx, self.guard, mark, now)

    def verdict(self, tx: Tx, effect: Effect, turn: Turn, now: datetime) -> Verdict:
        """The guard's answer, after what the runtime itself enforces."""
        adapter = self.adapters.get(effect.tool)
        if adapter is None:
            return Verdict(Decision.DENY, f"Nothing here can do {effect.tool}.")
        power = getattr(adapter, "effect_class", effect.effect_class)
        if power is not effect.effect_class:
            words = f"{effect.tool} is of class {power.value}; this effect says {effect.effect_class.value}."
            return Verdict(Decision.DENY, words)
        if reason := effects.blocked(tx, effect):
            return Verdict(Decision.DENY, reason)
        return self.guard.check(tx, effect, turn, now)

    def place(
        self, tx: Tx, effect: Effect, event: Event, turn: Turn, now: datetime, *, held: bool = False
    ) -> StoredEffect:
        """Check and store one effect of ``event``, or complete its open placeholder. What is recorded stays.

        ``held``: the running handler carries it out itself if it is allowed.
        """
        key = effects.effect_key(event.seq, effect.name)
        known = tx.one("SELECT held FROM effect WHERE key = ?", (key,))
        if known is not None and not known["held"]:
            return effects.by_key(tx, key)
        if turn.label.trust is Trust.UNTRUSTED:  # its words may be those that were read: so is what comes of it
            effect = replace(effect, label=effect.label.join(turn.label))
        verdict = self.verdict(tx, effect, turn, now)
        if event.hops >= MOST_HOPS and effect.queue != event.reply_to:
            verdict = Verdict(Decision.DENY, CHAIN)
        state = _STATES[verdict.decision]
        reason = "" if verdict.decision is Decision.ALLOW else verdict.reason
        if known is not None:
            stored = effects.complete(tx, key, effect, state, now, reason)
        else:
            stored = effects.insert_effect(
                tx,
                effect,
                event_seq=event.seq,
                lane=event.lane,
                agent=event.agent,
                state=state,
                repeat=self.repeat(effect.tool),
                now=now,
                reason=reason,
                held=held and verdict.decision is Decision.ALLOW,
            )
        if verdict.decision is Decision.ASK:
            self._ask(tx, stored, event, turn, verdict, now)
        return stored

    def repeat(self, tool: str) -> RepeatClass:
        """The repeat class the tool's adapter declares; *none* where there is no adapter."""
        adapter = self.adapters.get(tool)
        return RepeatClass.NONE if adapter is None else RepeatClass(adapter.repeat)

    def _ask(self, tx: Tx, stored: StoredEffect, event: Event, turn: Turn, verdict: Verdict, now: datetime) -> None:
        card = self.guard.ask(tx, stored, turn, verdict, now)
        tx.execute("UPDATE effect SET approval_id = ? WHERE key = ?", (card.approval_id, stored.key))
        message = OutgoingMessage(text=card.text, buttons=card.buttons)
        told = replace(reply_effect(card.address, message, name=f"{stored.name}:card"), label=stored.label)
        self._place_own(tx, told, event, now)
        channel, chat_id = split_address(card.address)
        body = {"command": "expire", "approval": card.approval_id, "text": "", "channel": channel, "chat_id": chat_id}
        timer = Timer(
            lane="control",  # a card expires on time, whatever its conversation is busy with
            name=f"expire:{card.approval_id}",
            agent=self._approver,
            at=card.expires_at,
            kind="command",
            body={**body, "message_id": ""},
            label=TRUSTED,
            cause=stored.key,
            reply_to=card.address,
            event_seq=event.seq,
        )
        set_timer(tx, timer, now)

    def notice(self, tx: Tx, event: Event, name: str, text: str, now: datetime, *, to: str | None = None) -> bool:
        """Say one honest sentence where the answer of ``event`` belongs, or at ``to``. ``False``: no such place."""
        address = to or event.reply_to
        if not address:
            return False
        for held in effects.select_effects(tx, "e.event_seq = ? AND e.held = 1 AND e.queue = ?", (event.seq, address)):
            if held.tool == f"{split_address(address)[0]}.reply":
                self._complete_with(tx, held, text, now)
                return True
        if effects.find(tx, effects.effect_key(event.seq, name)) is None:
            self._place_own(tx, reply_effect(address, OutgoingMessage(text=text), name=name), event, now)
            tx.execute("UPDATE effect SET own = 1 WHERE key = ?", (effects.effect_key(event.seq, name),))
        return True

    def release(self, tx: Tx, event: Event, text: str, now: datetime) -> None:
        """The handler is over: open placeholders are completed with ``text``, unfinished calls go to the deliverer."""
        left = effects.select_effects(tx, "e.event_seq = ? AND e.held = 1", (event.seq,))
        for held in left:
            if held.attempts == 0:
                self._complete_with(tx, held, text, now)
        if left:
            tx.execute("UPDATE effect SET held = 0 WHERE event_seq = ? AND held = 1", (event.seq,))

    def _complete_with(self, tx: Tx, held: StoredEffect, text: str, now: datetime) -> None:
        args = {**held.args, **OutgoingMessage(text=text).to_args()}
        effects.complete(tx, held.key, replace(_plain(held), args=args, summary=text), EffectState.READY, now)
        tx.execute("UPDATE effect SET own = 1 WHERE key = ?", (held.key,))

    def _place_own(self, tx: Tx, effect: Effect, event: Event, now: datetime) -> None:
        """A sentence of the runtime's own: checked like any other, as a reply to its addressee."""
        turn = Turn(
            sender=event.sender,
            channel=split_address(effect.queue)[0],
            reply_to=effect.queue,
            agent=event.agent,
            kind=event.kind,
        )
        verdict = self.verdict(tx, effect, turn, now)
        allowed = verdict.decision is Decision.ALLOW
        effects.insert_effect(
            tx,
            effect,
            event_seq=event.seq,
            lane=event.lane,
            agent=event.agent,
            state=EffectState.READY if allowed else EffectState.REFUSED,
            repeat=self.repeat(effect.tool),
            now=now,
            reason="" if allowed else verdict.reason,
        )


def _plain(stored: StoredEffect) -> Effect:
    return Effect(
        name=stored.name,
        tool=stored.tool,
        args=stored.args,
        effect_class=stored.effect_class,
        queue=stored.queue,
        label=stored.label,
        summary=stored.summary,
        reply_to=stored.reply_to,
        approver_lane=stored.approver_lane,
    )


def failure_words(error: BaseException) -> str:
    """``error`` for a person: our own errors in full, others by kind only (they may quote anything)."""
    if isinstance(error, RetainerError):
        return str(error)
    return f"an internal error ({type(error).__name__})"
