"""What the chat agent is given: everything it uses, in one value made by the composition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from retainer.chat.personality import ChatPersonality
from retainer.chat.settings import ChatSettings
from retainer.core.capabilities import Capability
from retainer.core.protocols import ChatModel, Tx, View
from retainer.memory.manager import MemoryManager
from retainer.safety.approvals import Approvals
from retainer.safety.budget import ModelBudget

T = TypeVar("T")
StatusProvider = Callable[[View], list[str]]
"""Lines for ``status``, from records: the account, the model, the bridges."""


class Writer(Protocol):
    """:meth:`retainer.core.protocols.Store.write`: durable when it returns."""

    def __call__(self, apply: Callable[[Tx], T], /) -> Awaitable[T]: ...


def _no_model() -> ChatModel | None:
    return None


def _no_lane(_lane: str) -> None:
    return None


def _not_loading() -> bool:
    return False


def _no_state() -> str:
    return "none is set up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatServices:
    """The chat agent's surroundings. Callables are asked each time, so what comes later is seen."""

    capabilities: Callable[[], Sequence[Capability]]
    """Everything agents and tools offer, the chat agent's own included or not."""
    memory: MemoryManager
    approvals: Approvals
    write: Writer
    model: Callable[[], ChatModel | None] = _no_model
    """The chat model when it can answer; ``None`` while it is fetched or loaded, or absent."""
    budget: ModelBudget | None = None
    """What the model may be used for; ``None``: without limit."""
    loading: Callable[[], bool] = _not_loading
    """Whether the model is there and on its way into memory, so that a message may wait for it."""
    model_state: Callable[[], str] = _no_state
    """In words that complete "Model: ...": ``ready``, ``still being fetched, 43 %``, ``none``."""
    interrupt: Callable[[str], None] = _no_lane
    """Cuts short what a lane is saying (``RuntimeHandle.interrupt``); for a stop said in another process."""
    status: Sequence[StatusProvider] = ()
    settings: ChatSettings = field(default_factory=ChatSettings)
    personality: ChatPersonality = field(default_factory=ChatPersonality.load)
    zone: ZoneInfo | None = None
    """Zone of people's times; default: the settings'."""
    exports: Path | None = None
    """Folder for exported data; ``None``: export is offered by the command line only."""
