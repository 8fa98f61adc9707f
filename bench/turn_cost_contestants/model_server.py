"""An OpenAI-compatible server that answers at once, the same for every contestant: a text, or one call of ``add``.

It calls the tool when the newest message of the person says so and no tool has answered yet. Prints its port.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bench.turn_cost_contestants.task import ARGS, REPLY, TOOL_WORD, wants_tool


def message_for(request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The assistant's message, and why it ended."""
    if TOOL_WORD in json.dumps(request["messages"]) and wants_tool(request["messages"]):
        if not request.get("tools"):  # a contestant that constrains the answer instead of offering tools
            return {"role": "assistant", "content": json.dumps({"tool": "add", **ARGS})}, "stop"
        function = {"name": "add", "arguments": json.dumps(ARGS)}
        call = {"id": "call_1", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    return {"role": "assistant", "content": REPLY}, "stop"


def whole(request: dict[str, Any]) -> bytes:
    """The answer in one piece."""
    message, finish = message_for(request)
    return json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "instant",
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55},
        }
    ).encode()


def streamed(request: dict[str, Any]) -> bytes:
    """The answer as server-sent events."""
    message, finish = message_for(request)
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "instant"}
    lines = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
    ]
    return b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines) + b"data: [DONE]\n\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            request = json.loads(await reader.readexactly(int(fields.get(b"content-length", 0))) or b"{}")
            body = streamed(request) if request.get("stream") else whole(request)
            kind = b"text/event-stream" if request.get("stream") else b"application/json"
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(body)) + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def main() -> None:
    """Serve on a free port of this machine until ended."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
