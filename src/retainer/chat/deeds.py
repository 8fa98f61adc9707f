"""What the chat agent does itself when one of its own capabilities was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from zoneinfo import ZoneInfo

from retainer.chat import helping, reminders
from retainer.chat.conversation import Message
from retainer.chat.numbered import last_list
from retainer.chat.replies import noted, say
from retainer.chat.services import ChatServices
from retainer.core.capabilities import Capability
from retainer.core.protocols import Context, Tx
from retainer.core.values import Json
from retainer.learning import corrections
from retainer.memory.truth import record_forgetting
from retainer.memory.values import Forgetting

FACTS_STEP = "facts"
"""The list of facts that was shown, as a recorded step."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """Carries out ``chat.*`` for one service."""

    services: ChatServices
    zone: ZoneInfo

    async def perform(
        self, ctx: Context, message: Message, capability: Capability, args: Mapping[str, Json], before: str = ""
    ) -> None:
        """Do it and say so, under ``before``. ``args`` are validated."""
        say(ctx, message.address, noted(before, await self._done(ctx, message, capability, args)))

    async def _done(self, ctx: Context, message: Message, capability: Capability, args: Mapping[str, Json]) -> str:
        number = cast("int", args.get("number", 0))
        match capability.name:
            case "chat.help":
                return helping.help_text(self.known(), str(args.get("topic", "")))
            case "chat.status":
                return self.status(ctx)
            case "chat.facts":
                return await self.facts(ctx, message)
            case "chat.forget":
                return await self.forget(ctx, message, str(args["what"]))
            case "chat.export":
                return await self.export(ctx, message)
            case "chat.reminders":
                return self.reminders(ctx, message)
            case "chat.unremind":
                return self.unremind(ctx, message, number)
            case "chat.explain":
                return helping.explain_text(ctx.view, number, message.person)
            case "chat.log":
                return helping.recent_text(ctx.view, message.person)
            case "chat.people":
                return helping.people_text(ctx.view, ctx.now)
            case "chat.time":
                return f"It is {ctx.now.astimezone(self.zone):%H:%M on %A %-d %B %Y} ({self.zone.key})."
            case _:
                return f"I cannot do {capability.name} myself."

    def known(self) -> Sequence[Capability]:
        """Everything that can be asked for here."""
        return self.services.capabilities()

    def status(self, ctx: Context) -> str:
        """The status text, every provider asked on one view."""
        view = ctx.view
        provided = [provider(view) for provider in self.services.status]
        return helping.status_text(view, provided, self.services.model_state())

    async def facts(self, ctx: Context, message: Message) -> str:
        """What is known about the person, as a list whose lines “forget 3” means until the next one is shown."""
        memory = self.services.memory

        async def listed() -> dict[str, Json]:
            return {"ids": [str(number) for number in memory.listed(person=message.person)]}

        await ctx.step(FACTS_STEP, listed)
        return memory.about(person=message.person)

    async def forget(self, ctx: Context, message: Message, what: str) -> str:
        """Erase from memory now and from the runtime database in the close."""
        memory = self.services.memory
        shown = [int(number) for number in last_list(ctx.view, message.lane, message.seq, FACTS_STEP)]

        async def plan() -> dict[str, Json]:
            wish = memory.plan_forget(what, person=message.person, before=message.seq, shown=shown or None)
            return wish.to_json()

        planned = Forgetting.from_json(await ctx.step("forget", plan))
        memory.forget(planned, person=message.person, upto=message.seq)
        ctx.apply(lambda tx: _forget(tx, planned, message))
        return planned.text

    async def export(self, ctx: Context, message: Message) -> str:
        """Write the person's data to a file on this machine; it never travels through the chat."""
        folder = self.services.exports
        if folder is None:
            return "Nothing was exported: no folder for exports is set up here."

        async def write() -> dict[str, Json]:
            return await asyncio.to_thread(self._write_export, message)

        written = await ctx.step("export", write)
        return (
            f"Exported {written['lines']} lines to {written['path']} on the machine I run on. "
            "Only you can read it there."
        )

    def _write_export(self, message: Message) -> dict[str, Json]:
        folder = self.services.exports
        assert folder is not None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"export-{message.now:%Y%m%d}-{message.seq}.jsonl"
        path.touch(mode=0o600)
        lines = 0
        with path.open("w", encoding="utf-8") as out:
            for line in self.services.memory.export(person=message.person):
                out.write(line.rstrip("\n") + "\n")
                lines += 1
        return {"lines": lines, "path": str(path)}

    # --- reminders ---------------------------------------------------------------------------------------------------
    def remind(self, ctx: Context, message: Message, wish: reminders.Wish, before: str = "") -> None:
        """Set a reminder, or ask for what is missing; said under ``before``."""
        say(ctx, message.address, noted(before, self._reminder(ctx, message, wish)))

    def _reminder(self, ctx: Context, message: Message, wish: reminders.Wish) -> str:
        if not wish.task:
            return "Gladly: what, and when? For example “remind me at 9 to call Anna”."
        if wish.at is None:
            return (
                f"When shall I remind you of “{wish.task}”? Say it with a time to come, "
                "for example “remind me tomorrow at 9 to …”."
            )
        if len(reminders.pending(ctx.view, message.lane)) >= reminders.MOST:
            return f"{reminders.MOST} reminders are set here, which is the limit. “cancel reminder 1” removes one."
        name = f"{reminders.PREFIX}{message.seq}"
        ctx.timer(name, at=wish.at, body={"text": wish.task, "address": message.address, "reminder": name})
        when = reminders.spoken_time(wish.at, message.now, self.zone)
        return f"I will remind you {when}: {wish.task}."

    def reminders(self, ctx: Context, message: Message) -> str:
        """The list of what is set in this conversation."""
        pending = reminders.pending(ctx.view, message.lane)
        if not pending:
            return "No reminders are set here. Say for example “remind me at 9 to call Anna”."
        lines = [
            f"{one.number}. {reminders.spoken_time(one.at, message.now, self.zone)}: {one.task}" for one in pending
        ]
        return "\n".join(["Reminders:", *lines, "“cancel reminder 1” removes one."])

    def unremind(self, ctx: Context, message: Message, number: int) -> str:
        """Remove the reminder with this number in the list."""
        found = next((one for one in reminders.pending(ctx.view, message.lane) if one.number == number), None)
        if found is None:
            return f"There is no reminder {number} here. “what reminders” lists them."
        ctx.cancel_timer(found.name)
        return f"Cancelled: {found.task}."


def _forget(tx: Tx, planned: Forgetting, message: Message) -> None:
    record_forgetting(tx, planned, message.seq, message.now)
    seqs = [int(source.split(":")[1]) for source in planned.sources if source.startswith("event:")]
    corrections.erase(tx, message.person, None if planned.everything else seqs)
