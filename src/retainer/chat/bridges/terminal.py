"""The terminal's bridge: replies are rows of the database, read by last-seen id: none lost, none twice."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from retainer.core.clock import Clock, to_epoch
from retainer.core.effects import EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.errors import NotSentError, RefusedError
from retainer.core.protocols import IncomingMessage, OutgoingMessage, Receive, Store, Tx, View
from retainer.core.values import Json
from retainer.runtime.effects import select_rows, to_effect
from retainer.runtime.inbox import select_events
from retainer.safety.people import LOCAL_CHANNEL, LOCAL_ID

ADDRESS = f"{LOCAL_CHANNEL}:{LOCAL_ID}"
LANE = f"chat:{ADDRESS}"
TOOL = f"{LOCAL_CHANNEL}.reply"
_FINAL = ("done", "refused", "unknown")


@dataclass(frozen=True, slots=True)
class Opened:
    """A reply is being made; ``ref`` names it."""

    ref: str


@dataclass(frozen=True, slots=True)
class Growing:
    """What a reply says so far."""

    ref: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A finished message. ``key`` is its effect's; ``ref`` that of the message it replaces, or its own."""

    key: str
    ref: str
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class Attending:
    """Something typed waits for its answer; holds for :data:`ATTENTION` seconds, or until the next reply."""


Item = Opened | Growing | Shown | Attending
ATTENTION = 5.0


class TerminalClient(Protocol):
    """What a terminal talks to: the bridge of the running service, or its database from another process."""

    async def say(self, text: str) -> None:
        """Send what was typed; durable when it returns."""
        ...

    async def press(self, data: str) -> None:
        """Press a button of a card."""
        ...

    def items(self) -> AsyncIterator[Item]:
        """What there is to show: first what was missed, then what comes."""
        ...


class TerminalBridge:
    """Channel ``terminal``, one chat: ``local``. Terminals of this process subscribe; others read the same rows."""

    channel = LOCAL_CHANNEL
    repeat = RepeatClass.ENFORCED
    max_units: int | None = None

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._receive: Receive | None = None
        self._listening = asyncio.Event()
        self._subscribers: set[asyncio.Queue[Item]] = set()
        self._session = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    # --- as a bridge -------------------------------------------------------------------------------------------------
    async def run(self, receive: Receive) -> None:
        """Let :meth:`say` work until cancelled."""
        self._receive = receive
        self._listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._receive = None
            self._listening.clear()

    async def send(
        self, chat_id: str, message: OutgoingMessage, ref: str | None, key: str, permit: Permit
    ) -> str | None:
        """Show it to every terminal of this process. Repeating it shows nothing new: terminals know the key."""
        _check(chat_id, key, permit)
        self._publish(Shown(key, ref or key, message))
        return ref or key

    async def open(self, chat_id: str, key: str, permit: Permit) -> str:
        """A sign that a reply is being made."""
        _check(chat_id, key, permit)
        self._publish(Opened(key))
        return key

    async def update(self, chat_id: str, ref: str, text: str) -> None:
        """Show a growing reply."""
        self._publish(Growing(ref, text))

    async def attend(self, chat_id: str) -> None:
        """Show that an answer is being made."""
        self._publish(Attending())

    def health(self) -> Mapping[str, Json]:
        """Always well: it is this machine."""
        count = len(self._subscribers)
        words = f"{count} open" if count else "no terminal open"
        return {"ok": True, "detail": words, "last_contact": to_epoch(self._clock.now())}

    # --- as a client -------------------------------------------------------------------------------------------------
    async def say(self, text: str) -> None:
        """Send what was typed at this machine; durable when it returns."""
        await self._incoming(text, None)

    async def press(self, data: str) -> None:
        """Press a button of a card."""
        await self._incoming("", data)

    async def items(self) -> AsyncIterator[Item]:
        """What was missed since the last terminal, then everything as it comes."""
        queue: asyncio.Queue[Item] = asyncio.Queue()
        self._subscribers.add(queue)
        rows = ReplyRows(self._store)
        try:
            for shown in rows.new():
                yield shown
            rows.advance()
            while True:
                item = await queue.get()
                if isinstance(item, Shown):
                    if not rows.first_time(item.key):
                        continue
                    yield item
                    asyncio.get_running_loop().call_later(0.25, rows.advance)
                else:
                    yield item
        finally:
            self._subscribers.discard(queue)
            rows.advance()

    async def _incoming(self, text: str, data: str | None) -> None:
        async with asyncio.timeout(10):
            await self._listening.wait()
        if self._receive is None:
            raise NotSentError("The service is stopping.", hint="Start it again with `retainer up`.")
        await self._receive(typed(text, data, f"{self._session}.{next(self._numbers)}", self._clock))

    def _publish(self, item: Item) -> None:
        for queue in self._subscribers:
            queue.put_nowait(item)


