"""What the chat agent does itself when one of its own capabilities was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from zoneinfo import ZoneInfo

from retainer.chat import helping, reminders
from retainer.chat.conversation import Message
from retainer.chat.replies import say
from retainer.chat.services import ChatServices
from retainer.core.capabilities import Capability
from retainer.core.protocols import Context, Tx
from retainer.core.values import Json
from retainer.learning import corrections
from retainer.memory.truth import record_forgetting
from retainer.memory.values import Forgetting


@dataclass(frozen=True, slots=True)
class Deeds:
    """Carries out ``chat.*`` for one service."""

    services: ChatServices
    zone: ZoneInfo

    async def perform(self, ctx: Context, message: Message, capability: Capability, args: Mapping[str, Json]) -> None:
        """Do it and say so. ``args`` are validated."""
        number = cast("int", args.get("number", 0))
        match capability.name:
            case "chat.help":
                say(ctx, message.address, helping.help_text(self.known(), str(args.get("topic", ""))))
            case "chat.status":
                say(ctx, message.address, self.status(ctx))
            case "chat.facts":
                say(ctx, message.address, self.services.memory.about(person=message.person))
            case "chat.forget":
                await self.forget(ctx, message, str(args["what"]))
            case "chat.export":
                await self.export(ctx, message)
            case "chat.reminders":
                say(ctx, message.address, self.reminders(ctx, message))
            case "chat.unremind":
                self.unremind(ctx, message, number)
            case "chat.explain":
                say(ctx, message.address, helping.explain_text(ctx.view, number, message.person))
            case "chat.log":
                say(ctx, message.address, helping.recent_text(ctx.view, message.person))
            case _:
                say(ctx, message.address, f"I cannot do {capability.name} myself.")

    def known(self) -> Sequence[Capability]:
        """Everything that can be asked for here."""
        return self.services.capabilities()

    def status(self, ctx: Context) -> str:
        """The status text, every provider asked on one view."""
        view = ctx.view
        provided = [provider(view) for provider in self.services.status]
        return helping.status_text(view, provided, self.services.model_state())

    async def forget(self, ctx: Context, message: Message, what: str) -> None:
        """Erase from memory now and from the runtime database in the close."""
        memory = self.services.memory

        async def plan() -> dict[str, Json]:
            return memory.plan_forget(what, person=message.person, before=message.seq).to_json()

        planned = Forgetting.from_json(await ctx.step("forget", plan))
        memory.forget(planned, person=message.person, upto=message.seq)
        ctx.apply(lambda tx: _forget(tx, planned, message))
        say(ctx, message.address, planned.text)

    async def export(self, ctx: Context, message: Message) -> None:
        """Write the person's data to a file on this machine; it never travels through the chat."""
        folder = self.services.exports
        if folder is None:
            say(ctx, message.address, "Nothing was exported: no folder for exports is set up here.")
            return

        async def write() -> dict[str, Json]:
            return await asyncio.to_thread(self._write_export, message)

        written = await ctx.step("export", write)
        say(
            ctx,
            message.address,
            f"Exported {written['lines']} lines to {written['path']} on the machine I run on. "
            "Only you can read it there.",
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
    def remind(self, ctx: Context, message: Message, wish: reminders.Wish) -> None:
        """Set a reminder, or ask for what is missing."""
        if not wish.task:
            say(ctx, message.address, "Gladly: what, and when? For example “remind me at 9 to call Anna”.")
            return
        if wish.at is None:
            say(
                ctx,
                message.address,
                f"When shall I remind you of “{wish.task}”? Say it with a time to come, "
                "for example “remind me tomorrow at 9 to …”.",
            )
            return
        name = f"{reminders.PREFIX}{message.seq}"
        ctx.timer(name, at=wish.at, body={"text": wish.task, "address": message.address, "reminder": name})
        when = reminders.spoken_time(wish.at, message.now, self.zone)
        say(ctx, message.address, f"I will remind you {when}: {wish.task}.")

    def reminders(self, ctx: Context, message: Message) -> str:
        """The list of what is set in this conversation."""
        pending = reminders.pending(ctx.view, message.lane)
        if not pending:
            return "No reminders are set here. Say for example “remind me at 9 to call Anna”."
        lines = [
            f"{one.number}. {reminders.spoken_time(one.at, message.now, self.zone)}: {one.task}" for one in pending
        ]
        return "\n".join(["Reminders:", *lines, "“cancel reminder 1” removes one."])

    def unremind(self, ctx: Context, message: Message, number: int) -> None:
        """Remove the reminder with this number in the list."""
        found = next((one for one in reminders.pending(ctx.view, message.lane) if one.number == number), None)
        if found is None:
            say(ctx, message.address, f"There is no reminder {number} here. “what reminders” lists them.")
            return
        ctx.cancel_timer(found.name)
        say(ctx, message.address, f"Cancelled: {found.task}.")


def _forget(tx: Tx, planned: Forgetting, message: Message) -> None:
    record_forgetting(tx, planned, message.seq, message.now)
    seqs = [int(source.split(":")[1]) for source in planned.sources if source.startswith("event:")]
    corrections.erase(tx, message.person, None if planned.everything else seqs)
