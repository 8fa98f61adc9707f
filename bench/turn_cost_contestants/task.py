"""What every contestant is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SYSTEM = "You are Ada, a helpful assistant."
PLAIN = "Hello there"
TOOL_WORD = "USE_TOOL"
TOOL = f"{TOOL_WORD} add 2 and 3"
ARGS = {"a": 2, "b": 3}
REPLY = "The answer is five."


def wants_tool(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the tool was asked for and has not answered."""
    newest = max(number for number, message in enumerate(messages) if message["role"] == "user")
    asked = TOOL_WORD in str(messages[newest].get("content"))
    return asked and not any(message["role"] == "tool" for message in messages[newest:])
