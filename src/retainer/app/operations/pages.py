"""``/live``, ``/ready`` and ``/metrics`` for a monitoring system on this machine. Loopback only, three pages, no state.

A request must name a loopback host, and must not come from a web page of another origin: a page that is open in a
browser, or that was made to point at 127.0.0.1, gets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from retainer.core.errors import RetainerError

_log = structlog.get_logger(__name__)

Page = tuple[int, str, bytes]
"""Status, content type, body."""
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_REASONS: Final = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_LIMIT: Final = 8192
_PATIENCE: Final = 5.0
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Pages:
    """A server for a handful of pages; each is made when it is asked for."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = dict(pages)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; returns the port. Raises :class:`RetainerError` when it is taken."""
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_LIMIT)
        except OSError as error:
            raise RetainerError(
                f"The port {port} for monitoring cannot be used: {error.strerror or error}.",
                hint="Set monitor.port to a free one, or to 0.",
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close; requests under way are cut off."""
        if self._server is not None:
            self._server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        try:
            async with asyncio.timeout(_PATIENCE):
                status, kind, body = await self._answer(reader)
                writer.write(_head(status, kind, len(body)) + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError, ValueError):
            _log.debug("monitor_request_lost")
        finally:
            if task is not None:
                self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Page:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        parts = head[0].split(" ")
        if len(parts) != 3:
            return _words(400, "This is no request.")
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in head[1:])}
        if _name(headers.get("host", "")) not in _HOSTS:
            return _words(403, "Ask by a loopback name.")
        origin = headers.get("origin", "").rpartition("//")
        if headers.get("origin") and (not origin[1] or _name(origin[2]) not in _HOSTS):
            return _words(403, "Ask from this machine, not from a web page.")
        if parts[0] not in {"GET", "HEAD"}:
            return _words(405, "These pages are only read.")
        page = self._pages.get(parts[1].partition("?")[0])
        if page is None:
            return _words(404, f"There are: {' '.join(sorted(self._pages))}")
        status, kind, body = page()
        return status, kind, b"" if parts[0] == "HEAD" else body


def _name(host: str) -> str:
    """``host`` without its port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def json_page(value: Mapping[str, Any], *, ok: bool) -> Page:
    """A JSON page: 200 when all is well, else 503."""
    return 200 if ok else 503, "application/json", json.dumps(value, indent=1).encode() + b"\n"


def _words(status: int, text: str) -> Page:
    return status, "text/plain; charset=utf-8", text.encode() + b"\n"


def _head(status: int, kind: str, length: int) -> bytes:
    reason = _REASONS.get(status, "Service Unavailable")
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    ).encode()
