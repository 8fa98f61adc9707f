"""What the rooms promise each other. Small protocols, each with several implementations and one conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from retainer.core.clock import Clock
from retainer.core.effects import (
    Effect,
    EffectState,
    Outcome,
    Permit,
    RepeatClass,
    StoredEffect,
    Turn,
    Verdict,
)
from retainer.core.events import Event, NewEvent, Receipt
from retainer.core.labels import Label
from retainer.core.values import Json

if TYPE_CHECKING:
    from retainer.core.capabilities import Capability

T = TypeVar("T")
Row = Mapping[str, Any]
"""A result row, read by column name."""


# --- store -----------------------------------------------------------------------------------------------------------
class View(Protocol):
    """Read-only access to a consistent snapshot. SQL in the subset that SQLite and PostgreSQL share, ``?`` marks."""

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """All rows."""
        ...

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The first row, or ``None``."""
        ...


class Tx(View, Protocol):
    """A unit of work on the single writer: its own savepoint inside a group commit. Synchronous, short, no I/O."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one statement; returns the number of rows it changed."""
        ...

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one INSERT; returns the new integer primary key (0 when the row was ignored)."""
        ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One forward step of a room's schema. Never edited once released; ``name`` is unique (``trading/001``)."""

    name: str
    sql: str
    run: Callable[[Tx], None] | None = None
    """What SQL alone does not say, after it and in the same transaction."""


