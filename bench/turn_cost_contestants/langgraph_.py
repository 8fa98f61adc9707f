"""LangChain's agent on LangGraph with the asynchronous SQLite saver, fsync on every commit."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.turn_cost_contestants.task import PLAIN, REPLY, SYSTEM, TOOL

VERSIONS = {name: version(name) for name in ("langchain", "langgraph", "langgraph-checkpoint-sqlite")}


async def turns(url: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """A fresh thread per turn: a long one would cost more."""
    from langchain.agents import create_agent  # type: ignore[import-not-found,unused-ignore]
    from langchain_core.tools import tool  # type: ignore[import-not-found,unused-ignore]
    from langchain_openai import ChatOpenAI  # type: ignore[import-not-found,unused-ignore]
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # type: ignore[import-not-found,unused-ignore]

    @tool  # type: ignore[misc,unused-ignore]
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    keeper = AsyncSqliteSaver.from_conn_string(str(folder / "threads.db"))
    saver = await keeper.__aenter__()
    await saver.conn.execute("PRAGMA journal_mode=WAL")
    await saver.conn.execute("PRAGMA synchronous=FULL")
    model = ChatOpenAI(model="instant", base_url=url, api_key="none", use_responses_api=False)
    agent = create_agent(model, [add], system_prompt=SYSTEM, checkpointer=saver)

    async def turn(text: str) -> None:
        settings = {"configurable": {"thread_id": uuid.uuid4().hex}}
        result = await agent.ainvoke({"messages": [{"role": "user", "content": text}]}, settings)
        assert result["messages"][-1].content == REPLY

    async def close() -> None:
        await keeper.__aexit__(None, None, None)

    return {"plain": lambda: turn(PLAIN), "tool": lambda: turn(TOOL), "close": close}
