"""Answering approval cards: by button, by ``yes``, by id; and their expiry."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from retainer.chat.commands import CardAnswer
from retainer.chat.replies import REPLY, say
from retainer.chat.services import ChatServices
from retainer.core.effects import Effect
from retainer.core.protocols import Context, OutgoingMessage, Tx
from retainer.core.replies import reply_effect
from retainer.runtime import effects
from retainer.safety.approvals import Answered
from retainer.safety.identity import principal_at

_CLOSED = {"approved": "Approved", "rejected": "Rejected", "expired": "Expired, nothing was done"}
SEVERAL = "Several cards wait here. Press the button of the one you mean, or say which, for example “yes {id}”."
NONE_WAITS = "No card waits for an answer here: it was answered, has expired, or was refused. Nothing was done."
LOOSE = "A card waits for your answer. I only act on a clear word: say “yes” to approve it or “no” to reject it."


@dataclass(frozen=True, slots=True)
class CardDesk:
    """Takes answers to cards for the chat agent."""

    services: ChatServices
    zone: ZoneInfo

    def waiting(self, ctx: Context, address: str) -> list[str]:
        """Ids of the cards that wait at ``address``, oldest first."""
        return [card.id for card in self.services.approvals.pending(ctx.view, address=address)]

    def typed(self, ctx: Context, answer: CardAnswer, *, person: str, address: str) -> bool:
        """Act on a typed answer. ``False`` when a question was answered and not a card, so it was conversation."""
        waiting = self.waiting(ctx, address)
        if answer.approval:
            chosen = answer.approval
        elif len(waiting) == 1:
            chosen = waiting[0]
        elif waiting:
            say(ctx, address, SEVERAL.format(id=waiting[-1]))
            return True
        elif answer.explicit or not self._asked(ctx, person, address):
            say(ctx, address, NONE_WAITS)
            return True
        else:
            return False
        self.answer(ctx, chosen, yes=answer.yes, code=answer.code, person=person, address=address, aloud=True)
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
        return [reply_effect(answered.address, message, name="card", label=ctx.turn.label, edit=card.key)]