class Store(Protocol):
    """The one database."""

    async def write(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` on the writer; durable when it returns. If it raises, only its own changes are rolled back."""
        ...

    def write_soon(self, apply: Callable[[Tx], Any]) -> None:
        """Queue ``apply`` without waiting for it (counters, last-seen marks)."""
        ...

    def view(self) -> View:
        """A read-only view for the calling thread."""
        ...


# --- runtime ---------------------------------------------------------------------------------------------------------
class Context(Protocol):
    """What a handler has of the world while it handles one event."""

    event: Event

    @property
    def now(self) -> datetime:
        """The instant recorded when this event was first handled; the same on re-entry."""
        ...

    @property
    def attempts(self) -> int:
        """1 on the first handling, more on re-entry."""
        ...

    @property
    def view(self) -> View:
        """Read-only view of the database."""
        ...

    @property
    def turn(self) -> Turn:
        """Labels, commitments and spent ones so far."""
        ...

    async def step(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        *,
        input_digest: str = "",
        label: Label | Callable[[T], Label] | None = None,
    ) -> T:
        """Run ``fn`` once and record its JSON result; on re-entry return the record.

        ``input_digest`` guards against changed code: a recorded step whose digest differs parks the event.
        ``label`` joins the turn's label: the step read something of that trust (or gives it for the recorded result).
        """
        ...

    def commit(self, effect: Effect) -> None:
        """Commit to this exact call, from the sender's current message alone (code only, before reading)."""
        ...

    async def call(self, effect: Effect) -> Outcome:
        """Check, record, carry out, record; the answer is needed now. *asked* means: end the handler."""
        ...

    def send(self, effect: Effect) -> None:
        """Queue an effect for after the close: checked in the closing transaction."""
        ...

    async def open(self, effect: Effect) -> None:
        """Show a placeholder for an editable effect that :meth:`send` will complete (same ``name``).

        Its reference is stored before this returns; on re-entry the same placeholder is used.
        """
        ...

    async def update(self, name: str, args: Mapping[str, Json]) -> None:
        """Edit an opened placeholder; not recorded, throttled by the adapter, failures are harmless."""
        ...

    def emit(self, event: NewEvent) -> None:
        """Put an event into a lane, in the closing transaction. ``cause`` and ``label`` are joined with this one's.

        Its sender is this event's, this agent or nobody. Raises :class:`RefusedError` for another one, for a kind that
        only the world has (message, command, bar), and where agents have led each other too far.
        """
        ...

    def apply(self, unit: Callable[[Tx], Sequence[Effect] | None]) -> None:
        """Queue domain rows for the closing transaction. They belong to this event's lane.

        A unit may return effects whose words depend on what it found; they are sent as if by :meth:`send`.
        """
        ...

    def timer(self, name: str, *, at: datetime, body: Mapping[str, Json], kind: str = "timer") -> None:
        """Set (or move) a timer, in the closing transaction: an event of ``kind`` in this lane at ``at``.

        While a timer is handled, the next one is a second away at least. Raises :class:`RefusedError` as :meth:`emit`.
        """
        ...

    def cancel_timer(self, name: str) -> None:
        """Remove a timer, in the closing transaction."""
        ...

    def step_aside(self) -> bool:
        """``True``: this will take long, so end the handler now, with nothing queued. It begins again beside the lane,
        after the others of the lane that stepped aside, while the lane goes on. ``False``: it does so already.
        """
        ...

    @property
    def interrupted(self) -> bool:
        """True once somebody asked this lane to finish early (``stop`` in the middle of a reply)."""
        ...


class Agent(Protocol):
    """A decision function with a name."""

    name: str

    async def handle(self, ctx: Context, event: Event) -> None:
        """Turn the event into effects, rows and events through ``ctx``. Raising parks it after a few tries."""
        ...

    def capabilities(self) -> Sequence[Capability]:
        """What it offers to others."""
        ...


class Adapter(Protocol):
    """Carries out the effects of one tool. May also have ``open``/``update`` (editable), ``lookup``, or ``apply``.

    ``execute`` raises :class:`~retainer.core.errors.NotSentError` when nothing left this machine,
    :class:`~retainer.core.errors.RejectedError` for a definite no; anything else is ambiguous and resolved by
    ``repeat``. Where it does other things first, it asks ``permit.withdrawn()`` right before what cannot be undone.
    """

    repeat: RepeatClass

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """Do it; the JSON returned is recorded as the result."""
        ...


class LookupAdapter(Adapter, Protocol):
    """Far side can be asked by key."""

    async def lookup(self, effect: StoredEffect) -> Json:
        """The result recorded at the far side for this key, or ``None`` if it never arrived there."""
        ...


class EditableAdapter(Adapter, Protocol):
    """A placeholder first, then edits of the same message. ``execute`` edits ``effect.ref`` when there is one.

    May also have ``reopen``: ``open`` after a try that may have shown a placeholder, of which no reference is known.
    """

    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        """Show the placeholder; returns its reference."""
        ...

    async def update(self, effect: StoredEffect, args: Mapping[str, Json]) -> None:
        """Edit the placeholder to show ``args``."""
        ...


class TransactionalAdapter(Protocol):
    """The far side is this database: done in the very transaction that marks the effect done."""

    repeat: RepeatClass

    def apply(self, tx: Tx, effect: StoredEffect, permit: Permit) -> Json:
        """Write the rows; raises RejectedError for a definite no."""
        ...


@dataclass(frozen=True, slots=True)
class Card:
    """What the approver is shown, where, and until when (real time) a yes counts."""

    approval_id: str
    address: str
    text: str
    buttons: tuple[Button, ...]
    expires_at: datetime


class Guard(Protocol):
    """The one place where an effect is allowed, refused, or held for a yes; and the audit chain."""

    def check(self, view: View, effect: Effect, turn: Turn, now: datetime) -> Verdict:
        """Pure but for what it reads in ``view`` (stop, mandates, limits)."""
        ...

    def recheck(self, view: View, effect: StoredEffect, now: datetime) -> Verdict:
        """Just before *sending*: stop, expiry, permission withdrawn. Never asks."""
        ...

    def ask(self, tx: Tx, effect: StoredEffect, turn: Turn, verdict: Verdict, now: datetime) -> Card:
        """Record an approval request for an effect stored as *asked*.

        The runtime sends the returned card (a reply effect named ``<name>:card``) and sets the expiry timer, in the
        same transaction.
        """
        ...

    def permit(self, effect: StoredEffect) -> Permit:
        """The permit for an effect that was allowed or approved."""
        ...

    def record(self, tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> None:
        """Append to the audit chain of ``lane``."""
        ...


class RuntimeHandle(Protocol):
    """The part of the runtime that bridges, feeds and commands use."""

    store: Store
    clock: Clock

    async def receive(self, *events: NewEvent, also: Callable[[Tx], None] | None = None) -> list[Receipt]:
        """Store events (insert or ignore); durable when it returns, so the sender may be confirmed now.

        ``also`` runs in the same transaction when at least one event was new (``stop`` takes effect here).
        """
        ...

    def interrupt(self, lane: str) -> None:
        """Ask the handler running in ``lane`` to finish early."""
        ...

    async def idle(self, lane: str | None = None) -> None:
        """Wait until no event waits and no effect is ready or sending (in ``lane``, or anywhere)."""
        ...


# --- people and channels ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message. ``data`` (at most 64 bytes) comes back as a command when it is pressed."""

    text: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingMessage:
    """What a bridge heard, before anybody decided whether the sender counts."""

    channel: str
    sender_id: str
    """Stable id at the channel (numeric id, phone number in E.164), never a display name."""
    chat_id: str
    message_id: str
    """Unique at the channel; the deduplication key."""
    text: str = ""
    data: str | None = None
    """Payload of a pressed button."""
    quoted: str = ""
    """Text the sender forwarded or quoted: untrusted."""
    display_name: str = ""
    occurred_at: datetime
    group: bool = False
    attachment: str = ""
    """Kind of a media part we do not read, for an honest answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """What a bridge shows. Plain text; a bridge may render ``*bold*`` but must show every character otherwise."""

    text: str
    buttons: tuple[Button, ...] = ()
    picture: str | None = None

    def to_args(self) -> dict[str, Json]:
        """As the ``args`` of a ``chat.reply`` effect, without its address."""
        return {
            "text": self.text,
            "buttons": [[b.text, b.data] for b in self.buttons],
            "picture": self.picture,
        }

    @staticmethod
    def from_args(args: Mapping[str, Any]) -> OutgoingMessage:
        """Inverse of :meth:`to_args`."""
        buttons = tuple(Button(text, data) for text, data in args.get("buttons") or ())
        return OutgoingMessage(text=args.get("text") or "", buttons=buttons, picture=args.get("picture"))


Receive = Callable[[IncomingMessage], Awaitable[None]]


class Bridge(Protocol):
    """Carries messages of one channel."""

    channel: str
    repeat: RepeatClass

    async def run(self, receive: Receive) -> None:
        """Listen until cancelled. ``receive`` returns when the message is durable; only then confirm upstream."""
        ...

    async def send(
        self, chat_id: str, message: OutgoingMessage, ref: str | None, key: str, permit: Permit
    ) -> str | None:
        """Deliver, or edit the message ``ref``; ``key`` is the effect's. Returns the reference.

        ``permit`` is what the guard made for this very effect; a bridge that is handed none must not send.
        """
        ...

    async def open(self, chat_id: str, key: str, permit: Permit) -> str:
        """Show a sign of life (placeholder, typing); returns its reference."""
        ...

    async def update(self, chat_id: str, ref: str, text: str) -> None:
        """Show a growing reply in the placeholder; throttled here."""
        ...

    def health(self) -> Mapping[str, Json]:
        """``ok`` (bool), ``detail`` (words), ``last_contact`` (epoch seconds of the last completed round trip)."""
        ...


# --- models ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one generation; ``cached`` of ``prompt`` were not evaluated again."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished generation."""

    text: str
    model: str
    finish: str = "stop"
    usage: Usage = field(default_factory=Usage)


class ChatModel(Protocol):
    """A model that chats. ``schema`` (JSON Schema) constrains the output to valid JSON of that shape."""

    @property
    def name(self) -> str:
        """The model's name, for people and records."""
        ...

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> AsyncIterator[str | Generation]:
        """Deltas as they come, then one :class:`Generation`. Closing the iterator cancels the generation."""
        ...

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Generation:
        """The whole text at once."""
        ...


class Predictor(Protocol):
    """A trained numeric model: rows of features in, probabilities out."""

    @property
    def name(self) -> str:
        """The model's name and version."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of the rows, in order."""
        ...

    def predict(self, rows: Any) -> Any:
        """``rows``: array (n, len(features)); returns array (n,) of probabilities in (0, 1)."""
        ...


EffectStates = frozenset[EffectState]
