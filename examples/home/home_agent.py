"""A home agent: the lights of a few rooms. One folder and a few lines of configuration, nothing else.

It keeps its own table, offers two capabilities, and the chat agent understands their phrases from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from retainer.core.capabilities import Answer, Capability, NoArguments
from retainer.core.clock import to_epoch
from retainer.core.effects import EffectClass
from retainer.core.events import Event
from retainer.core.protocols import Context, Migration, OutgoingMessage, Tx, View
from retainer.core.replies import reply_effect

MIGRATIONS = (
    Migration("home/001", "CREATE TABLE home_light (room TEXT PRIMARY KEY, is_on INTEGER NOT NULL, at REAL NOT NULL)"),
)


class Switch(BaseModel):
    """Arguments of ``home.light``."""

    model_config = ConfigDict(extra="forbid")

    room: str
    state: Literal["on", "off"]


class HomeAgent:
    """Switches lights and remembers which are on."""

    name = "home"
    migrations = MIGRATIONS

    def __init__(self, rooms: Sequence[str] = ("kitchen", "hall")) -> None:
        self.rooms = tuple(room.lower() for room in rooms)

    def capabilities(self) -> Sequence[Capability]:
        """One to look, one to act."""
        return (
            Capability(
                name="home.lights",
                agent=self.name,
                description="Which lights are on.",
                parameters=NoArguments,
                phrases=("(which|what) lights are on", "are (any|the) lights on"),
                examples=("which lights are on?",),
                run=self._lights,
            ),
            Capability(
                name="home.light",
                agent=self.name,
                description="Switch the light of a room on or off.",
                parameters=Switch,
                effect_class=EffectClass.WRITE_OWN,
                phrases=(
                    "(turn|switch) {state} the {room} (light|lights)",
                    "(turn|switch) the {room} (light|lights) {state}",
                ),
                examples=("turn on the kitchen light",),
                lane="home",
            ),
        )

    async def _lights(self, view: View, args: NoArguments) -> Answer:
        on = [row["room"] for row in view.query("SELECT room FROM home_light WHERE is_on = 1 ORDER BY room")]
        return Answer(text=f"On: {', '.join(on)}." if on else "All lights are off.", data={"on": on})

    async def handle(self, ctx: Context, event: Event) -> None:
        """Carry out a ``home.light`` request and say so where it was asked."""
        switch = Switch.model_validate(event.body["args"])
        if switch.room.lower() in self.rooms:
            text = f"The {switch.room} light is {switch.state}."
            at = to_epoch(ctx.now)

            def write(tx: Tx) -> None:
                tx.execute(
                    "INSERT INTO home_light (room, is_on, at) VALUES (?, ?, ?)"
                    " ON CONFLICT (room) DO UPDATE SET is_on = excluded.is_on, at = excluded.at",
                    (switch.room.lower(), int(switch.state == "on"), at),
                )

            ctx.apply(write)
        else:
            text = f"I know no room called {switch.room}. Rooms: {', '.join(self.rooms)}."
        if event.reply_to:
            ctx.send(reply_effect(event.reply_to, OutgoingMessage(text=text), label=event.label))
