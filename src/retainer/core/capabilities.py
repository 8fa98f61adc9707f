"""Capabilities and tools: typed functions an agent may call, with the powers they use and the phrases they know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from retainer.core.effects import EffectClass
from retainer.core.labels import TRUSTED, Label
from retainer.core.protocols import View
from retainer.core.values import Json


class NoArguments(BaseModel):
    """Parameters of a capability that takes none."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a capability says: a finished sentence for people, and the data behind it.

    ``text`` is written by code from records; nothing may reword its figures.
    """

    text: str
    data: Json = None
    label: Label = TRUSTED
    picture: str | None = None
    """Path of a PNG to show with the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One agent's method, offered to the others and to people.

    A *read* capability has ``run``: it is called in the caller's turn with a read-only view and its answer is a
    recorded step. Any other class is sent as a ``request`` event into ``lane`` of the owning agent; the caller does
    not wait, and the answer arrives at the event's ``reply_to``.
    """

    name: str
    """``<agent>.<verb>``: ``trading.performance``."""
    agent: str
    description: str
    """One line for people (``help``) and for a model that chooses."""
    parameters: type[BaseModel] = NoArguments
    effect_class: EffectClass = EffectClass.READ
    phrases: tuple[str, ...] = ()
    """Phrase grammar: words, ``[optional]``, ``(one|other)``, ``{slot}``; slots are fields of ``parameters``."""
    examples: tuple[str, ...] = ()
    """Plain sentences a person might use; the router and the help page show and learn from them."""
    run: Callable[[View, Any], Awaitable[Answer]] | None = None
    lane: str | None = None
    """Lane of request events; default: one lane named after the agent."""
    label: Label = TRUSTED
    """Label of its results."""
    sinks: tuple[str, ...] = ()
    """Arguments through which text leaves to somebody else."""
    scope: str = "chat"
    """Least scope the asking person needs: chat < propose < trade < admin."""
    urgent: bool = False
    """Recognised before anything else and handled at the head of its lane (``stop``)."""
    slow: bool = False
    """Whether ``run`` may take seconds: other questions of the same person are answered meanwhile."""
    extra: Mapping[str, Json] = field(default_factory=dict)
