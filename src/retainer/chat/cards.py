"""Answering approval cards: by button, by ``yes``, by id; and their expiry."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from retainer.chat.commands import CardAnswer
from retainer.chat.control import BEHIND
from retainer.chat.numbered import Numbered, last_list, list_cards
from retainer.chat.replies import REPLY, say
from retainer.chat.services import ChatServices
from retainer.core.clock import to_epoch
from retainer.core.effects import Effect
from retainer.core.protocols import Context, OutgoingMessage, Tx
from retainer.core.replies import reply_effect
from retainer.runtime import effects
from retainer.safety.approvals import Answered
from retainer.safety.identity import principal_at

_CLOSED = {"approved": "Approved", "rejected": "Rejected", "expired": "Expired, nothing was done"}
NONE_WAITS = "No card waits for an answer here: it was answered, has expired, or was refused. Nothing was done."
ONE_BY_ONE = "I approve one card at a time, so that each yes is meant. These wait:"
LOOSE = "A card waits for your answer. I only act on a clear word: say “yes” to approve it or “no” to reject it."


@dataclass(frozen=True, slots=True)
class CardDesk:
    """Takes answers to cards for the chat agent."""

    services: ChatServices
    zone: ZoneInfo

    def waiting(self, ctx: Context, address: str, *, code: str = "") -> list[str]:
        """Ids of the cards that wait at ``address``, oldest first.

        Only those that were there when the message that is being handled was written: nobody answers what they could
        not have seen. The clock it was written by may be a minute behind; with a ``code`` no clock is needed, for there
        was none before the card.
        """
        row = ctx.view.one("SELECT received_at FROM event WHERE seq = ?", (ctx.event.seq,))
        received = 0.0 if row is None else float(row["received_at"])
        seen = received if code else min(received, to_epoch(ctx.event.occurred_at + BEHIND))
        pending = self.services.approvals.pending(ctx.view, address=address)
        return [
            card.id
            for card in pending
            if event_of(card.effect_key) < ctx.event.seq and to_epoch(card.created_at) <= seen
        ]

    async def typed(self, ctx: Context, answer: CardAnswer, *, person: str, address: str) -> bool:
        """Act on a typed answer. ``False`` when a question was answered and not a card, so it was conversation."""
        waiting = self.waiting(ctx, address, code=answer.code)
        if answer.approval:
            chosen = answer.approval
        elif len(waiting) == 1:
            chosen = waiting[0]
        elif waiting:
            await self.ask_which(ctx, address)
            return True
        elif answer.explicit or not self._asked(ctx, person, address):
            say(ctx, address, NONE_WAITS)
            return True
        else:
            return False
        self.answer(ctx, chosen, yes=answer.yes, code=answer.code, person=person, address=address, aloud=True)
        return True

    async def ask_which(self, ctx: Context, address: str, head: str = "") -> None:
        """Show all cards that wait at ``address`` as a numbered list, with what each is about."""
        found = [
            (card.id, effects.find(ctx.view, card.effect_key))
            for card in self.services.approvals.pending(ctx.view, address=address)
        ]
        cards = [(approval, effect.summary) for approval, effect in found if effect is not None]
        say(ctx, address, await list_cards(ctx, cards, head))

    async def numbered(self, ctx: Context, answer: Numbered, *, person: str, address: str) -> bool:
        """Act on ``yes 2`` or ``no to all``. ``False``: no card waits and no list was shown, so it was conversation."""
        waiting = self.waiting(ctx, address)
        shown = last_list(ctx.view, ctx.event.lane, ctx.event.seq)
        if answer.number is None:
            return await self._all(ctx, waiting, yes=answer.yes, person=person, address=address)
        if answer.number <= len(shown):
            chosen = shown[answer.number - 1]
        elif answer.number == 1 and len(waiting) == 1:
            chosen = waiting[0]
        elif waiting:
            await self.ask_which(ctx, address)
            return True
        else:
            return False
        self.answer(ctx, chosen, yes=answer.yes, code="", person=person, address=address, aloud=True)
        return True

    async def _all(self, ctx: Context, waiting: list[str], *, yes: bool, person: str, address: str) -> bool:
        if not waiting:
            return False
        if yes and len(waiting) > 1:
            await self.ask_which(ctx, address, ONE_BY_ONE)
            return True
        for approval in waiting:
            self.answer(ctx, approval, yes=yes, code="", person=person, address=address, aloud=len(waiting) == 1)
        if len(waiting) > 1:
            say(ctx, address, f"Rejected all {len(waiting)} cards. Nothing was done.")
        return True

    def _asked(self, ctx: Context, person: str, address: str) -> bool:
        """Whether the last thing said here was a question of ours, which a yes or no may answer."""
        turns = self.services.memory.history(address, person=person, upto=ctx.event.seq)
        return bool(turns) and turns[-1].role == "assistant" and turns[-1].text.rstrip().endswith("?")

    def answer(
        self, ctx: Context, approval: str, *, yes: bool, code: str, person: str, address: str, aloud: bool
    ) -> None:
        """Answer one card when this event closes, and edit it to how it ended, all in that one transaction.

        So a crash leaves either nothing or all of it. Answered twice by an impatient finger, the second says so and
        does nothing. ``aloud``: also say it, because the answer was typed.
        """
        principal = principal_at(ctx.view, person, address)

        def unit(tx: Tx) -> list[Effect]:
            answered = self.services.approvals.answer(tx, approval, yes, principal, code or None, ctx.now)
            closed = _CLOSED.get(answered.result)
            shown = [] if closed is None else self._edited_card(ctx, tx, answered, closed)
            if aloud or not shown or answered.result == "expired":
                message = OutgoingMessage(text=answered.text)
                shown.append(reply_effect(address, message, name=REPLY, label=ctx.turn.label))
            return shown

        ctx.apply(unit)

    def expire(self, ctx: Context, approval: str) -> None:
        """The card's time is over: refuse its effect and say so on the card, when this event closes."""

        def unit(tx: Tx) -> list[Effect]:
            answered = self.services.approvals.expire(tx, approval, ctx.now)
            if answered.result != "expired":
                return []
            return self._edited_card(ctx, tx, answered, _CLOSED["expired"])

        ctx.apply(unit)

    def _edited_card(self, ctx: Context, tx: Tx, answered: Answered, outcome: str) -> list[Effect]:
        card = None if answered.card_key is None else effects.find(tx, answered.card_key)
        if card is None or answered.address is None:
            return []
        stamp = f"{ctx.now.astimezone(self.zone):%H:%M}"
        message = OutgoingMessage(text=f"{card.args.get('text') or ''}\n\n{outcome} at {stamp}.")
        name = f"card:{answered.effect_key}"
        return [reply_effect(answered.address, message, name=name, label=ctx.turn.label, edit=card.key)]


def event_of(effect_key: str) -> int:
    """The event that made the effect with this key (``e<seq>:<name>``)."""
    return int(effect_key[1:].partition(":")[0])
