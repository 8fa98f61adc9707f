"""A chat model that says what it was told to say: for tests of agents, here and in other people's projects."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from retainer.core.protocols import ChatMessage, Generation, Usage
from retainer.core.values import Json
from retainer.models.errors import ModelFailedError

Script = Callable[[Sequence[ChatMessage]], str | Mapping[str, Json]]
_TOKEN = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """One request as the model saw it."""

    messages: tuple[ChatMessage, ...]
    schema: Mapping[str, Json] | None
    max_tokens: int
    temperature: float
    seed: int


class ScriptedModel:
    """Implements :class:`~retainer.core.protocols.ChatModel` from a script.

    ``script`` is a list of replies, said one after another (an exception in it is raised in its turn), or a function
    from the messages to the reply. A reply that is not text is sent as JSON. ``calls`` records what was asked and
    ``cancelled`` counts streams that were closed early. ``delay`` is seconds before each token; a token is a word.
    """

    def __init__(
        self,
        script: Iterable[str | Mapping[str, Json] | Exception] | Script = (),
        *,
        name: str = "scripted",
        delay: float = 0.0,
    ) -> None:
        self.name = name
        self.delay = delay
        self.calls: list[ScriptedCall] = []
        self.cancelled = 0
        self._function = script if callable(script) else None
        self._replies = [] if callable(script) else list(script)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> AsyncGenerator[str | Generation, None]:
        """The next reply word by word, then the :class:`Generation`."""
        said, generation = self._reply(ScriptedCall(tuple(messages), schema, max_tokens, temperature, seed))
        finished = False
        try:
            for token in said:
                await asyncio.sleep(self.delay)
                yield token
            finished = True
            yield generation
        finally:
            if not finished:
                self.cancelled += 1

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Generation:
        """The next reply at once, after the time its words take."""
        said, generation = self._reply(ScriptedCall(tuple(messages), schema, max_tokens, temperature, seed))
        try:
            await asyncio.sleep(self.delay * len(said))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return generation

    def _reply(self, call: ScriptedCall) -> tuple[list[str], Generation]:
        """The next reply as words and whole."""
        self.calls.append(call)
        tokens = _TOKEN.findall(self._next(call.messages))
        said = tokens[: call.max_tokens]
        prompt = sum(len(_TOKEN.findall(message.content)) for message in call.messages)
        finish = "stop" if len(said) == len(tokens) else "length"
        usage = Usage(prompt=prompt, completion=len(said), seconds=self.delay * len(said))
        return said, Generation("".join(said), self.name, finish, usage)

    def _next(self, messages: Sequence[ChatMessage]) -> str:
        if self._function is not None:
            reply: str | Mapping[str, Json] | Exception = self._function(messages)
        elif self._replies:
            reply = self._replies.pop(0)
        else:
            raise ModelFailedError("The scripted model has no reply left.", hint="Give it one reply per call.")
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, str) else json.dumps(reply)
