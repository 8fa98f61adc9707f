"""pydantic-ai, whose new messages are put into SQLite after the turn, with an fsync: it has no store of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.turn_cost_contestants.task import PLAIN, REPLY, SYSTEM, TOOL

VERSIONS = {"pydantic-ai-slim": version("pydantic-ai-slim")}


async def turns(url: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Without history: a long one would cost more."""
    from pydantic_ai import Agent  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found,unused-ignore]

    model = OpenAIChatModel("instant", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, instructions=SYSTEM)

    @agent.tool_plain  # type: ignore[misc,unused-ignore]
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    database = sqlite3.connect(folder / "messages.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE turn (id INTEGER PRIMARY KEY, messages BLOB)")

    async def turn(text: str) -> None:
        result = await agent.run(text)
        assert result.output == REPLY
        database.execute("INSERT INTO turn (messages) VALUES (?)", (result.new_messages_json(),))

    async def close() -> None:
        database.close()

    return {"plain": lambda: turn(PLAIN), "tool": lambda: turn(TOOL), "close": close}
