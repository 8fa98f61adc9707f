"""Reading a model's stream while listening for an interruption."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from retainer.core.errors import RetainerError
from retainer.core.protocols import Context, Generation

POLL_SECONDS = 0.2
"""How long a silent model (still reading its prompt) may keep an interruption from being noticed."""


async def stream_until(ctx: Context, stream: AsyncIterator[str | Generation]) -> AsyncGenerator[str, None]:
    """The deltas of ``stream`` until it ends or ``ctx`` is interrupted; then the generation is cancelled."""
    pending: asyncio.Future[str | Generation] | None = None
    try:
        while not ctx.interrupted:
            pending = pending or asyncio.ensure_future(anext(stream))
            done, _ = await asyncio.wait({pending}, timeout=POLL_SECONDS)
            if not done:
                continue
            finished, pending = pending, None
            try:
                item = finished.result()
            except StopAsyncIteration:
                return
            if isinstance(item, str):
                yield item
    finally:
        if pending is not None:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, RetainerError):
                await pending
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
