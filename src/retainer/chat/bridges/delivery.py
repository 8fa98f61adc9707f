"""Replies as effects: one adapter per channel, so that each keeps its own repeat class."""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

from retainer.chat.bridges.text import split_message
from retainer.core.effects import EffectClass, EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.errors import RefusedError, RejectedError
from retainer.core.protocols import Bridge, OutgoingMessage, Store, Tx, View
from retainer.core.values import Json
from retainer.safety.redact import default_redactor

PICTURE_ONLY = "Here is the picture."
_REMEMBERED = 500
"""References of this run that are kept apart from lost ones until they surely are in the database."""


class MessageGoneError(RejectedError):
    """The message that was to be changed is not there any more: the person deleted it."""


class Finding(Protocol):
    """A bridge that can find a placeholder whose reference was lost."""

    async def find_lost(
        self, view: View, effect: StoredEffect, chat_id: str, taken: frozenset[str], permit: Permit
    ) -> str | None:
        """Its reference, never one of ``taken``; ``None`` if none is found."""
        ...


def _demand(effect: StoredEffect, permit: Permit) -> str:
    """The chat that a permitted message goes to: the one that was checked, and no other."""
    if not permit.covers(effect):
        raise RefusedError("The permit is for another message.")
    chat_id = _chat_id(effect.args)
    if effect.queue != f"{effect.tool.removesuffix('.reply')}:{chat_id}":
        raise RejectedError("The message names another chat than the one that was checked.")
    return chat_id


class ReplyAdapter:
    """Carries out ``<channel>.reply`` through its bridge.

    Where the channel lets messages be edited, every message starts as a placeholder whose reference is durable before
    anything is said in it; so a crash at any point leads to an edit of the same message, not to a second one.
    """

    def __init__(self, bridge: Bridge, store: Store) -> None:
        self._bridge = bridge
        self._store = store
        self.repeat = bridge.repeat
        self.effect_class = EffectClass.COMMUNICATE
        self._opening: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._taken: OrderedDict[str, None] = OrderedDict()

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """Deliver; the result's ``ref`` names the first message."""
        chat_id = _demand(effect, permit)
        message = OutgoingMessage.from_args(effect.args)
        message = replace(message, text=default_redactor().clean_known(message.text))
        limit: int | None = getattr(self._bridge, "max_units", None)
        if self.repeat is RepeatClass.EDITABLE:
            return {"ref": await self._by_placeholder(effect, chat_id, message, limit, permit)}
        first: str | None = None
        for part in split_message(message, limit):
            ref = await self._bridge.send(chat_id, part, effect.ref if first is None else None, effect.key, permit)
            first = first or ref
        return {"ref": first}

    async def open(self, effect: StoredEffect, permit: Permit) -> str:
        """A sign of life where the reply will stand."""
        _demand(effect, permit)
        return await self._open(effect, permit, again=False)

    async def reopen(self, effect: StoredEffect, permit: Permit) -> str:
        """:meth:`open` when an earlier try may have shown it: the lost placeholder if it is found, else a new one."""
        _demand(effect, permit)
        return await self._open(effect, permit, again=True)

    async def update(self, effect: StoredEffect, args: Mapping[str, Json]) -> None:
        """Show a growing reply."""
        text = args.get("text")
        if effect.ref is not None and isinstance(text, str):
            await self._bridge.update(_chat_id(effect.args), effect.ref, default_redactor().clean_known(text))

    async def _by_placeholder(
        self, effect: StoredEffect, chat_id: str, message: OutgoingMessage, limit: int | None, permit: Permit
    ) -> str:
        known = self._parts(effect.key)
        if effect.ref is not None:
            known.setdefault(0, effect.ref)
        text = message.text if message.text.strip() or message.picture is None else PICTURE_ONLY
        parts = split_message(replace(message, text=text, picture=None), limit)
        for number, part in enumerate(parts):
            ref = known.get(number)
            if ref is None:
                ref = await self._open(effect, permit, again=effect.state is EffectState.SENDING)
                known[number] = await self._keep(effect.key, number, ref)
            try:
                await self._bridge.send(chat_id, part, ref, effect.key, permit)
            except MessageGoneError:
                known[number] = await self._keep(effect.key, number, await self._open(effect, permit, again=False))
                await self._bridge.send(chat_id, part, known[number], effect.key, permit)
        if message.picture is not None and len(parts) not in known:
            picture = OutgoingMessage(text="", picture=message.picture)
            ref = await self._bridge.send(chat_id, picture, None, effect.key, permit)
            await self._keep(effect.key, len(parts), ref or "")
        return known[0]

    async def _open(self, effect: StoredEffect, permit: Permit, *, again: bool) -> str:
        """A placeholder; one at a time in a chat, so that nobody takes a new one for a lost one."""
        chat_id = _chat_id(effect.args)
        lock = self._opening.setdefault(chat_id, asyncio.Lock())
        async with lock:
            found: str | None = None
            if again and hasattr(self._bridge, "find_lost"):
                finder = cast("Finding", self._bridge)
                found = await finder.find_lost(self._store.view(), effect, chat_id, frozenset(self._taken), permit)
            ref = found or await self._bridge.open(chat_id, effect.key, permit)
            self._taken[ref] = None
            while len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)
            return ref

    def _parts(self, key: str) -> dict[int, str]:
        rows = self._store.view().query("SELECT part, ref FROM reply_part WHERE effect_key = ?", (key,))
        return {int(row["part"]): str(row["ref"]) for row in rows}

    async def _keep(self, key: str, part: int, ref: str) -> str:
        def unit(tx: Tx) -> None:
            values: tuple[Any, ...] = (ref, key, part)
            if not tx.execute("UPDATE reply_part SET ref = ? WHERE effect_key = ? AND part = ?", values):
                tx.execute("INSERT INTO reply_part (ref, effect_key, part) VALUES (?, ?, ?)", values)

        await self._store.write(unit)
        return ref


def _chat_id(args: Mapping[str, Json]) -> str:
    return str(args["chat_id"])
