"""Saying things: replies, and requests to other agents."""

from __future__ import annotations

from collections.abc import Mapping

from retainer.core.capabilities import Answer, Capability
from retainer.core.events import NewEvent
from retainer.core.labels import Label
from retainer.core.protocols import Context, OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.core.values import Json

REPLY = "reply"


def say(ctx: Context, address: str, text: str, *, picture: str | None = None, name: str = REPLY) -> None:
    """Queue a reply; under the same ``name`` it completes a placeholder that was opened."""
    message = OutgoingMessage(text=text, picture=picture)
    ctx.send(reply_effect(address, message, name=name, label=ctx.turn.label))


def noted(before: str, text: str) -> str:
    """``text`` under the line that must be seen first; ``before`` may be empty."""
    return f"{before}\n\n{text}" if before else text


def say_answers(ctx: Context, address: str, answers: list[Answer], *, before: str = "") -> None:
    """Code-written answers, word for word; the first picture goes with the first reply."""
    for index, answer in enumerate(answers):
        text = answer.text if index else noted(before, answer.text)
        say(ctx, address, text, picture=answer.picture, name=REPLY if index == 0 else f"{REPLY}:{index}")


def request(
    ctx: Context,
    capability: Capability,
    args: Mapping[str, Json],
    *,
    person: str | None,
    address: str | None,
    label: Label,
    name: str = "request",
) -> None:
    """Ask the owning agent, in its lane; the answer arrives at ``address``. Nobody waits."""
    ctx.emit(
        NewEvent(
            source="agent:chat",
            external_id=f"e{ctx.event.seq}:{name}",
            agent=capability.agent,
            lane=capability.lane or capability.agent,
            kind="request",
            body={"capability": capability.name, "args": dict(args)},
            sender=person,
            label=label,
            cause=ctx.event.name,
            reply_to=address,
            occurred_at=ctx.now,
            urgent=capability.urgent,
        )
    )
