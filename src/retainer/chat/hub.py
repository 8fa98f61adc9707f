"""The hub of all bridges: who is speaking, what is urgent, what is refused; and the one way out to every channel."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

import structlog

from retainer.chat.bridges.attention import Attention, Attentive
from retainer.chat.bridges.delivery import ReplyAdapter
from retainer.chat.bridges.text import readable
from retainer.chat.commands import UrgentCommand, urgent_command
from retainer.chat.control import STATES, outranked
from retainer.chat.processors import ChatProcessor
from retainer.core.capabilities import Capability
from retainer.core.clock import from_epoch
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.events import Event, NewEvent, Receipt
from retainer.core.labels import OWNER, TRUSTED, Label
from retainer.core.protocols import (
    Adapter,
    Bridge,
    Context,
    IncomingMessage,
    OutgoingMessage,
    RuntimeHandle,
    Tx,
)
from retainer.core.replies import reply_effect
from retainer.core.values import Json
from retainer.runtime.control import read_control, set_control
from retainer.runtime.effects import refuse_orders
from retainer.runtime.inbox import insert_event
from retainer.safety.limits import Limits, Rate, wait
from retainer.safety.people import Principal, devices, drop, identify, redeem, touch

CONTROL_LANE = "control"
_BUTTON = re.compile(r"([ar]):([0-9a-z]{8})")
_START = re.compile(r"/start(?:@\w+)?\s+(\S{1,32})\s*")
_PRIVATE = Label(OWNER.trust, private=True)
_ADMITTED = 2000
_log = structlog.get_logger(__name__)


class PhoneBridge:
    """Every channel in one place.

    Incoming: strangers are dropped with nothing but a count, *stop*, *pause* and *resume* take effect in the
    transaction that receives them, the rest becomes events of the conversation's lane. Outgoing: one adapter per
    channel (:meth:`adapters`), and :meth:`send_response` for everybody else. It is also the small agent ``phone`` that
    says the hub's own sentences, so that they too pass the guard.
    """

    name = "phone"

    def __init__(
        self,
        runtime: RuntimeHandle | None = None,
        *,
        limits: Limits | None = None,
        agent: str = "chat",
        first_pause: float = 1.0,
    ) -> None:
        """``agent`` handles what people say; ``first_pause``: seconds before a failed bridge is started again.

        Without a runtime it can hold bridges and tell their health; a service is needed to carry anything.
        """
        self._given = runtime
        self._limits = limits or Limits()
        self._agent = agent
        self._first_pause = first_pause
        self._processor = ChatProcessor(self._limits.message_characters)
        self._rate = Rate(self._limits.messages_per_minute, timedelta(minutes=1))
        self._admitted: OrderedDict[str, None] = OrderedDict()
        self._remembered: set[str] = set()
        self._bridges: dict[str, Bridge] = {}
        self._failed: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._attention = Attention(lambda: self._runtime.store, self._attentive)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def _runtime(self) -> RuntimeHandle:
        if self._given is None:
            raise RetainerError("This hub belongs to no service.", hint="Use the hub of one: agent.host.part('hub').")
        return self._given

    # --- bridges -----------------------------------------------------------------------------------------------------
    def add(self, bridge: Bridge) -> None:
        """Take a bridge in. Raises :class:`InvalidInputError` when its channel has one already."""
        if bridge.channel in self._bridges:
            raise InvalidInputError(f"There are two bridges for {bridge.channel}.", hint="Add each channel once.")
        self._bridges[bridge.channel] = bridge

    def adapters(self) -> dict[str, Adapter]:
        """``<channel>.reply`` for every bridge, for the runtime."""
        store = self._runtime.store
        return {f"{channel}.reply": ReplyAdapter(bridge, store) for channel, bridge in self._bridges.items()}

    async def start(self) -> None:
        """Let every bridge listen, each looked after: one that fails is started again, with growing pauses."""
        self._loop = asyncio.get_running_loop()
        for channel, bridge in self._bridges.items():
            if channel not in self._tasks:
                self._tasks[channel] = self._loop.create_task(self._keep_running(bridge), name=f"bridge:{channel}")
        self._attention.resume()

    async def stop(self) -> None:
        """Stop listening. What was received is durable; what was not confirmed comes again."""
        await self._attention.close()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def health(self) -> Mapping[str, Mapping[str, Json]]:
        """Health of each channel, by name."""
        found: dict[str, Mapping[str, Json]] = {}
        for channel, bridge in self._bridges.items():
            state = dict(bridge.health())
            if channel in self._failed:
                state |= {"ok": False, "detail": f"failed ({self._failed[channel]}), starting again"}
            found[channel] = state
        return found

    def _attentive(self, channel: str) -> Attentive | None:
        bridge = self._bridges.get(channel)
        return cast("Attentive", bridge) if hasattr(bridge, "attend") else None

    async def _keep_running(self, bridge: Bridge) -> None:
        pause = self._first_pause
        while True:
            began = self._runtime.clock.now()
            try:
                await bridge.run(self.receive)
            except Exception as error:  # noqa: BLE001 - one channel's failure must not silence the others
                self._failed[bridge.channel] = type(error).__name__
                _log.warning("bridge.failed", channel=bridge.channel, kind=type(error).__name__)
            else:
                return
            if self._runtime.clock.now() - began > timedelta(minutes=2):
                pause = self._first_pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, 60.0)
            self._failed.pop(bridge.channel, None)

    # --- incoming ----------------------------------------------------------------------------------------------------
    async def receive(self, message: IncomingMessage) -> None:
        """Take one message; durable (or deliberately dropped) when this returns, so the sender may be confirmed."""
        principal = identify(self._runtime.store.view(), message.channel, message.sender_id)
        start = None if message.group or message.data is not None else _START.fullmatch(message.text)
        if principal is None:
            await self._stranger(message, None if start is None else start[1])
            return
        text = readable(message.text).strip()
        command = urgent_command(text) if message.data is None else None
        if message.group and (command is None or not command.command.startswith("stop")):
            # Others read along in a group: it may stop trading, it never speaks for its members and is told nothing.
            now = self._runtime.clock.now()
            self._runtime.store.write_soon(lambda tx: drop(tx, message.channel, message.sender_id, now))
            return
        kind = "message" if command is None and start is None and message.data is None else "command"
        refusal = self._too_fast(message, principal, kind)
        if command is not None and (refusal is None or self._changes(command)):
            await self._urgent(message, principal, command, text)
            return
        if refusal is None and kind == "message":
            refusal = self._unreadable(message, text)
        if refusal is not None:
            if refusal:
                await self._notice(message, refusal)
        elif start is not None:
            await self._stranger(message, start[1])
        elif message.data is not None:
            await self._pressed(message, principal)
        else:
            await self._said(message, principal)

    async def _stranger(self, message: IncomingMessage, code: str | None) -> None:
        """Silence and a count, unless a code came. From a paired device it is a new pairing, or the old one's message
        again (its confirmation was lost): then the notice, named after the message, is said once.
        """
        now = self._runtime.clock.now()
        if code is None:
            self._runtime.store.write_soon(lambda tx: drop(tx, message.channel, message.sender_id, now))
            return
        address = f"{message.channel}:{message.chat_id}"

        def pair(tx: Tx) -> bool:
            name = readable(message.display_name)[:60]
            redeemed = redeem(tx, message.channel, message.sender_id, code, name, now, address=address)
            if redeemed.text:  # in the same transaction: who is paired is told so, whatever ends here
                insert_event(tx, self._to_say(address, redeemed.text, f"{address}:{message.message_id}"), now)
            return bool(redeemed.text)

        if not await self._runtime.store.write(pair):
            self._runtime.store.write_soon(lambda tx: drop(tx, message.channel, message.sender_id, now))

    async def _pressed(self, message: IncomingMessage, principal: Principal) -> None:
        found = _BUTTON.fullmatch(message.data or "")
        if found is None:
            await self._notice(message, "I no longer know what that button was for.")
            return
        command = "approve" if found[1] == "a" else "reject"
        await self._command(message, principal, {"command": command, "approval": found[2], "text": ""})

    async def _urgent(self, message: IncomingMessage, principal: Principal, command: UrgentCommand, text: str) -> None:
        if not principal.may(command.scope):
            await self._notice(
                message,
                f"This device may not {command.command}; it needs the scope {command.scope}. Do it on another one.",
            )
            return
        now = self._runtime.clock.now()

        def take_effect(tx: Tx) -> None:
            if outranked(tx, command.command, message.occurred_at):
                return
            reason = f"{principal.name} said {command.command} on {message.channel}"
            set_control(tx, STATES[command.command], by=principal.person_id, reason=reason, now=now)
            if command.command == "stop":
                refuse_orders(tx, f"Stopped by {principal.name}.", now, protective_too=command.all)

        body: dict[str, Json] = {"command": command.command, "all": command.all, "text": text}
        receipt = await self._command(message, principal, body, also=take_effect)
        if receipt.new and command.command == "stop":
            self._runtime.interrupt(conversation_lane(message))

    async def _command(
        self,
        message: IncomingMessage,
        principal: Principal,
        body: Mapping[str, Json],
        also: Callable[[Tx], None] | None = None,
    ) -> Receipt:
        """A command goes to its own lane, so it never waits behind a long reply."""
        where: dict[str, Json] = {
            "channel": message.channel,
            "chat_id": message.chat_id,
            "message_id": message.message_id,
        }
        event = self._event(message, principal, lane=CONTROL_LANE, kind="command", body={**body, **where}, urgent=True)
        receipt = (await self._runtime.receive(event, also=self._with_touch(principal, also)))[0]
        self._attend(message)
        return receipt

    def _attend(self, message: IncomingMessage) -> None:
        """Show that it was taken, where this hub listens itself; the mailbox of another process does not."""
        if message.channel in self._tasks:
            self._attention.begin(f"{message.channel}:{message.chat_id}")

    def _changes(self, command: UrgentCommand) -> bool:
        """Whether an urgent command would make anything different: *stop* holds however fast somebody writes."""
        return command.all or read_control(self._runtime.store.view()).state != STATES[command.command]

    def _too_fast(self, message: IncomingMessage, principal: Principal, kind: str) -> str | None:
        """What to say to somebody who writes or presses too fast; ``""``: nothing more; ``None``: it is taken.

        Messages and commands are counted apart: much talk keeps nobody from answering a card.
        """
        admitted = f"{message.channel}\0{message.chat_id}\0{message.message_id}"
        if admitted in self._admitted:
            return None
        key, now = f"{principal.person_id}\0{kind}", self._runtime.clock.now()
        self._remember(key, principal.person_id, kind, now)
        hit = self._rate.hit(key, now)
        if not hit.ok:
            most = self._limits.messages_per_minute
            pause = wait(self._rate.free_at(key, now), now)
            words = f"I take {most} messages a minute and left out the latest ones; go on in {pause}."
            return words if hit.notice else ""
        self._admitted[admitted] = None
        while len(self._admitted) > _ADMITTED:
            self._admitted.popitem(last=False)
        return None

    def _unreadable(self, message: IncomingMessage, text: str) -> str | None:
        """Why this message cannot be taken, in words."""
        raw, limit = message.text, self._limits.message_characters
        size = len(raw) + len(message.quoted)
        if size > limit:
            return f"That message has {size:,} characters; I take up to {limit:,}. Nothing of it was kept."
        if len(raw) - len(readable(raw)) + raw.count("\ufffd") > len(raw) // 4:
            return "That looks like binary data, not text. I left it out."
        if not text and not message.quoted.strip():
            if message.attachment:
                return f"I cannot read {message.attachment} yet. Please tell me in words."
            return "That message had no text in it."
        return None

    def _remember(self, key: str, person: str, kind: str, now: datetime) -> None:
        """Before the first message of ``person`` since the start: what they said just before it counts as well."""
        if key in self._remembered:
            return
        self._remembered.add(key)
        rows = self._runtime.store.view().query(
            "SELECT received_at FROM event WHERE sender = ? AND kind = ? ORDER BY seq DESC LIMIT ?",
            (person, kind, self._limits.messages_per_minute),
        )
        for row in reversed(rows):
            at = from_epoch(row["received_at"])
            if now - at < timedelta(minutes=1):
                self._rate.hit(key, at)

    async def _said(self, message: IncomingMessage, principal: Principal) -> None:
        try:
            said = self._processor.transform(message)
        except InvalidInputError as error:
            await self._notice(message, str(error))
            return
        body: dict[str, Json] = {
            "text": said.text,
            "quoted": said.quoted,
            "attachment": said.attachment,
            "channel": message.channel,
            "chat_id": message.chat_id,
            "message_id": message.message_id,
            "name": principal.name,
        }
        event = self._event(message, principal, lane=conversation_lane(message), kind="message", body=body)
        await self._runtime.receive(event, also=self._with_touch(principal, None))
        self._attend(message)
        if said.redacted:
            await self._notice(message, "Something in that looked like a secret. I left it out and did not keep it.")

    def _event(
        self,
        message: IncomingMessage,
        principal: Principal,
        *,
        lane: str,
        kind: str,
        body: Mapping[str, Json],
        urgent: bool = False,
    ) -> NewEvent:
        return NewEvent(
            source=message.channel,
            external_id=f"{message.chat_id}:{message.message_id}",
            agent=self._agent,
            lane=lane,
            kind=kind,
            body=body,
            sender=principal.person_id,
            label=_PRIVATE,
            reply_to=f"{message.channel}:{message.chat_id}",
            occurred_at=message.occurred_at,
            urgent=urgent,
        )

    def _with_touch(self, principal: Principal, also: Callable[[Tx], None] | None) -> Callable[[Tx], None]:
        now = self._runtime.clock.now()

        def unit(tx: Tx) -> None:
            if also is not None:
                also(tx)
            touch(tx, principal.channel, principal.stable_id, now)

        return unit

    # --- outgoing ----------------------------------------------------------------------------------------------------
    def send_response(self, to: str, text: str) -> None:
        """Say ``text`` to ``to`` (an address, or the number or id of a paired device). Returns when it is durable.

        For other threads than the service's; there, use :meth:`asend_response`. Raises :class:`InvalidInputError` when
        nobody is paired there, :class:`RetainerError` when the service does not run.
        """
        if self._loop is None or not self._loop.is_running():
            raise RetainerError("The hub is not running.", hint="Start the service first.")
        asyncio.run_coroutine_threadsafe(self.asend_response(to, text), self._loop).result(timeout=30)

    async def asend_response(self, to: str, text: str, *, message_id: str | None = None) -> None:
        """:meth:`send_response` for coroutines. The same ``message_id`` is said once, however often it is passed."""
        address = self._address_of(to)
        await self._runtime.receive(self._to_say(address, text, message_id or uuid.uuid4().hex))

    def _address_of(self, to: str) -> str:
        paired = devices(self._runtime.store.view())
        for device in paired:
            if to in {device.address, f"{device.channel}:{device.stable_id}"}:
                return device.address
        found = sorted({device.address for device in paired if to == device.stable_id})
        if len(found) != 1:
            raise InvalidInputError(
                "No paired device has this address." if not found else "Several devices have this id.",
                hint="Pass the address, such as telegram:42; `retainer status` lists the paired ones.",
            )
        return found[0]

    async def _notice(self, message: IncomingMessage, text: str) -> None:
        address = f"{message.channel}:{message.chat_id}"
        await self._runtime.receive(self._to_say(address, text, f"{address}:{message.message_id}"))

    def _to_say(self, address: str, text: str, external_id: str) -> NewEvent:
        return NewEvent(
            source=self.name,
            external_id=external_id,
            agent=self.name,
            lane=f"{self.name}:{address}",
            kind="notice",
            body={"text": text},
            label=TRUSTED,
            reply_to=address,
            occurred_at=self._runtime.clock.now(),
        )

    async def handle(self, ctx: Context, event: Event) -> None:
        """Say a sentence of the hub's own, through the guard like any other."""
        text = event.body.get("text")
        if event.kind == "notice" and event.reply_to and isinstance(text, str):
            ctx.send(reply_effect(event.reply_to, OutgoingMessage(text=text), label=event.label))

    def capabilities(self) -> Sequence[Capability]:
        """None: others speak by replies."""
        return ()


def conversation_lane(message: IncomingMessage) -> str:
    """The lane of the conversation that ``message`` belongs to."""
    return f"chat:{message.channel}:{message.chat_id}"
