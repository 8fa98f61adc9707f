"""Effects: wishes about the world, as data. Only the guard lets one happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from retainer.core.labels import OWNER, Label
from retainer.core.values import Json, digest


class EffectClass(StrEnum):
    """What kind of power an effect uses; the policy decides by it."""

    READ = "read"
    """Looks at our own records."""
    FETCH = "fetch"
    """Asks somebody outside; the question itself leaves the machine."""
    WRITE_OWN = "write-own"
    """Changes our own records: a note, a reminder."""
    COMMUNICATE = "communicate"
    """Says something to a person."""
    MONEY = "money"
    """Can change positions or cash."""
    DESTRUCTIVE = "destructive"
    """Removes what cannot be brought back."""
    ADMIN = "admin"
    """Changes people, limits, mandates, configuration."""


class RepeatClass(StrEnum):
    """What is known about doing an effect twice; decides what happens after a crash in the middle."""

    ENFORCED = "enforced"
    """The far side refuses or absorbs a repeated key: repeat freely."""
    LOOKUP = "lookup"
    """The far side can be asked by key: look up first, send only if absent."""
    EDITABLE = "editable"
    """A placeholder's reference is stored first and the same message is edited."""
    NONE = "none"
    """Nobody can know: it becomes *unknown*, is shown to the owner and never repeated."""


class EffectState(StrEnum):
    """Where an effect stands."""

    ASKED = "asked"
    READY = "ready"
    SENDING = "sending"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One wish: call ``tool`` with ``args``. ``name`` is unique within its event; ``e<seq>:<name>`` is its key."""

    name: str
    tool: str
    """Name of the adapter that carries it out: ``chat.reply``, ``paper.order`` ..."""
    args: Mapping[str, Json]
    effect_class: EffectClass
    queue: str
    """Effects of one queue are carried out one after another: an address, an account."""
    label: Label = OWNER
    summary: str = ""
    """The effect in words, for the approval card, ``log`` and ``explain``."""
    reply_to: str | None = None
    """Where its outcome is told; ``None``: nobody is told, the outcome is only recorded."""
    approver_lane: str | None = None
    """Lane in which the outcome event is handled; default: the lane of the event that made it."""

    @property
    def digest(self) -> str:
        """What an approval binds to: tool, class and canonical arguments."""
        return digest([self.tool, self.effect_class.value, dict(self.args)])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEffect(Effect):
    """An effect as its row has it."""

    key: str
    event_seq: int
    lane: str
    agent: str
    state: EffectState
    repeat: RepeatClass
    ref: str | None = None
    """Reference at the far side: message id, order id. Stored before anything is built on it."""
    result: Json = None
    reason: str = ""
    """Why it was refused or is unknown."""
    attempts: int = 0
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a called effect ended, as the handler sees it."""

    state: EffectState
    result: Json = None
    reason: str = ""
    approval_id: str | None = None
    """Set when ``state`` is *asked*."""


class Decision(StrEnum):
    """The guard's answer."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Decision with its reasons; ``level`` says how a yes must be given when the decision is *ask*."""

    decision: Decision
    reason: str = ""
    level: str = ""
    """``tap``, ``code`` or ``totp``."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the guard knows of the handling of one event: a fold over that event's rows, so re-entry rebuilds it."""

    label: Label = OWNER
    sender: str | None = None
    channel: str | None = None
    reply_to: str | None = None
    agent: str = ""
    kind: str = ""
    source: str = ""
    """Who brought the event: ``feed:<name>``, a channel, ``agent:<name>``, ``timer``, ``effect``."""
    commitments: frozenset[str] = field(default_factory=frozenset)
    """Digests of exact calls that code committed from the sender's message before anything untrusted was read."""
    spent: frozenset[str] = field(default_factory=frozenset)
    wishes: int = 0
    """Effects of this event so far that are neither reads nor replies."""
    reads: int = 0
    """Reading tool calls of this event so far."""
    replies: int = 0
    """Messages to where the event came from, so far."""


class Permit:
    """Leave to carry out one effect. Adapters demand it; only :mod:`retainer.safety.guard` makes it (tested)."""

    __slots__ = ("_withdrawn", "digest", "key")

    def __init__(self, key: str, effect_digest: str) -> None:
        self.key = key
        self.digest = effect_digest
        self._withdrawn: Callable[[], str] = lambda: ""

    def watch(self, withdrawn: Callable[[], str]) -> Permit:
        """This permit, with how to look at it again. Called by the runtime."""
        self._withdrawn = withdrawn
        return self

    def withdrawn(self) -> str:
        """Why the effect may not leave any more, ``""`` while it may: to be asked right before what cannot be undone by
        an adapter that does other things first.
        """
        return self._withdrawn()

    def covers(self, effect: Effect) -> bool:
        """Whether this permit was made for exactly this call."""
        return self.digest == effect.digest
