"""What the HTTP clients share: streaming lines of a POST, errors in words, and one retry while nothing was said."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from retainer.core.protocols import ChatMessage, Generation
from retainer.core.values import Json
from retainer.models.errors import ModelFailedError, PromptTooLongError

if TYPE_CHECKING:
    import ssl

    import httpx2

Pieces = AsyncGenerator[str | Generation, None]
Payload = Mapping[str, Any]
_RETRY_AFTER = 0.3


@lru_cache(maxsize=1)
def _trusted_roots() -> ssl.SSLContext:
    """Made once: reading the certificates costs more than a request."""
    import httpx2

    return httpx2.create_ssl_context()


def open_client(base_url: str, *, timeout: float, connect: float = 5.0) -> httpx2.AsyncClient:
    """A client for one request: no cookies, no redirects; no proxy either when it stays on this machine."""
    import httpx2

    here = base_url.startswith(("http://127.", "http://localhost", "http://[::1]"))
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout, connect=connect),
        verify=False if base_url.startswith("http://") else _trusted_roots(),
        follow_redirects=False,
        trust_env=not here,
    )


@asynccontextmanager
async def posted(url: str, payload: Payload, *, key: str, timeout: float) -> AsyncIterator[AsyncIterator[str]]:
    """POST ``payload`` as JSON and give the answer's lines as they arrive; leaving early drops the connection.

    Raises :class:`ModelFailedError` or :class:`PromptTooLongError` in words.
    """
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers["Content-Type"] = "application/json"
    try:
        async with (
            open_client(url, timeout=timeout) as client,
            client.stream("POST", url, content=json.dumps(payload).encode(), headers=headers) as response,
        ):
            if response.status_code != 200:
                raise error_of(response.status_code, await response.aread())
            yield response.aiter_lines()
    except httpx2.TimeoutException as error:
        raise ModelFailedError(f"The model at {_host(url)} did not answer in time.", hint="Try again.") from error
    except httpx2.HTTPError as error:
        raise ModelFailedError(
            f"The connection to the model at {_host(url)} broke ({type(error).__name__}).", hint="Try again."
        ) from error


async def get_json(url: str, *, timeout: float, key: str = "", payload: Payload | None = None) -> Any:
    """The JSON at ``url`` (POST when there is a ``payload``), or ``None`` if it cannot be had in time."""
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with open_client(url, timeout=timeout, connect=timeout) as client:
            request = client.post(url, json=payload, headers=headers) if payload else client.get(url, headers=headers)
            response = await asyncio.wait_for(request, timeout * 2)
        return response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError):
        return None


def error_of(status: int, body: bytes) -> ModelFailedError | PromptTooLongError:
    """The typed error for an answer that is not 200 (or an error object in the middle of a stream)."""
    try:
        detail = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        detail = body[:200].decode(errors="replace")
    fields = detail if isinstance(detail, dict) else {"message": str(detail)}
    message = str(fields.get("message", ""))[:300]
    if _is_too_long(fields, message):
        return PromptTooLongError(_count(fields.get("n_prompt_tokens")), _count(fields.get("n_ctx")))
    if status in {401, 403}:
        return ModelFailedError("The model's server refused the key.", hint="Set models.api_key.", final=True)
    final = 400 <= status < 500 and status != 429
    return ModelFailedError(f"The model's server answered {status}: {message}.", hint="See the log.", final=final)


def plain(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """Messages for the wire; what is not valid Unicode becomes a question mark."""
    return [{"role": m.role, "content": m.content.encode("utf-8", "replace").decode()} for m in messages]


async def retried(once: Callable[[], Pieces]) -> Pieces:
    """The pieces of ``once``; if it failed before the first and the fault may pass, of a second try."""
    try:
        async with aclosing(once()) as pieces:
            async for piece in pieces:
                yield piece
        return
    except ModelFailedError as error:
        if not error.may_pass:
            raise
    await asyncio.sleep(_RETRY_AFTER)
    async with aclosing(once()) as pieces:
        async for piece in pieces:
            yield piece


async def gathered(pieces: Pieces) -> Generation:
    """The :class:`Generation` at the end of a stream."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Generation):
                return piece
    raise ModelFailedError("The model's answer ended early.", hint="Try again.")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Elapsed."""
        return time.monotonic() - self._start


def _is_too_long(fields: Mapping[str, Json], message: str) -> bool:
    kind = f"{fields.get('type', '')} {fields.get('code', '')}"
    words = message.lower()
    return (
        "exceed_context_size" in kind
        or "context_length_exceeded" in kind
        or ("context" in words and ("exceed" in words or "too long" in words))
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


Locate = Callable[[], Awaitable[tuple[str, str]]]
"""Gives the base URL (ending in ``/v1``) and the key of the server, waiting for it to be ready."""
