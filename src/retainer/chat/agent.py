"""``LocalChatAgent``: the agent people talk to, in the service and as a library object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retainer.agent.host import Host
from retainer.agent.universal import UniversalAgent
from retainer.chat.commands import UrgentCommand
from retainer.chat.control import STATES, acknowledge
from retainer.chat.conversation import Message
from retainer.chat.own import offered, own_capabilities
from retainer.chat.replies import say
from retainer.chat.services import ChatServices
from retainer.chat.turns import Turns
from retainer.core.capabilities import Capability
from retainer.core.clock import Clock
from retainer.core.errors import InvalidInputError
from retainer.core.events import Event
from retainer.core.protocols import Context


class LocalChatAgent(UniversalAgent):
    """Talks with people on every channel.

    In the service it is the agent ``chat``: it is given ``services`` and :meth:`handle` turns each event into effects.
    Without services it is a library object: :meth:`handle_message` answers, through an embedded service.
    """

    name = "chat"

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        model_type: str = "local",
        *,
        host: Host | None = None,
        services: ChatServices | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(config, model_type, host=host, clock=clock)
        self._turns = Turns(services) if services is not None else None

    # --- the library -------------------------------------------------------------------------------------------------
    def handle_message(self, phone_number: str, message: str) -> str:
        """The reply to ``message``, or the refusal of a number that was not authorised.

        Authorise with ``agent.safety.authorize("+15550001")``. Deny is the default.
        """
        if not self.safety.authorized_user(phone_number):
            refusal: str = self.safety.block_unauthorized(phone_number)
            return refusal
        return self.process_request(message, phone_number)

    async def ahandle_message(self, phone_number: str, message: str) -> str:
        """:meth:`handle_message` for coroutines."""
        import asyncio

        return await asyncio.to_thread(self.handle_message, phone_number, message)

    # --- the service -------------------------------------------------------------------------------------------------
    def capabilities(self) -> Sequence[Capability]:
        """What people and other agents may ask of it."""
        return (*own_capabilities(), *offered())

    async def handle(self, ctx: Context, event: Event) -> None:
        """Turn one event into effects."""
        turns = self._turns
        if turns is None:
            raise InvalidInputError("This chat agent was given no services.", hint="Pass services=... to run it.")
        match event.kind:
            case "message":
                await turns.take(ctx, message_of(ctx, event))
            case "command":
                self._command(ctx, event, turns)
            case "timer":
                self._timer(ctx, event)
            case "reply" | "request":
                self._passed_on(ctx, event)
            case "outcome":
                self._outcome(ctx, event)
            case _:
                return

    def _command(self, ctx: Context, event: Event, turns: Turns) -> None:
        """Buttons, control words the hub caught on arrival, and the expiry of cards."""
        command, approval = str(event.body.get("command", "")), str(event.body.get("approval") or "")
        address = event.reply_to
        if command in STATES:
            urgent = UrgentCommand(command, bool(event.body.get("all")))  # type: ignore[arg-type]  # STATES has its words
            if command == "stop" and address is not None:
                turns.services.interrupt(f"chat:{address}")
            acknowledge(ctx, urgent, turns.services.capabilities(), person=event.sender, address=address)
        elif command == "expire":
            turns.cards.expire(ctx, approval)
        elif command in {"approve", "reject"} and event.sender is not None and address is not None:
            turns.cards.answer(
                ctx,
                approval,
                yes=command == "approve",
                code=str(event.body.get("code") or ""),
                person=event.sender,
                address=address,
                aloud=bool(event.body.get("text")),
            )
        elif address is not None:
            say(ctx, address, "I do not know that command. “help” shows what I can do.")

    def _timer(self, ctx: Context, event: Event) -> None:
        address = event.reply_to or str(event.body.get("address") or "")
        text = str(event.body.get("text") or "")
        if address and text and event.body.get("reminder"):
            say(ctx, address, f"⏰ Reminder: {text}")

    def _passed_on(self, ctx: Context, event: Event) -> None:
        """Another agent's answer, or its wish to say something: its words, under its label."""
        args = event.body.get("args")
        text = (
            event.body.get("text") if event.kind == "reply" else args.get("text") if isinstance(args, Mapping) else None
        )
        if event.reply_to is not None and isinstance(text, str) and text.strip():
            say(ctx, event.reply_to, text)

    def _outcome(self, ctx: Context, event: Event) -> None:
        """How something this agent asked for ended, when somebody waits to hear it."""
        state, summary = str(event.body.get("state", "")), str(event.body.get("summary") or "That")
        if event.reply_to is None:
            return
        if state == "done":
            say(ctx, event.reply_to, f"Done: {summary}")
        elif state == "refused":
            say(ctx, event.reply_to, f"Not done: {summary} ({event.body.get('reason') or 'refused'})")
        elif state == "unknown":
            say(
                ctx,
                event.reply_to,
                f"I cannot tell whether this happened: {summary}. I will not repeat it; please check.",
            )


def message_of(ctx: Context, event: Event) -> Message:
    """The message in an event. ``sender`` and ``reply_to`` are always there for messages the hub let in."""
    if event.sender is None or event.reply_to is None:
        raise InvalidInputError(f"Message event {event.seq} names no sender or no address.")
    return Message(
        text=str(event.body.get("text") or ""),
        quoted=str(event.body.get("quoted") or ""),
        person=event.sender,
        name=str(event.body.get("name") or ""),
        address=event.reply_to,
        lane=event.lane,
        seq=event.seq,
        now=ctx.now,
    )
