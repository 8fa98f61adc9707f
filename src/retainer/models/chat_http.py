"""Client of OpenAI-compatible servers: our own llama.cpp child, llama-server, vLLM, LM Studio and others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from retainer.core.protocols import ChatMessage, Generation, Usage
from retainer.core.values import Json
from retainer.models.errors import ModelFailedError
from retainer.models.wire import Locate, Pieces, Stopwatch, error_of, gathered, get_json, plain, posted, retried


class HttpChatModel:
    """Implements :class:`~retainer.core.protocols.ChatModel` over ``POST <base>/chat/completions`` with SSE.

    ``locate`` is asked before each try, so that a restarted engine is found at its new port. Closing the stream drops
    the connection, which cancels the generation at the server. ``quiet_timeout``: seconds without a byte.
    """

    def __init__(self, name: str, locate: Locate, *, served_name: str = "", quiet_timeout: float = 300.0) -> None:
        self.name = name
        self._locate = locate
        self._served_name = served_name or name
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
        """Deltas, then the :class:`Generation`.

        Raises :class:`ModelFailedError` (``started`` tells whether anything had been said),
        :class:`PromptTooLongError`, :class:`ModelUnavailableError`.
        """
        payload: dict[str, Any] = {
            "model": self._served_name,
            "messages": plain(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if schema is not None:
            wanted = {"name": "answer", "strict": True, "schema": dict(schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": wanted}
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
        base, key = await self._locate()
        said: list[str] = []
        finish = ""
        usage = Usage()
        try:
            async with posted(f"{base}/chat/completions", payload, key=key, timeout=self._timeout) as lines:
                async for line in lines:
                    chunk = _event(line)
                    if chunk is None:
                        continue
                    text, ended = _delta(chunk)
                    finish = ended or finish
                    usage = _usage(chunk) or usage
                    if text:
                        said.append(text)
                        yield text
        except ModelFailedError as error:
            error.started = error.started or bool(said)
            raise
        if not finish:
            raise ModelFailedError("The model's answer broke off.", hint="Ask again.", started=bool(said))
        usage = Usage(usage.prompt, usage.cached, usage.completion, watch.seconds)
        yield Generation("".join(said), self.name, finish, usage)


async def first_model(base_url: str, key: str, *, timeout: float = 2.0) -> str | None:
    """Id of the first model that ``<base>/models`` lists; ``None`` when nobody answers there."""
    listing = await get_json(f"{base_url.rstrip('/')}/models", timeout=timeout, key=key)
    data = listing.get("data") if isinstance(listing, dict) else None
    if isinstance(data, list) and data and isinstance(data[0], dict) and isinstance(data[0].get("id"), str):
        return str(data[0]["id"])
    return None


def _event(line: str) -> dict[str, Any] | None:
    """The JSON of one SSE line; ``None`` for comments, blank lines and the end mark. Error events are raised."""
    field, _, value = line.partition(":")
    value = value.strip()
    if field not in {"data", "error"} or value in {"", "[DONE]"}:
        return None
    try:
        chunk = json.loads(value)
    except ValueError as error:
        raise ModelFailedError("The model's server sent a line that is not JSON.", hint="Is it compatible?") from error
    if not isinstance(chunk, dict):
        raise ModelFailedError("The model's server sent JSON of another shape.", hint="Is it compatible?")
    if field == "error" or "error" in chunk:
        detail = chunk.get("error", chunk)
        status = detail.get("code") if isinstance(detail, dict) else None
        raise error_of(status if isinstance(status, int) else 500, json.dumps({"error": detail}).encode())
    return chunk


def _delta(chunk: Mapping[str, Any]) -> tuple[str, str]:
    """Text and reason of ending, each empty when the chunk has none."""
    choices = chunk.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return "", ""
    delta = choices[0].get("delta")
    text = delta.get("content") if isinstance(delta, dict) else None
    finish = choices[0].get("finish_reason")
    return text if isinstance(text, str) else "", finish if isinstance(finish, str) else ""


def _usage(chunk: Mapping[str, Any]) -> Usage | None:
    counts = chunk.get("usage")
    if not isinstance(counts, dict):
        return None
    details = counts.get("prompt_tokens_details")
    cached = details.get("cached_tokens", 0) if isinstance(details, dict) else 0
    return Usage(int(counts.get("prompt_tokens") or 0), int(cached or 0), int(counts.get("completion_tokens") or 0))
