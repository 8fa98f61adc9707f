"""This project over the model server that the others use: what its own client costs is counted too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.turn_cost_contestants.retainer_ import VERSIONS, turns_with

from retainer.models.chat_http import HttpChatModel

__all__ = ["VERSIONS", "turns"]


async def turns(url: str, folder: Path) -> dict[str, Callable[[], Awaitable[Any]]]:
    """As :func:`bench.turn_cost_contestants.retainer_.turns`."""

    async def locate() -> tuple[str, str]:
        return url, ""

    return await turns_with(HttpChatModel("instant", locate), folder)
