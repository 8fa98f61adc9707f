"""Events: immutable facts that arrived, each handled once by the agent that owns its lane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from retainer.core.labels import OWNER, Label
from retainer.core.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event on its way in. (``source``, ``external_id``) is unique for ever: received twice, stored once.

    Well-known kinds: ``message`` (a person wrote), ``command`` (an exact command, code or button),
    ``bar`` (a bar closed), ``timer``, ``request`` (one agent asks another), ``outcome`` (an effect ended),
    ``reply`` (the answer to a request).
    """

    source: str
    """Who brought it: a channel (``telegram``), ``feed:<name>``, ``timer``, ``agent:<name>``, ``effect``."""
    external_id: str
    """Its id there, or one derived from what caused it; the deduplication key."""
    agent: str
    """Name of the agent that handles it."""
    lane: str
    """Ordering key: one conversation (``chat:telegram:42``), one account (``account:paper``), ``control``."""
    kind: str
    body: Mapping[str, Json] = field(default_factory=dict)
    """The payload. Texts of people live here; the store keeps it apart so that it can be erased."""
    sender: str | None = None
    """Person id for people's messages, agent name for requests, ``None`` for machines."""
    label: Label = OWNER
    cause: str | None = None
    """Key of the effect, or ``event:<seq>``, that led to this one."""
    reply_to: str | None = None
    """Address where an answer belongs: ``<channel>:<chat id>`` (``telegram:42``, ``terminal:local``)."""
    occurred_at: datetime
    urgent: bool = False
    """Handled before anything else that waits in the lane."""
    hops: int = 0
    """How many handlings of agents lie between this event and what came from outside or from the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(NewEvent):
    """A stored event. ``seq`` orders all events of this database and names it to people (``explain 12``)."""

    seq: int
    attempts: int = 1
    """1 on the first handling; more after a crash."""

    @property
    def name(self) -> str:
        """``event:<seq>``, for ``cause`` fields."""
        return f"event:{self.seq}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Answer to receiving: the event's ``seq`` and whether it was new."""

    seq: int
    new: bool
