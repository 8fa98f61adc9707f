"""The model loop: which capability, with what arguments, or an answer in words. Every model call is a recorded step.

Steps are ``model:0`` (which), ``model:1`` (with what), ``call:0:0`` (a read), ``model:2`` (the words). Each carries
the digest of its prompt, so a handler re-entered after a crash sends the same prompts or is parked.

What the loop guarantees whatever the model says: it picks among proposed capabilities only; arguments come from the
person's words or are asked back; a reading's figures are shown as code wrote them; at most one order is proposed a
turn; untrusted text reaches only the call that words the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from retainer.agent.figures import FigureFilter, grounded_figures, speaks_of_money
from retainer.agent.grounding import ground
from retainer.agent.prompts import Prompt, args_messages, args_schema, choice_for, pick_messages
from retainer.agent.reading import read_capability
from retainer.agent.router import Candidate
from retainer.agent.streaming import stream_until
from retainer.core.capabilities import Answer, Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import RetainerError
from retainer.core.labels import OWNER, UNTRUSTED, Label
from retainer.core.protocols import ChatMessage, ChatModel, Context
from retainer.core.values import Json, digest

PICK_TOKENS = 40
ARGS_TOKENS = 120

Kind = Literal["answer", "read", "propose", "ask-back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopInput:
    """One message, ready for the model."""

    text: str
    """The person's own words: the only source of arguments."""
    prompt: Prompt
    candidates: Sequence[Candidate] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Spoken name -> symbol."""
    trusted: Sequence[str] = ()
    """Texts from records that are in the prompt: figures in them may be repeated."""
    label: Label = OWNER
    """Joined label of what the prompt's answer call contains beyond the person's words."""
    max_tokens: int = 320
    placeholder: str | None = None
    """Name of the opened reply effect that grows with the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What the loop came to. ``text`` is for the person; a *propose* is for the caller to send."""

    kind: Kind
    text: str = ""
    answer: Answer | None = None
    capability: Capability | None = None
    args: Mapping[str, Json] = field(default_factory=dict)
    interrupted: bool = False
    blocked: int = 0
    """Sentences the figure filter replaced."""


class ModelLoop:
    """Runs one turn over a chat model."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    async def run(self, ctx: Context, turn: LoopInput) -> LoopResult:
        """Handle the turn. Raises :class:`RetainerError` when the model fails before anything was shown."""
        if turn.candidates:
            chosen = await self._pick(ctx, turn)
            if chosen is not None:
                return await self._with_arguments(ctx, turn, chosen)
            if ctx.interrupted:
                return LoopResult(kind="answer", text="", interrupted=True)
        return await self._answer(ctx, turn)

    async def _pick(self, ctx: Context, turn: LoopInput) -> Capability | None:
        candidates = tuple(sorted(turn.candidates, key=lambda one: one.capability.name))
        choice = choice_for(candidates)
        messages = pick_messages(candidates, turn.prompt, turn.text)
        reply = await self._json(ctx, "model:0", messages, choice.schema(), PICK_TOKENS)
        picked = reply.get("choice")
        return next((one.capability for one in candidates if one.capability.name == picked), None)

    async def _with_arguments(self, ctx: Context, turn: LoopInput, capability: Capability) -> LoopResult:
        args: Mapping[str, Json] = {}
        if capability.parameters.model_fields:
            messages = args_messages(capability, turn.text)
            args = await self._json(ctx, "model:1", messages, args_schema(capability.parameters), ARGS_TOKENS)
        reading = capability.effect_class is EffectClass.READ and capability.run is not None
        grounded = ground(capability.parameters, args, turn.text, turn.names, strict=not reading)
        if grounded.missing:
            return LoopResult(kind="ask-back", text=ask_back(capability, grounded.missing), capability=capability)
        if not reading:
            return LoopResult(kind="propose", capability=capability, args=grounded.args)
        try:
            answer = await read_capability(ctx, capability, grounded.args)
        except RetainerError as error:
            return LoopResult(kind="ask-back", text=str(error), capability=capability)
        return LoopResult(kind="read", text=answer.text, answer=answer, capability=capability, args=grounded.args)

    async def _json(
        self, ctx: Context, step: str, messages: Sequence[ChatMessage], schema: Mapping[str, Json], tokens: int
    ) -> Mapping[str, Json]:
        async def generate() -> Mapping[str, Json]:
            text = ""
            stream = self._model.stream(messages, schema=schema, max_tokens=tokens)
            async with aclosing(stream_until(ctx, stream)) as deltas:
                async for delta in deltas:
                    text += delta
            return _object(text)

        return await ctx.step(step, generate, input_digest=messages_digest(messages, schema))

    async def _answer(self, ctx: Context, turn: LoopInput) -> LoopResult:
        messages = turn.prompt.messages()
        grounded = grounded_figures(turn.trusted)

        async def generate() -> Mapping[str, Json]:
            words = FigureFilter(grounded, about_money=speaks_of_money(turn.text))
            shown = ""
            stream = self._model.stream(messages, max_tokens=turn.max_tokens)
            async with aclosing(stream_until(ctx, stream)) as deltas:
                async for delta in deltas:
                    words.push(delta)
                    if turn.placeholder is not None and words.text != shown:
                        shown = words.text
                        await ctx.update(turn.placeholder, {"text": shown})
            return {"text": words.finish(), "interrupted": ctx.interrupted, "blocked": words.blocked}

        label = UNTRUSTED.join(turn.label) if turn.prompt.quoted else turn.label
        said = await ctx.step("model:2", generate, input_digest=messages_digest(messages, None), label=label)
        return LoopResult(
            kind="answer",
            text=str(said["text"]),
            interrupted=bool(said["interrupted"]),
            blocked=int(str(said["blocked"])),
        )


def messages_digest(messages: Sequence[ChatMessage], schema: Mapping[str, Json] | None) -> str:
    """Digest of one model call's input."""
    return digest([[[message.role, message.content] for message in messages], schema])


def ask_back(capability: Capability, missing: Sequence[str]) -> str:
    """The question for what the person's words did not say."""
    wanted = " and ".join(name.replace("_", " ") for name in missing)
    example = f" For example: “{capability.examples[0]}”." if capability.examples else ""
    return f"I did not catch the {wanted} in your words, and I do not guess.{example}"


def _object(text: str) -> dict[str, Json]:
    """The JSON object in ``text``, or ``{}``: an interrupted or unconstrained model may say anything."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
