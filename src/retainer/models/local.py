"""The local engine as the server sees it: one catalogue entry, its file, its child process, its client."""

from __future__ import annotations

import asyncio
import threading

from retainer.core.protocols import ChatMessage
from retainer.models.catalogue import Entry
from retainer.models.chat_http import HttpChatModel
from retainer.models.errors import DamagedFileError, ModelError, ModelUnavailableError
from retainer.models.fetch import fetch_entry
from retainer.models.machine import memory_free, memory_total, physical_cores
from retainer.models.progress import Progress, Report, size_words
from retainer.models.settings import ModelSettings
from retainer.models.store import ModelStore
from retainer.models.supervise import Supervisor, WorkerSpec

_MIB = 1 << 20


class LocalModel:
    """A model of the catalogue, served by llama.cpp in a child of this process. Usable from any thread and loop."""

    def __init__(self, entry: Entry, store: ModelStore, settings: ModelSettings) -> None:
        self.entry = entry
        self.progress: Progress | None = None
        self.error: ModelError | None = None
        self.client = HttpChatModel(entry.id, self._locate, quiet_timeout=settings.quiet_timeout)
        self._store = store
        self._settings = settings
        self._supervisor: Supervisor | None = None
        self._guard = threading.Lock()
        self._prefix: tuple[ChatMessage, ...] = ()
        self._warmed = 0

    @property
    def supervisor(self) -> Supervisor | None:
        """The child's keeper, once it was started."""
        return self._supervisor

    def present(self) -> bool:
        """Whether the verified file is in the store."""
        return self._supervisor is not None or self._store.look(self.entry).present

    def seems_present(self) -> bool:
        """The same without ever hashing, for status lines."""
        return self._supervisor is not None or self._store.seems_present(self.entry)

    def lacks(self) -> str:
        """Why it does not fit this machine now, with the figures; empty when it does (or runs already)."""
        if self._supervisor is not None:
            return ""
        need, free = self.entry.min_ram_mib * _MIB, memory_free()
        if need <= free:
            return ""
        return f"{self.entry.title} needs {size_words(need)} of memory, {size_words(free)} is free"

    async def fetch(self, report: Report | None) -> None:
        """Have the file. Raises :class:`FetchError`, :class:`DamagedFileError`."""

        def note(progress: Progress) -> None:
            self.progress = None if progress.phase == "done" else progress
            if report:
                report(progress)

        try:
            await fetch_entry(self.entry, self._store, self._settings, note)
        except ModelError as error:
            self.error = error
            raise
        finally:
            self.progress = None
        self.error = None

    async def start(self) -> None:
        """Have the child ready and the fixed prefix evaluated.

        Raises :class:`ModelUnavailableError`; :class:`DamagedFileError` when the file turned out to be the cause.
        """
        await self._locate()
        await self._warm_once()

    async def warm(self, messages: tuple[ChatMessage, ...]) -> None:
        """Evaluate the prompts' common beginning: now if the engine runs, else when it is started."""
        if messages != self._prefix:
            self._prefix, self._warmed = messages, 0
        if self._supervisor and self._supervisor.state == "ready":
            await self._warm_once()

    def stop(self) -> None:
        """End the child; a later request starts it again."""
        with self._guard:
            supervisor, self._supervisor = self._supervisor, None
        if supervisor:
            supervisor.stop()

    async def _warm_once(self) -> None:
        supervisor = self._supervisor
        if not self._prefix or supervisor is None or self._warmed == supervisor.generation:
            return
        self._warmed = supervisor.generation
        await self.client.complete(self._prefix, max_tokens=1)

    async def _locate(self) -> tuple[str, str]:
        supervisor = await asyncio.to_thread(self._keeper)
        try:
            endpoint = await asyncio.to_thread(supervisor.endpoint)
        except ModelUnavailableError as error:
            if supervisor.state == "failed":
                self.error = error
                await self._blame_the_file()
            raise
        self.error = None
        return f"{endpoint.url}/v1", endpoint.key

    def _keeper(self) -> Supervisor:
        with self._guard:
            if self._supervisor is None:
                self._supervisor = Supervisor(self._spec())
            return self._supervisor

    def _spec(self) -> WorkerSpec:
        settings = self._settings
        return WorkerSpec(
            model=self._store.path(self.entry),
            alias=self.entry.id,
            context=min(settings.context, self.entry.context),
            slots=settings.slots,
            threads=settings.threads or physical_cores(),
            cache_mib=min(1024, memory_total() // 10 // _MIB),
            start_timeout=settings.start_timeout,
        )

    async def _blame_the_file(self) -> None:
        """The engine gave up: if the file is no longer right, say so, and have it fetched next time."""
        try:
            await asyncio.to_thread(self._store.demand_whole, self.entry)
        except DamagedFileError as error:
            self.stop()
            self.error = error
            raise
