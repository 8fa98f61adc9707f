"""The OpenAI Agents SDK with its SQLite session; its tracing is off, its database is as it ships."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.turn_cost_contestants.task import PLAIN, REPLY, SYSTEM, TOOL

VERSIONS = {"openai-agents": version("openai-agents")}


async def turns(url: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """A fresh session per turn: a long one would cost more."""
    import agents  # type: ignore[import-not-found,unused-ignore]
    from openai import AsyncOpenAI  # type: ignore[import-not-found,unused-ignore]

    @agents.function_tool  # type: ignore[misc,unused-ignore]
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=url, api_key="none")
    model = agents.OpenAIChatCompletionsModel(model="instant", openai_client=client)
    agent = agents.Agent(name="ada", instructions=SYSTEM, model=model, tools=[add])

    async def turn(text: str) -> None:
        session = agents.SQLiteSession(uuid.uuid4().hex, str(folder / "sessions.db"))
        result = await agents.Runner.run(agent, text, session=session)
        assert result.final_output == REPLY
        session.close()

    return {"plain": lambda: turn(PLAIN), "tool": lambda: turn(TOOL)}
