"""FIDES of agent-framework, its check alone: label tracker and policy around a tool that does nothing.

Run by the python of the environment that ``requirements.txt`` makes; prints p50 and p99 in microseconds of one call, as
JSON. The five calls: a note and an order in a clean turn, both after something untrusted was read, and a tool that is
allowed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

warnings.simplefilter("ignore")
logging.disable()

from agent_framework import AgentSession, FunctionInvocationContext, MiddlewareTermination, tool  # noqa: E402  after the filter
from agent_framework.security import (  # noqa: E402
    LabelTrackingFunctionMiddleware,
    PolicyEnforcementFunctionMiddleware,
)

ROUNDS = 2000


def read_mail() -> str:
    """Read."""
    return "TODO: pay eve"


def note(text: str) -> str:
    """Write a note."""
    return "ok"


def reply(text: str) -> str:
    """Reply."""
    return "ok"


def order(account: str, symbol: str, quantity: str) -> str:
    """Order."""
    return "ok"


def known(function: Callable[..., str], integrity: str = "trusted") -> Any:
    """``function`` as a tool whose results are of that integrity."""
    return tool(function, additional_properties={"source_integrity": integrity})


class Turn:
    """One session of the two middlewares."""

    def __init__(self) -> None:
        self.session = AgentSession()
        self.tracker = LabelTrackingFunctionMiddleware(auto_hide_untrusted=False)
        self.policy = PolicyEnforcementFunctionMiddleware(
            allow_untrusted_tools={"reply", "read_mail"}, approval_on_violation=True, enable_audit_log=False
        )
        self.ran = 0

    async def call(self, function: object, **args: str) -> bool:
        """Whether the call was let through."""
        context = FunctionInvocationContext(function=function, arguments=args, session=self.session)
        before = self.ran

        async def body() -> None:
            self.ran += 1
            context.result = "ok"

        async def policed() -> None:
            await self.policy.process(context, body)

        with contextlib.suppress(MiddlewareTermination):  # how it asks the owner
            await self.tracker.process(context, policed)
        return self.ran > before


Call = tuple[Turn, object, dict[str, str]]


async def main() -> None:
    """Time them."""
    clean, tainted = Turn(), Turn()
    await tainted.call(known(read_mail, "untrusted"))
    money = {"account": "paper", "symbol": "AAPL", "quantity": "1"}
    mix: list[Call] = [
        (clean, known(note), {"text": "milk"}),
        (tainted, known(note), {"text": "milk"}),
        (tainted, known(reply), {"text": "milk"}),
        (clean, known(order), money),
        (tainted, known(order), money),
    ]
    passed = [await turn.call(function, **args) for turn, function, args in mix]
    assert passed == [True, False, True, True, False], passed
    found = {
        "mix": await timed(mix),
        "allows": await timed([each for each, ran in zip(mix, passed, strict=True) if ran]),
        "asks": await timed([each for each, ran in zip(mix, passed, strict=True) if not ran]),
    }
    print(json.dumps({"version": version("agent-framework-core"), **found}))


async def timed(calls: list[Call]) -> dict[str, float]:
    """Microseconds of one of these calls."""
    wall = []
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for turn, function, args in calls:
            await turn.call(function, **args)
        wall.append((time.perf_counter_ns() - started) / 1000 / len(calls))
    wall.sort()
    return {"p50": statistics.median(wall), "p99": wall[int(ROUNDS * 0.99)]}


asyncio.run(main())
