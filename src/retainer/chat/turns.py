"""Handling one message of a person: answers to cards, corrections, exact phrases, reminders, and then the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from retainer.agent.engine import Intent
from retainer.agent.loop import LoopInput, LoopResult, ModelLoop
from retainer.agent.reading import read_capability
from retainer.agent.text import core_words
from retainer.chat.cards import LOOSE, CardDesk
from retainer.chat.commands import CardAnswer, Correction, card_answer, correction, half_yes, urgent_command
from retainer.chat.control import acknowledge, take_effect
from retainer.chat.conversation import Message, build, last_said
from retainer.chat.deeds import Deeds
from retainer.chat.numbered import numbered_answer, takes_back
from retainer.chat.ordering import ORDER_VERBS
from retainer.chat.own import AGENT
from retainer.chat.reminders import Wish
from retainer.chat.replies import REPLY, noted, request, say, say_answers
from retainer.chat.services import ChatServices
from retainer.chat.turn_order import ahead, keeps_place, may_answer_talk, model_soon, on_its_way
from retainer.chat.understanding import Understanding, greeting
from retainer.core.capabilities import Answer, Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import RetainerError
from retainer.core.protocols import ChatModel, Context, OutgoingMessage, Tx
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.learning import corrections
from retainer.runtime.context import ParkError
from retainer.safety.budget import BudgetSpentError, Spent, note_told, told
from retainer.safety.identity import principal_at

PLACEHOLDER = "…"
_LONGEST_PHRASE = 300
"""Characters of a message that can be corrected; longer ones are stories, not phrases."""


class Turns:
    """One conversation turn after another, over the given services."""

    def __init__(self, services: ChatServices) -> None:
        self.services = services
        self.zone: ZoneInfo = services.zone or services.settings.zone()
        self.understanding = Understanding(services.capabilities, self.zone, services.settings.router_floor)
        self.cards = CardDesk(services, self.zone)
        self.deeds = Deeds(services, self.zone)

    async def take(self, ctx: Context, message: Message) -> None:
        """Answer ``message``."""
        self.services.memory.catch_up(ctx.view, message.person, message.seq)
        if not message.text.strip():
            await self._without_words(ctx, message)
        elif not await self._exact(ctx, message):
            await self._meant(ctx, message)

    async def _without_words(self, ctx: Context, message: Message) -> None:
        if message.quoted.strip():
            await self._converse(ctx, replace(message, text="Please sum up the quoted text."))
        else:
            say(ctx, message.address, "That message had no words I can read. Please tell me in text.")

    # --- exact things ------------------------------------------------------------------------------------------------
    async def _exact(self, ctx: Context, message: Message) -> bool:
        """Control words and answers to cards; ``True`` when it was one."""
        if await self._control(ctx, message):
            return True
        person, address = message.person, message.address
        if may_answer_talk(message.text) and not self.cards.waiting(ctx, address) and self._behind_talk(ctx, message):
            return True
        counted = numbered_answer(message.text)
        if counted is not None and await self.cards.numbered(ctx, counted, person=person, address=address):
            return True
        answer = card_answer(message.text)
        if answer is not None and await self.cards.typed(ctx, answer, person=person, address=address):
            return True
        waiting = self.cards.waiting(ctx, address)
        if waiting and takes_back(message.text):
            return await self.cards.typed(ctx, CardAnswer(yes=False), person=person, address=address)
        if waiting and half_yes(message.text):
            if len(waiting) == 1:
                say(ctx, address, LOOSE)
            else:
                await self.cards.ask_which(ctx, address)
            return True
        return False

    def _behind_talk(self, ctx: Context, message: Message) -> bool:
        """Step aside if the model still has earlier messages to answer; ``True``: it did."""
        return bool(ahead(ctx.view, message.lane, message.seq)) and ctx.step_aside()

    async def _control(self, ctx: Context, message: Message) -> bool:
        """Normally the hub has caught these words on arrival; a message that came another way is caught here."""
        command = urgent_command(message.text) if not message.quoted else None
        if command is None:
            return False
        if not self._may(ctx, message, command.scope):
            say(ctx, message.address, f"This device may not {command.command}: it needs the scope {command.scope}.")
            return True

        async def effective() -> bool:
            await self.services.write(
                lambda tx: take_effect(tx, command, message.person, ctx.now, said=ctx.event.occurred_at)
            )
            return True

        await ctx.step("control", effective)
        acknowledge(ctx, command, self.services.capabilities(), person=message.person, address=message.address)
        return True

    def _may(self, ctx: Context, message: Message, scope: str) -> bool:
        principal = principal_at(ctx.view, message.person, message.address)
        return principal is not None and principal.may(scope)

    # --- meaning -----------------------------------------------------------------------------------------------------
    async def _meant(self, ctx: Context, message: Message, before: str = "") -> None:
        """Corrections of the past first, then every decider, then the model."""
        corrected = correction(message.text)
        if corrected is not None and not before and await self._correct(ctx, message, corrected):
            return
        known = corrections.lookup(ctx.view, message.person, message.text)
        if known is None and not before:
            known = self.understanding.completed(message.text, self._just_asked(message))
        if known is not None:
            message = replace(message, text=known)
        intent = await self.understanding.engine.decide(message)
        if intent is None:
            await self._converse(ctx, message, before)
        elif not (self._in_its_place(ctx, message, intent) and ctx.step_aside()):
            await self._act(ctx, message, intent, before)

    def _in_its_place(self, ctx: Context, message: Message, intent: Intent) -> bool:
        return keeps_place(intent, ahead(ctx.view, message.lane, message.seq), self.understanding)

    def _just_asked(self, message: Message) -> str:
        """What the person said just before, when one answer of ours and nothing else came after it."""
        turns = self.services.memory.history(message.address, person=message.person, upto=message.seq)
        if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "person":
            return ""
        return turns[-2].text

    async def _correct(self, ctx: Context, message: Message, corrected: Correction) -> bool:
        """Keep the correction and answer as it was meant. ``False``: it corrects nothing."""
        turns = self.services.memory.history(message.address, person=message.person, upto=message.seq)
        earlier = last_said(turns)
        sure = corrected.explicit or bool(self.understanding.matches(corrected.meant))
        same = corrections.normal(earlier) == corrections.normal(corrected.meant)
        if not earlier or not sure or same or not corrections.normal(earlier) or len(earlier) > _LONGEST_PHRASE:
            return False
        ctx.apply(lambda tx: _keep(tx, message, earlier, corrected.meant))
        before = f"Noted: from now on I take “{_short(earlier)}” as “{_short(corrected.meant)}”."
        await self._meant(ctx, replace(message, text=corrected.meant), before)
        return True

    async def _act(self, ctx: Context, message: Message, intent: Intent, before: str) -> None:
        match intent.action:
            case "remind":
                at = intent.args.get("at")
                wish = Wish(intent.text, datetime.fromisoformat(at) if isinstance(at, str) else None)
                self.deeds.remind(ctx, message, wish, before)
            case "several":
                matches = self.understanding.matches(message.text)
                await self._read_all(ctx, message, [(match.capability, match.args) for match in matches], before)
            case "say":
                say(ctx, message.address, noted(before, intent.text))
            case _:
                await self._perform(ctx, message, self._capability(intent.capability), intent.args, before)

    def _capability(self, name: str | None) -> Capability:
        return next(one for one in self.understanding.current.capabilities if one.name == name)

    async def _perform(
        self,
        ctx: Context,
        message: Message,
        capability: Capability,
        args: Mapping[str, Json],
        before: str = "",
        *,
        opened: bool = False,
    ) -> None:
        """Do what was asked: read it here, or pass it to the agent it belongs to. ``opened``: a placeholder waits."""
        if not self._may(ctx, message, capability.scope):
            refusal = f"This device may not do that: it needs the scope {capability.scope}. Nothing was done."
            say(ctx, message.address, noted(before, refusal))
        elif capability.agent == AGENT and capability.run is None:
            await self.deeds.perform(ctx, message, capability, args, before)
        elif capability.effect_class is EffectClass.READ and capability.run is not None:
            # behind a reply that the model still words it would wait longer than it takes
            if capability.slow and not ahead(ctx.view, message.lane, message.seq) and ctx.step_aside():
                return
            await self._read_all(ctx, message, [(capability, args)], before)
        else:
            request(ctx, capability, args, person=message.person, address=message.address, label=ctx.event.label)
            if opened or before:
                say(ctx, message.address, before or f"Passed on to {capability.agent}.")

    async def _read_all(
        self, ctx: Context, message: Message, asked: list[tuple[Capability, Mapping[str, Json]]], before: str
    ) -> None:
        answers: list[Answer] = []
        for index, (capability, args) in enumerate(asked):
            if not self._may(ctx, message, capability.scope):
                answers.append(Answer(f"This device may not see that: it needs the scope {capability.scope}."))
                continue
            try:
                answers.append(await read_capability(ctx, capability, args, step=f"call:0:{index}"))
            except RetainerError as error:
                answers.append(Answer(str(error)))
        say_answers(ctx, message.address, answers, before=before)

    # --- the model ---------------------------------------------------------------------------------------------------
    async def _converse(self, ctx: Context, message: Message, before: str = "") -> None:
        coming = on_its_way(self.services)
        if self._unclear_order(message, coming):
            say(ctx, message.address, noted(before, self._order_hint()))
            return
        if not coming:
            say(ctx, message.address, noted(before, self._without_model(message)))
            return
        if ctx.step_aside():
            return
        await ctx.open(reply_effect(message.address, OutgoingMessage(text=PLACEHOLDER), label=ctx.event.label))
        budget = self.services.budget
        spent = budget.spent(message.person) if budget is not None else None
        if spent is not None:
            self._say_spent(ctx, message, spent, before)
            return
        model = await model_soon(ctx, self.services)
        if model is None:
            words = "(stopped)" if ctx.interrupted else self._without_model(message)
            say(ctx, message.address, noted(before, words))
            return
        try:
            result = await self._ask_model(ctx, message, model)
        except ParkError:
            raise
        except BudgetSpentError as error:
            self._say_spent(ctx, message, error.spent, before)
            return
        except RetainerError as error:
            sorry = f"I could not find the words: {error} Exact questions still work: say “help”."
            say(ctx, message.address, noted(before, sorry))
            return
        await self._conclude(ctx, message, result, before)

    def _unclear_order(self, message: Message, coming: bool) -> bool:
        """Whether this begins like an order that nothing could read: a model must not chat it away."""
        words = core_words(message.text)
        if not words or words[0] not in ORDER_VERBS:
            return False
        candidates = self.understanding.candidates(message.text, self.services.settings.candidates)
        return not coming or not any(one.capability.effect_class is EffectClass.MONEY for one in candidates)

    def _order_hint(self) -> str:
        examples = [
            f"“{one.examples[0]}”"
            for one in self.understanding.current.capabilities
            if one.examples and one.effect_class is EffectClass.MONEY
        ]
        such = f", for example {' or '.join(examples[:2])}" if examples else ""
        return f"I take an order only when I can read it exactly{such}. Nothing was ordered."

    async def _ask_model(self, ctx: Context, message: Message, model: ChatModel) -> LoopResult:
        settings, budget = self.services.settings, self.services.budget
        if budget is not None:
            model = budget.metered(model, message.person)
        current = self.understanding.current
        built = await build(ctx, self.services, message, self.zone)
        candidates = [
            one
            for one in self.understanding.candidates(message.text, settings.candidates)
            if self._may(ctx, message, one.capability.scope)
        ]
        turn = LoopInput(
            text=message.text,
            prompt=built.prompt,
            candidates=candidates,
            names=current.grammar.names,
            trusted=built.trusted,
            label=built.label,
            max_tokens=settings.reply_tokens,
            placeholder=REPLY,
        )
        return await ModelLoop(model).run(ctx, turn)

    async def _conclude(self, ctx: Context, message: Message, result: LoopResult, before: str) -> None:
        if result.kind == "propose" and result.capability is not None:
            await self._perform(ctx, message, result.capability, result.args, before, opened=True)
        elif result.kind == "read" and result.answer is not None:
            say_answers(ctx, message.address, [result.answer], before=before)
        elif result.interrupted:
            cut = f"{result.text} … (stopped)".strip() if result.text else "(stopped)"
            say(ctx, message.address, noted(before, cut))
        else:
            text = result.text or "I have no answer to that. “help” shows what I can do."
            say(ctx, message.address, noted(before, text))

    def _say_spent(self, ctx: Context, message: Message, spent: Spent, before: str) -> None:
        """Which limit it is and when it frees, once; after that only when."""
        budget = self.services.budget
        now = budget.clock.now() if budget is not None else ctx.now
        when = spent.when(now, self.zone)
        if told(ctx.view, message.person, now):
            say(ctx, message.address, noted(before, f"Free talk works again {when}; exact questions work now."))
            return
        ctx.apply(lambda tx: note_told(tx, message.person, spent.free_at))
        words = (
            f"I cannot talk freely for now: {spent.limit} is the limit, and it is reached. It frees {when}. Until then"
            f" I answer exact questions, for example {self._suggestions()}; orders, approvals and “stop” go on."
        )
        say(ctx, message.address, noted(before, words))

    def _without_model(self, message: Message) -> str:
        state = self.services.model_state().rstrip(".")
        hello = f"{self.services.personality.greeting}\n\n" if greeting(message.text) else ""
        return (
            f"{hello}I cannot chat freely right now (model: {state}). Meanwhile I answer exact questions, for example "
            f"{self._suggestions()}. “help” shows all of them."
        )

    def _suggestions(self) -> str:
        examples = [
            one.examples[0]
            for one in self.understanding.current.capabilities
            if one.examples and one.agent != AGENT and one.effect_class is EffectClass.READ
        ]
        return ", ".join(f"“{example}”" for example in [*examples[:3], "status"])


def _keep(tx: Tx, message: Message, earlier: str, meant: str) -> None:
    corrections.record(tx, message.person, earlier, meant, message.seq, message.now)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
