"""The same service on a thread of this process, for library objects: ``UniversalAgent``, ``LocalChatAgent``."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from retainer.agent.host import LIBRARY_CHANNEL, Host
from retainer.app.config import Settings, load_settings
from retainer.app.logs import library_logging
from retainer.app.service import Service
from retainer.core.capabilities import Capability
from retainer.core.effects import EffectState, Permit, RepeatClass
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError, RetainerError
from retainer.core.protocols import ChatMessage, IncomingMessage, OutgoingMessage, Receive, Tx, View
from retainer.core.values import Json
from retainer.runtime.effects import of_event
from retainer.safety.facade import SafetyProtocols, phone_number
from retainer.safety.people import OWNER_ID, Principal, add_device, identify, revoke

T = TypeVar("T")


class LibraryBridge:
    """Channel ``library``: replies are read from the records, so carrying them out is having recorded them."""

    channel = LIBRARY_CHANNEL
    repeat = RepeatClass.ENFORCED
    max_units: int | None = None

    async def run(self, receive: Receive) -> None:
        """Messages come through :class:`EmbeddedHost`, not from here."""
        await asyncio.Event().wait()

    async def send(
        self, chat_id: str, message: OutgoingMessage, ref: str | None, key: str, permit: Permit
    ) -> str | None:
        """The row is the message."""
        return ref or key

    async def open(self, chat_id: str, key: str, permit: Permit) -> str:
        """Nothing to show yet."""
        return key

    async def update(self, chat_id: str, ref: str, text: str) -> None:
        """Whoever waits gets the whole text."""

    def health(self) -> Mapping[str, Json]:
        """Always well."""
        return {"ok": True, "detail": "in this process", "last_contact": time.time()}


class EmbeddedHost:
    """Implements :class:`retainer.agent.host.Host`."""

    def __init__(self, settings: Settings, *, temporary: Path | None = None) -> None:
        library_logging()
        self._temporary = temporary
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="retainer", daemon=True)
        self._thread.start()
        self._service = Service(settings, feeds=())
        try:
            self._run(self._start(), 60.0)
        except BaseException:
            self._end_thread()
            raise
        atexit.register(self._leave)

    async def _start(self) -> None:
        await self._service.start()
        bridge = LibraryBridge()
        self._service.hub.add(bridge)
        for tool, adapter in self._service.hub.adapters().items():
            self._service.runtime.add_adapter(tool, adapter)

    # --- Host --------------------------------------------------------------------------------------------------------
    def ask(self, person: str, text: str, *, agent: str = "chat", timeout: float = 120.0) -> str:
        """Say ``text`` as ``person`` and wait for what belongs to it."""
        return self._run(self._ask(person, text, timeout), timeout + 5.0)

    def person_id(self, person: str) -> str:
        """Who ``person`` is in this service; paired on first use, as in :meth:`ask`."""
        return self._run(self._paired(person), 10.0).person_id

    def ask_model(self, prompt: str, *, timeout: float = 120.0) -> str:
        """Words of the model alone."""

        async def words() -> str:
            async with asyncio.timeout(timeout):
                await self._service.models.ensure("chat")
                model = self._service.budget.metered(await self._service.models.chat_model(), OWNER_ID)
                return (await model.complete([ChatMessage("user", prompt)])).text

        return self._run(words(), timeout + 5.0)

    def capabilities(self) -> Sequence[Capability]:
        """Of all agents and tools."""
        return self._service.capabilities()

    def write(self, apply: Callable[[Tx], T]) -> T:
        """On the writer."""
        return self._service.store.write_now(apply)

    def view(self) -> View:
        """Read only."""
        return self._service.store.view()

    def part(self, name: str) -> Any:
        """``memory``, ``tools``, ``safety``, ``models``, or ``hub``: the :class:`PhoneBridge`."""
        if name == "safety":
            return SafetyProtocols(store=self._service.store)
        if name not in {"memory", "tools", "models", "hub"}:
            raise NotFoundError(f"There is no part {name!r}.", hint="Use memory, tools, safety, models or hub.")
        return getattr(self._service, name)

    def close(self) -> None:
        """Stop the service and, if it lived in a temporary folder, remove that."""
        atexit.unregister(self._leave)
        if self._loop.is_running():
            self._run(self._service.stop(), 30.0)
            self._end_thread()

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self._settings.data

    # --- inside ------------------------------------------------------------------------------------------------------
    async def _ask(self, person: str, text: str, timeout: float) -> str:
        service = self._service
        person = (await self._paired(person)).stable_id
        message_id = uuid.uuid4().hex
        await service.hub.receive(
            IncomingMessage(
                channel=LIBRARY_CHANNEL,
                sender_id=person,
                chat_id=person,
                message_id=message_id,
                text=text,
                occurred_at=service.clock.now(),
            )
        )
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            replies = self._replies(f"{person}:{message_id}", f"{LIBRARY_CHANNEL}:{person}")
            if replies is not None:
                return "\n\n".join(replies)
            await asyncio.sleep(0.02)
        raise RetainerError(f"No answer came within {timeout:.0f} seconds.", hint="Ask again, or raise the timeout.")

    async def _paired(self, person: str) -> Principal:
        """The device of ``person`` at this channel, as powerful as the phone of that number, or the owner's.

        A phone number has one spelling here, and a change of what it may do holds from the next message on. Raises
        :class:`RefusedError` for one that was revoked.
        """
        store, now = self._service.store, self._service.clock.now()
        phone = SafetyProtocols(store=store).principal(person)
        if phone is None and (gone := self._revoked(person)):
            await store.write(lambda tx: revoke(tx, now, channel=LIBRARY_CHANNEL, stable_id=gone))
            raise RefusedError(f"{gone} is not authorised any more.", hint="Authorise it again, in your program.")
        stable_id = phone.stable_id if phone else person
        found = identify(store.view(), LIBRARY_CHANNEL, stable_id)
        if found is not None and (phone is None or (found.person_id, found.scope) == (phone.person_id, phone.scope)):
            return found
        owner, scope = (phone.person_id, phone.scope) if phone else (OWNER_ID, "trade")
        return await store.write(lambda tx: add_device(tx, LIBRARY_CHANNEL, stable_id, scope, now, person_id=owner))

    def _revoked(self, person: str) -> str:
        """The number that ``person`` is, if it was authorised once and is not any more."""
        try:
            number = phone_number(person)
        except InvalidInputError:
            return ""
        sql = "SELECT stable_id FROM identity WHERE channel = 'phone' AND stable_id = ? AND revoked_at IS NOT NULL"
        return "" if self._service.store.view().one(sql, (number,)) is None else number

    def _replies(self, external_id: str, address: str) -> list[str] | None:
        """Texts said at ``address`` because of the message; ``None`` while more may come."""
        with self._service.store.view() as view:
            root = self._root(view, external_id, address)
            if root is None:
                return None
            pending, texts, seen = [root], [], set[int]()
            while pending:
                seq = pending.pop(0)
                if seq in seen:
                    continue
                seen.add(seq)
                row = view.one("SELECT state FROM event WHERE seq = ?", (seq,))
                if row is None or row["state"] == "waiting":
                    return None
                names = [f"event:{seq}"]
                for effect in of_event(view, seq):
                    names.append(effect.key)
                    if effect.queue != address:
                        continue
                    if effect.state in {EffectState.READY, EffectState.SENDING}:
                        return None
                    if effect.state is EffectState.DONE:
                        texts.append(str(effect.args.get("text") or ""))
                for name in names:
                    pending += [int(r["seq"]) for r in view.query("SELECT seq FROM event WHERE cause = ?", (name,))]
        return texts or None

    def _root(self, view: View, external_id: str, address: str) -> int | None:
        for source, external in (
            (LIBRARY_CHANNEL, external_id),
            ("phone", f"{address}:{external_id.partition(':')[2]}"),
        ):
            row = view.one("SELECT seq FROM event WHERE source = ? AND external_id = ?", (source, external))
            if row is not None:
                return int(row["seq"])
        return None

    def _run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def _leave(self) -> None:
        """The program ends without :meth:`close`: no order is lost by that, only a child and a folder are left."""
        self._service.models.close()
        self._remove()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        if not self._thread.is_alive():
            self._loop.close()
        self._remove()

    def _remove(self) -> None:
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._temporary)


def embedded_host(config: Mapping[str, Any] | None, model_type: str) -> Host:
    """A service for one library object: in a folder of its own that is removed at the end, unless ``data`` names one.

    ``config`` is what ``retainer.toml`` could hold; ``model_type``: ``local``, or what ``RETAINER_MODEL`` may be.
    """
    given = dict(config or {})
    temporary = None
    if "data" not in given:
        temporary = Path(tempfile.mkdtemp(prefix="retainer-"))
        given["data"] = temporary
    if model_type != "local":
        given["model"] = model_type
    given.setdefault("telegram", {"enabled": False})
    try:
        settings = load_settings(**given)
    except RetainerError:
        if temporary is not None:
            temporary.rmdir()
        raise
    return EmbeddedHost(settings, temporary=temporary)
