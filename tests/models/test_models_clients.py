"""Both HTTP clients against servers that answer in the vendors' documented shapes, well and badly."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import ChatMessage, Generation, Usage
from retainer.models.chat_http import HttpChatModel, first_model
from retainer.models.errors import ModelFailedError, PromptTooLongError
from retainer.models.ollama import OllamaChatModel, OllamaFound, find_ollama
from retainer.models.wire import open_client

ASK = [ChatMessage("system", "Be brief."), ChatMessage("user", "Hello?")]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def openai(url: str, **more: Any) -> HttpChatModel:
    async def locate() -> tuple[str, str]:
        return f"{url}/v1", "secret-key"

    return HttpChatModel("m", locate, **more)


def ollama(url: str, **more: Any) -> OllamaChatModel:
    return OllamaChatModel(url, OllamaFound("qwen3:4b", thinks=True), **more)


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": finish}],
    }


USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}


def said(text: str) -> dict[str, Any]:
    return {"model": "qwen3:4b", "message": {"role": "assistant", "content": text}, "done": False}


DONE = {
    "model": "qwen3:4b",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 5_000_000,
    "prompt_eval_count": 9,
    "eval_count": 2,
}


async def everything(model: Any, **more: Any) -> list[Any]:
    async with aclosing(model.stream(ASK, **more)) as pieces:
        return [piece async for piece in pieces]


# --- OpenAI-compatible -----------------------------------------------------------------------------------------------
async def test_an_openai_stream_gives_deltas_then_the_generation(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.head()
        await reply.send(": ping\n\n")
        await reply.send('data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n')
        for part in (chunk("Good "), chunk("day"), chunk(None, "stop"), USAGE):
            import json

            await reply.send(f"data: {json.dumps(part)}\r\n\r\n")
        await reply.send("data: [DONE]\n\n")

    async with serving(handler) as server:
        pieces = await everything(openai(server.url), schema=SCHEMA, max_tokens=7, temperature=0.5, seed=3)
    assert pieces[:-1] == ["Good ", "day"]
    last = pieces[-1]
    assert isinstance(last, Generation)
    assert (last.text, last.model, last.finish) == ("Good day", "m", "stop")
    assert last.usage == Usage(9, 4, 2, last.usage.seconds)
    body = server.asked[0].body
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].headers["authorization"] == "Bearer secret-key"
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert (body["max_tokens"], body["temperature"], body["seed"], body["stream"]) == (7, 0.5, 3, True)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_characters_split_over_packets_arrive_whole(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.head()
        raw = 'data: {"choices":[{"delta":{"content":"naïve 🙂"},"finish_reason":"stop"}]}\n\n'.encode()
        for byte in raw:
            await reply.send(bytes([byte]))

    async with serving(handler) as server:
        assert (await openai(server.url).complete(ASK)).text == "naïve 🙂"


async def test_a_window_overflow_says_both_sizes(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        error = {"code": 400, "message": "request (9 tokens) exceeds the available context size", "n_prompt_tokens": 9}
        await reply.json({"error": {**error, "type": "exceed_context_size_error", "n_ctx": 8}}, status=400)

    async with serving(handler) as server:
        with pytest.raises(PromptTooLongError, match="9 tokens, the window holds 8") as caught:
            await openai(server.url).complete(ASK)
    assert isinstance(caught.value, InvalidInputError)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "times"), [(401, 1), (404, 1), (400, 1), (429, 2), (500, 2), (503, 2)])
async def test_only_what_may_pass_is_asked_again(serving: Any, status: int, times: int) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.json({"error": {"message": "no"}}, status=status)

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError):
            await openai(server.url).complete(ASK)
    assert len(server.asked) == times


async def test_a_connection_lost_before_the_first_token_is_tried_once_more(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        if len(server.asked) > 1:
            await reply.events(chunk("back"), chunk(None, "stop"))

    async with serving(handler) as server:
        assert (await openai(server.url).complete(ASK)).text == "back"


async def test_a_connection_lost_after_the_first_token_is_not_repeated(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.events(chunk("Half a"))

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match="broke off") as caught:
            await everything(openai(server.url))
    assert caught.value.started
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "bad", ['data: {"error":{"code":500,"message":"out of memory"}}', "data: {nonsense", "data: []"]
)
async def test_errors_and_nonsense_in_the_stream_are_told(serving: Any, bad: str) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.events(chunk("x"))
        await reply.send(bad + "\n\n")

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match=r"out of memory|not JSON|another shape"):
            await everything(openai(server.url))


async def test_a_server_that_says_nothing_is_given_up(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.head()
        await reply.gone.wait()

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match="in time"):
            await openai(server.url, quiet_timeout=0.2).complete(ASK)
    assert len(server.asked) == 2


async def test_nobody_there_is_told_with_the_place() -> None:
    with pytest.raises(ModelFailedError, match=r"127\.0\.0\.1:9 broke"):
        await openai("http://127.0.0.1:9").complete(ASK)


async def test_a_redirect_is_not_followed(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.head(307, {"Location": "http://127.0.0.1:9/elsewhere"})

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match="307"):
            await openai(server.url).complete(ASK)


async def test_text_that_is_not_unicode_does_not_stop_the_request(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.events(chunk("ok", "stop"))

    async with serving(handler) as server:
        await openai(server.url).complete([ChatMessage("user", "a\udc80b\x00")])
    assert server.asked[0].body["messages"][0]["content"] == "a?b\x00"


async def test_the_served_model_is_found_by_its_listing(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.json({"object": "list", "data": [{"id": "big-one"}]})

    async with serving(handler) as server:
        assert await first_model(f"{server.url}/v1/", "k") == "big-one"
    assert await first_model("http://127.0.0.1:9/v1", "k") is None


# --- Ollama ----------------------------------------------------------------------------------------------------------
async def test_an_ollama_stream_gives_deltas_then_the_generation(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.lines(said("Good "), said("day"), DONE)

    async with serving(handler) as server:
        pieces = await everything(ollama(server.url, context=2048), schema=SCHEMA, max_tokens=7, seed=3)
    assert pieces[:-1] == ["Good ", "day"]
    assert (pieces[-1].text, pieces[-1].model, pieces[-1].finish) == ("Good day", "ollama:qwen3:4b", "stop")
    assert (pieces[-1].usage.prompt, pieces[-1].usage.completion) == (9, 2)
    body = server.asked[0].body
    assert server.asked[0].path == "/api/chat"
    assert body["options"] == {"num_ctx": 2048, "num_predict": 7, "temperature": 0.0, "seed": 3}
    assert (body["truncate"], body["shift"], body["think"], body["format"]) == (False, False, False, SCHEMA)


async def test_an_ollama_error_in_the_middle_of_a_200_is_told(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.lines(said("Half"), {"error": "llama runner process has terminated"})

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match="terminated") as caught:
            await everything(ollama(server.url))
    assert caught.value.started


async def test_ollama_never_shortens_a_prompt_in_silence(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.json({"error": "the input length exceeds the context length"}, status=400)

    async with serving(handler) as server:
        with pytest.raises(PromptTooLongError):
            await ollama(server.url).complete(ASK)


@pytest.mark.parametrize("lines", [[said("Half")], ["text"], [[1]]])
async def test_a_broken_ollama_stream_is_told(serving: Any, lines: list[Any]) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        await reply.lines(*lines)

    async with serving(handler) as server:
        with pytest.raises(ModelFailedError, match=r"broke off|another shape"):
            await everything(ollama(server.url))


async def test_a_running_ollama_is_found_with_a_model_that_can_chat(serving: Any) -> None:
    async def handler(asked: Any, reply: Any) -> None:
        if asked.path == "/api/tags":
            await reply.json({"models": [{"name": "nomic-embed-text:latest"}, {"name": "qwen3:4b"}, {"name": "old"}]})
        elif asked.body["model"] == "old":
            await reply.json({"details": {}})
        else:
            abilities = ["embedding"] if "embed" in asked.body["model"] else ["completion", "thinking"]
            await reply.json({"capabilities": abilities})

    async with serving(handler) as server:
        assert await find_ollama(server.url) == OllamaFound("qwen3:4b", thinks=True)
        assert await find_ollama(server.url, "old") == OllamaFound("old", thinks=False)
        assert await find_ollama(server.url, "absent") is None


async def test_no_ollama_costs_at_most_a_third_of_a_second(serving: Any) -> None:
    began = time.monotonic()
    assert await find_ollama("http://127.0.0.1:9") is None
    assert await find_ollama("not a url") is None

    async def silent(asked: Any, reply: Any) -> None:
        await reply.gone.wait()

    async with serving(silent) as server:
        assert await find_ollama(server.url) is None
    assert time.monotonic() - began < 3


# --- both ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("client", [openai, ollama])
async def test_closing_the_stream_hangs_up_at_once(serving: Any, client: Any) -> None:
    left = asyncio.Event()

    async def handler(asked: Any, reply: Any) -> None:
        await (reply.events(chunk("one")) if client is openai else reply.lines(said("one")))
        await asyncio.wait_for(reply.gone.wait(), 5)
        left.set()

    async with serving(handler) as server:
        pieces = client(server.url).stream(ASK)
        assert await anext(pieces) == "one"
        await pieces.aclose()
        await asyncio.wait_for(left.wait(), 1)


def test_requests_that_stay_on_this_machine_use_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    assert not open_client("http://127.0.0.1:1", timeout=1).trust_env
    assert open_client("http://example.invalid", timeout=1).trust_env