class ReplyRows:
    """Replies to the terminal as the database has them, each given out once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._given: set[str] = set()
        row = store.view().one("SELECT effect_id FROM terminal_seen WHERE address = ?", (ADDRESS,))
        self._after = int(row["effect_id"]) if row else 0

    def new(self) -> list[Shown]:
        """Finished replies after the last-seen one that were not given out yet."""
        return [_shown(effect) for effect in self._rows("done") if self.first_time(effect.key)]

    def opened(self) -> list[Opened]:
        """Replies that are being made."""
        return [Opened(effect.key) for effect in self._rows("sending")]

    def first_time(self, key: str) -> bool:
        """Whether ``key`` was not given out before; it is from now on."""
        new = key not in self._given
        self._given.add(key)
        return new

    def advance(self) -> None:
        """Move the last-seen mark over everything before the first unfinished reply; written in the background."""
        self._store.write_soon(self._move)

    def _rows(self, state: str) -> list[StoredEffect]:
        rows = select_rows(
            self._store.view(),
            "e.queue = ? AND e.id > ? AND e.tool = ? AND e.state = ?",
            (ADDRESS, self._after, TOOL, EffectState(state).value),
        )
        return [to_effect(row) for row in rows]

    def _move(self, tx: Tx) -> None:
        marks = ", ".join("?" for _ in _FINAL)
        params: tuple[Any, ...] = (ADDRESS, self._after, TOOL)
        query = "SELECT {} AS id FROM effect WHERE queue = ? AND id > ? AND tool = ?"
        open_row = tx.one(f"{query.format('MIN(id)')} AND state NOT IN ({marks})", (*params, *_FINAL))
        last_row = tx.one(query.format("MAX(id)"), params)
        if last_row is None or last_row["id"] is None:
            return
        upto = int(last_row["id"]) if open_row is None or open_row["id"] is None else int(open_row["id"]) - 1
        if upto <= self._after:
            return
        changed = tx.execute(
            "UPDATE terminal_seen SET effect_id = ? WHERE address = ? AND effect_id < ?", (upto, ADDRESS, upto)
        )
        if not changed and tx.one("SELECT effect_id FROM terminal_seen WHERE address = ?", (ADDRESS,)) is None:
            tx.execute("INSERT INTO terminal_seen (address, effect_id) VALUES (?, ?)", (ADDRESS, upto))


def typed(text: str, data: str | None, message_id: str, clock: Clock) -> IncomingMessage:
    """What the person at this machine typed or pressed."""
    return IncomingMessage(
        channel=LOCAL_CHANNEL,
        sender_id=LOCAL_ID,
        chat_id=LOCAL_ID,
        message_id=message_id,
        text=text,
        data=data,
        occurred_at=clock.now(),
    )


def recent_inputs(view: View, limit: int = 200) -> Sequence[str]:
    """What was typed here lately, oldest first, for the line editor's history. Erased texts are not in it."""
    last = view.one("SELECT MAX(seq) AS seq FROM event WHERE lane = ?", (LANE,))
    since = (last["seq"] or 0) - 20 * limit if last else 0
    events = select_events(view, "e.lane = ? AND e.kind = 'message' AND e.seq > ?", (LANE, since), limit=20 * limit)
    texts = [text for event in events if isinstance(text := event.body.get("text"), str) and "\n" not in text and text]
    return texts[-limit:]


def _shown(effect: StoredEffect) -> Shown:
    return Shown(effect.key, effect.ref or effect.key, OutgoingMessage.from_args(effect.args))


def _check(chat_id: str, key: str, permit: Permit) -> None:
    if permit.key != key:
        raise RefusedError("A message without the guard's permit is not shown.")
    if chat_id != LOCAL_ID:
        raise RefusedError(f"There is no terminal called {chat_id}.", hint="The only one is terminal:local.")
