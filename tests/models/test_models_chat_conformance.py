"""What every chat model promises, checked on each implementation: scripted, both clients, the real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from retainer.core.protocols import ChatMessage, ChatModel, Generation
from retainer.core.values import Json
from retainer.models.chat_http import HttpChatModel
from retainer.models.errors import ModelError
from retainer.models.ollama import OllamaChatModel, OllamaFound
from retainer.models.scripted import ScriptedModel
from retainer.models.server import LocalLLM, ModelServer
from retainer.models.settings import ModelSettings

ASK = [ChatMessage("system", "Be brief."), ChatMessage("user", "Tell a long story about the colour of the sea.")]
SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
WORDS = [f"word{n} " for n in range(60)]


def _answer(body: Any) -> list[str]:
    if "format" in body or "response_format" in body:
        return ['{"colour":', ' "red"}']
    return WORDS


async def _openai(asked: Any, reply: Any) -> None:
    limit = asked.body["max_tokens"]
    words = _answer(asked.body)[:limit]
    finish = "length" if len(words) == limit else "stop"
    await reply.events(*({"choices": [{"delta": {"content": w}, "finish_reason": None}]} for w in words))
    await reply.send(f"data: {json.dumps({'choices': [{'delta': {}, 'finish_reason': finish}]})}\n\n")


async def _ollama(asked: Any, reply: Any) -> None:
    limit = asked.body["options"]["num_predict"]
    words = _answer(asked.body)[:limit]
    finish = "length" if len(words) == limit else "stop"
    await reply.lines(
        *({"message": {"content": w}, "done": False} for w in words), {"done": True, "done_reason": finish}
    )


@pytest.fixture(params=["scripted", "openai", "ollama", "engine"])
async def model(request: pytest.FixtureRequest, serving: Any) -> AsyncIterator[ChatModel]:
    if request.param == "scripted":
        scripted = ScriptedModel(lambda _: {"colour": "red"} if scripted.calls[-1].schema else "".join(WORDS))
        yield scripted
    elif request.param == "engine":
        with ModelServer(ModelSettings(model="small", threads=1)) as server:
            handle: LocalLLM = server.get_model("chat")
            await handle.ensure()
            yield handle
    else:
        async with serving(_openai if request.param == "openai" else _ollama) as server:
            if request.param == "openai":

                async def locate() -> tuple[str, str]:
                    return f"{server.url}/v1", ""

                yield HttpChatModel("m", locate)
            else:
                yield OllamaChatModel(server.url, OllamaFound("m", thinks=False))


async def test_a_chat_model_keeps_its_promises(model: ChatModel) -> None:
    # deltas, then one generation that holds all of them
    pieces = [piece async for piece in model.stream(ASK, max_tokens=8)]
    deltas, last = pieces[:-1], pieces[-1]
    assert isinstance(last, Generation)
    assert deltas
    assert all(isinstance(delta, str) and delta for delta in deltas)
    assert last.text == "".join(str(delta) for delta in deltas)
    assert last.model
    # an answer that was cut says so
    assert last.finish == "length"
    # complete() says what stream() says
    assert (await model.complete(ASK, max_tokens=8)).text == last.text
    # a schema is kept
    shaped = await model.complete(ASK, schema=SCHEMA, max_tokens=60)
    assert json.loads(shaped.text)["colour"] in {"red", "blue"}
    assert shaped.finish == "stop"
    # leaving early works, and the next request is answered
    stream: Any = model.stream(ASK, max_tokens=50)
    async with aclosing(stream):
        assert isinstance(await anext(stream), str)
    # so does being cancelled
    task = asyncio.ensure_future(model.complete(ASK, max_tokens=400))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await model.complete(ASK, max_tokens=3)).text


def test_a_scripted_model_records_and_runs_out(tmp_path: Path) -> None:
    async def run() -> None:
        model = ScriptedModel(["one two", ModelError("broken"), {"a": 1}])
        assert (await model.complete(ASK, temperature=0.3)).text == "one two"
        with pytest.raises(ModelError, match="broken"):
            await model.complete(ASK)
        assert (await model.complete(ASK, schema=SCHEMA)).text == '{"a": 1}'
        with pytest.raises(ModelError, match="no reply left"):
            await model.complete(ASK)
        assert [call.temperature for call in model.calls] == [0.3, 0.0, 0.0, 0.0]
        assert model.calls[2].schema == SCHEMA
        assert model.cancelled == 0

    asyncio.run(run())


async def test_a_scripted_model_notices_that_it_was_left() -> None:
    model = ScriptedModel(lambda messages: messages[-1].content * 9, delay=0.001)
    async with aclosing(model.stream([ChatMessage("user", "again and ")])) as pieces:
        assert await anext(pieces) == "again"
    assert model.cancelled == 1
