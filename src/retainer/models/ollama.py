"""Native client of Ollama. Its OpenAI-like endpoint cannot set the context size and shortens prompts in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retainer.core.protocols import ChatMessage, Generation, Usage
from retainer.core.values import Json
from retainer.models.errors import ModelFailedError
from retainer.models.wire import Pieces, Stopwatch, error_of, gathered, get_json, plain, posted, retried

_LOOK = 0.15
_SHOW = 2.0


@dataclass(frozen=True, slots=True)
class OllamaFound:
    """A model of a running Ollama."""

    name: str
    thinks: bool
    """It can think aloud before it answers, which we switch off."""


async def find_ollama(base_url: str, wanted: str = "") -> OllamaFound | None:
    """The model ``wanted``, or the first that can chat, of the Ollama at ``base_url``; ``None`` without one.

    Takes at most 0.3 s when nobody is there.
    """
    base = base_url.rstrip("/")
    tags = await get_json(f"{base}/api/tags", timeout=_LOOK)
    listed = tags.get("models") if isinstance(tags, dict) else None
    names = [str(item["name"]) for item in listed or () if isinstance(item, dict) and "name" in item]
    if wanted:
        names = [name for name in names if name in {wanted, f"{wanted}:latest"}]
    for name in names:
        shown = await get_json(f"{base}/api/show", timeout=_SHOW, payload={"model": name})
        abilities = shown.get("capabilities") if isinstance(shown, dict) else None
        if not isinstance(abilities, list) or "completion" in abilities:  # older ones do not list them
            return OllamaFound(name, isinstance(abilities, list) and "thinking" in abilities)
    return None


class OllamaChatModel:
    """Implements :class:`~retainer.core.protocols.ChatModel` over ``POST /api/chat``, one JSON object a line.

    A prompt that does not fit is an error, never shortened. ``context`` is in tokens and stays the same from request
    to request, since a change makes Ollama load the model anew. ``quiet_timeout``: seconds without a byte.
    """

    def __init__(self, base_url: str, found: OllamaFound, *, context: int = 4096, quiet_timeout: float = 300.0) -> None:
        self.name = f"ollama:{found.name}"
        self._base = base_url.rstrip("/")
        self._found = found
        self._context = context
        self._timeout = quiet_timeout

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Pieces:
        """Deltas, then the :class:`Generation`. Raises :class:`ModelFailedError`, :class:`PromptTooLongError`."""
        options = {"num_ctx": self._context, "num_predict": max_tokens, "temperature": temperature, "seed": seed}
        payload: dict[str, Any] = {
            "model": self._found.name,
            "messages": plain(messages),
            "stream": True,
            "truncate": False,
            "shift": False,
            "keep_alive": "30m",
            "options": options,
        }
        if schema is not None:
            payload["format"] = dict(schema)
        if self._found.thinks:
            payload["think"] = False
        return retried(lambda: self._once(payload))

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Generation:
        """The whole answer; errors as :meth:`stream`."""
        return await gathered(
            self.stream(messages, schema=schema, max_tokens=max_tokens, temperature=temperature, seed=seed)
        )

    async def _once(self, payload: Mapping[str, Any]) -> Pieces:
        watch = Stopwatch()
        said: list[str] = []
        last: dict[str, Any] = {}
        try:
            async with posted(f"{self._base}/api/chat", payload, key="", timeout=self._timeout) as lines:
                async for line in lines:
                    if not line.strip():
                        continue
                    last = _object(line)
                    text = _content(last)
                    if text:
                        said.append(text)
                        yield text
        except ModelFailedError as error:
            error.started = error.started or bool(said)
            raise
        if last.get("done") is not True:
            raise ModelFailedError("Ollama's answer broke off.", hint="Ask again.", started=bool(said))
        usage = Usage(int(last.get("prompt_eval_count") or 0), 0, int(last.get("eval_count") or 0), watch.seconds)
        yield Generation("".join(said), self.name, str(last.get("done_reason") or "stop"), usage)


def _object(line: str) -> dict[str, Any]:
    """One line; an ``error`` in it is raised, also in the middle of a stream that began with 200."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ModelFailedError(
            "Ollama sent a line that is not JSON.", hint="Is it Ollama that listens there?"
        ) from error
    if not isinstance(value, dict):
        raise ModelFailedError("Ollama sent JSON of another shape.", hint="Is it Ollama that listens there?")
    if "error" in value:
        raise error_of(500, line.encode())
    return value


def _content(value: Mapping[str, Any]) -> str:
    message = value.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""
