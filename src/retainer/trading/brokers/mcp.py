"""A thin client of the Model Context Protocol over streamable HTTP: initialise, list tools, call one.

Source: Model Context Protocol specification 2025-06-18, "Transports" (streamable HTTP) and "Tools". Only what a broker
needs. What a server writes for a model (``guide``, descriptions) is never looked at. A server may be malicious: its
lists and answers are bounded, a name that it offers twice is refused, redirects are not followed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retainer.core.errors import NotFoundError, NotSentError, RefusedError, RejectedError, RetainerError
from retainer.core.values import digest

if TYPE_CHECKING:
    import httpx2

PROTOCOL_VERSION = "2025-06-18"
MOST_PAGES = 50
"""Pages of one list that are read; a list that goes on beyond them is no list."""
MOST_BYTES = 4_000_000
"""Size of one answer."""


class AmbiguousError(RetainerError):
    """The request left this machine and no usable answer came back: it may or may not have happened."""


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """A tool as the server describes it: the names of its arguments, those required, and a digest of its schema."""

    name: str
    arguments: frozenset[str] = field(default_factory=frozenset)
    required: frozenset[str] = field(default_factory=frozenset)
    schema: str = ""


class McpClient:
    """One session with one server. Use as an async context manager.

    ``token`` is sent as a bearer token and nowhere else. ``transport`` replaces the network in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        timeout_s: float = 20.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._timeout = timeout_s
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None
        self._session: str | None = None
        self._next_id = 0

    async def __aenter__(self) -> McpClient:
        import httpx2

        self._client = httpx2.AsyncClient(timeout=self._timeout, transport=self._transport)
        await self._initialize()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _initialize(self) -> None:
        self._session = None
        await self._request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "retainer", "version": "0.1"},
            },
        )
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def tools(self) -> dict[str, RemoteTool]:
        """Every tool the server offers now, all pages of them.

        Raises :class:`RejectedError` when a name is offered twice (which one would be called?) or the list has no end.
        """
        found: dict[str, RemoteTool] = {}
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._request("tools/list", {"cursor": cursor} if cursor else {})
            for tool in page.get("tools", ()):
                name, schema = tool["name"], tool.get("inputSchema") or {}
                if name in found:
                    raise RejectedError(
                        f"The broker offers '{name}' twice.", hint="Do not trade there until it is one."
                    )
                known, required = frozenset(schema.get("properties") or ()), frozenset(schema.get("required") or ())
                found[name] = RemoteTool(name, known, required, digest(schema))
            cursor = page.get("nextCursor")
            if not cursor:
                return found
        raise endless("tools/list")

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call ``tool``; returns its ``data``.

        Raises :class:`NotSentError` when nothing left this machine or the server asked to come back later,
        :class:`RejectedError` for a definite no, :class:`AmbiguousError` when nobody can say.
        """
        result = await self._request("tools/call", {"name": tool, "arguments": dict(arguments)})
        content = _structured(result)
        if result.get("isError"):
            raise RejectedError(f"{tool} answered: {_error_text(result, content)}")
        data = content.get("data") if isinstance(content, dict) else None
        if not isinstance(data, dict):
            raise AmbiguousError(f"{tool} answered in a shape that is not documented: no object named 'data'.")
        return data

    async def _request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": dict(params)}
        answer = await self._post(message)
        if answer is None:
            raise AmbiguousError(f"The server closed {method} without an answer.")
        if "error" in answer:
            error = answer["error"] or {}
            raise RejectedError(f"{method} was refused: {error.get('message', 'no reason given')}")
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    async def _post(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        import httpx2

        if self._client is None:
            raise RefusedError("This connection is not open.", hint="Use it as an async context manager.")
        try:
            async with (
                asyncio.timeout(2 * self._timeout),
                self._client.stream("POST", self._url, json=dict(message), headers=self._headers()) as response,
            ):
                body = await _body(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise NotSentError(f"The broker cannot be reached ({type(error).__name__}).") from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise AmbiguousError(f"The broker did not answer ({type(error).__name__}).") from error
        self._session = response.headers.get("mcp-session-id", self._session)
        _raise_for_status(response)
        return _message(body, response.headers.get("content-type", ""), message.get("id"))

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self._token}",
            "MCP-Protocol-Version": PROTOCOL_VERSION,
        }
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        return headers


def endless(what: str) -> RejectedError:
    """The refusal of a list that goes on beyond :data:`MOST_PAGES`."""
    return RejectedError(f"The broker's {what} has more than {MOST_PAGES} pages.", hint="Do not trade there.")


async def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            raise AmbiguousError(f"The broker's answer is longer than {MOST_BYTES:,} bytes.")
    return bytes(body)


def _raise_for_status(response: httpx2.Response) -> None:
    status = response.status_code
    if status < 400:
        return
    if status in {401, 403}:
        raise RejectedError(
            f"The broker does not accept our authorisation (HTTP {status}).", hint="Connect the account again."
        )
    if status == 404:
        raise NotSentError("The broker ended the session.", retry_after=1.0)
    if status == 429:
        raise NotSentError("The broker asks to slow down.", retry_after=_seconds(response.headers.get("retry-after")))
    if status >= 500:
        raise AmbiguousError(f"The broker failed while answering (HTTP {status}).")
    raise RejectedError(f"The broker refused the request (HTTP {status}).")


def _seconds(text: str | None) -> float:
    return float(text) if text and text.replace(".", "", 1).isdigit() else 5.0


def _message(body: bytes, kind: str, request_id: object) -> dict[str, Any] | None:
    """The JSON-RPC answer to ``request_id`` in a JSON body or in a stream of server-sent events."""
    if not body:
        return None
    try:
        if kind.startswith("text/event-stream"):
            for event in body.decode().replace("\r\n", "\n").split("\n\n"):
                data = "\n".join(line[5:].lstrip() for line in event.split("\n") if line.startswith("data:"))
                found = json.loads(data) if data else None
                if isinstance(found, dict) and found.get("id") == request_id:
                    return found
            return None
        found = json.loads(body)
    except ValueError as error:
        raise AmbiguousError("The broker's answer is not JSON.") from error
    return found if isinstance(found, dict) else None


def _structured(result: Mapping[str, Any]) -> Any:
    """Structured content, or the JSON that older servers put into the first text part."""
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    for part in result.get("content") or ():
        if part.get("type") == "text":
            try:
                return json.loads(part.get("text") or "")
            except ValueError:
                return None
    return None


def _error_text(result: Mapping[str, Any], content: Any) -> str:
    if isinstance(content, dict):
        for name in ("error", "message", "detail"):
            if isinstance(content.get(name), str):
                return str(content[name])[:300]
    for part in result.get("content") or ():
        if part.get("type") == "text":
            return str(part.get("text", ""))[:300]
    return "an error without words"


def demand(tools: Mapping[str, RemoteTool], name: str, arguments: Mapping[str, Any]) -> None:
    """Fail closed: ``name`` must be offered, know every argument we send, and need none that we do not send.

    Raises :class:`NotFoundError` naming what is missing.
    """
    tool = tools.get(name)
    if tool is None:
        raise NotFoundError(f"The broker no longer offers '{name}'.", hint="Update retainer before trading there.")
    unknown = sorted(set(arguments) - tool.arguments)
    missing = sorted(tool.required - set(arguments))
    if unknown or missing:
        words = "; ".join(
            text
            for text, names in (
                (f"does not know {', '.join(unknown)}", unknown),
                (f"needs {', '.join(missing)}", missing),
            )
            if names
        )
        raise NotFoundError(f"The broker's '{name}' changed: it {words}.", hint="Update retainer before trading there.")
