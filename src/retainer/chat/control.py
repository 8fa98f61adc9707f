"""Stop, pause, resume: what is said and passed on once they took effect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from retainer.chat.commands import UrgentCommand
from retainer.chat.replies import request, say
from retainer.core.capabilities import Capability
from retainer.core.protocols import Context, Tx, View
from retainer.runtime.control import State, read_control, set_control
from retainer.runtime.effects import refuse_orders

STATES: dict[str, State] = {"stop": "stopped", "pause": "paused", "resume": "running"}

_WORDS = {
    "stop": (
        "Stopped. Orders that waited are refused, and resting orders that could buy more are being cancelled. "
        "Protective orders stay; “stop all” cancels them too. It stays stopped until you say “resume”."
    ),
    "stop all": (
        "Stopped, everything: waiting orders are refused and all resting orders are being cancelled, protective ones "
        "too. It stays stopped until you say “resume”."
    ),
    "pause": "Paused: no new entries. What protects or closes positions goes on. Say “resume” to carry on.",
    "resume": "Resumed: trading may go on, within its mandate and limits.",
}
STOPPED_ALREADY = "Trading is stopped, which is more than a pause, and stays so. Say “resume” to lift it."

TOO_OLD = (
    "You wrote that before trading was last stopped or paused (or a clock is wrong), so it stays so. Say “resume” "
    "again to lift it."
)
BEHIND = timedelta(minutes=1)
"""How far the clock that a message was written by may be behind."""


def outranked(view: View, word: str, said: datetime) -> bool:
    """Whether a command may not loosen what holds: a pause of what is stopped, or a *resume* written before the last
    stop or pause and delivered late (by a clock that may be a minute behind).
    """
    held = read_control(view)
    return held.stopped if word == "pause" else word == "resume" and held.paused and said + BEHIND < held.at


def take_effect(tx: Tx, command: UrgentCommand, person: str, now: datetime, *, said: datetime) -> None:
    """Make a command true, in the transaction of ``tx``, unless it is :func:`outranked`."""
    if outranked(tx, command.command, said):
        return
    set_control(tx, STATES[command.command], by=person, reason=f"said {command.command}", now=now)
    if command.command == "stop":
        refuse_orders(tx, "Trading was stopped.", now, protective_too=command.all)


def acknowledge(
    ctx: Context,
    command: UrgentCommand,
    capabilities: Sequence[Capability],
    *,
    person: str | None,
    address: str | None,
) -> None:
    """Say what now holds and tell the agents that have something to stop."""
    if address is not None:
        if outranked(ctx.view, command.command, ctx.event.occurred_at):
            say(ctx, address, STOPPED_ALREADY if command.command == "pause" else TOO_OLD)
        else:
            say(ctx, address, _WORDS["stop all" if command.command == "stop" and command.all else command.command])
    if command.command != "stop":
        return
    for capability in capabilities:
        if capability.urgent and capability.name.endswith(".stop"):
            args = {"all": command.all} if "all" in capability.parameters.model_fields else {}
            request(
                ctx,
                capability,
                args,
                person=person,
                address=address,
                label=ctx.event.label,
                name=f"stop:{capability.agent}",
            )
