"""The supervised engine with the real small model: closed to others, obedient, and back after every crash."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from retainer.core.protocols import ChatMessage
from retainer.models.catalogue import packaged_catalogue
from retainer.models.errors import DamagedFileError, ModelFailedError, ModelUnavailableError, PromptTooLongError
from retainer.models.machine import memory_free, memory_total, physical_cores
from retainer.models.server import LocalLLM, ModelServer
from retainer.models.settings import ModelSettings
from retainer.models.store import ModelStore
from retainer.models.supervise import Supervisor, WorkerSpec

SMALL = packaged_catalogue().find("small")
HELLO = [ChatMessage("user", "Tell me a long story about a river.")]


def spec(model: Path, **more: Any) -> WorkerSpec:
    values = {"alias": "small", "context": 512, "slots": 1, "threads": 1, "cache_mib": 16, "start_timeout": 60.0}
    return WorkerSpec(model=model, **{**values, **more})


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer(ModelSettings(model="small", threads=1, slots=1)) as made:
        asyncio.run(made.ensure("chat"))
        yield made


def keeper(server: ModelServer) -> Supervisor:
    local = server._local()  # the tests look inside to find the child
    assert local.supervisor
    return local.supervisor


async def test_the_door_is_closed_to_everybody_else(server: ModelServer) -> None:
    import httpx2

    endpoint = keeper(server).endpoint()
    async with httpx2.AsyncClient() as client:
        answers = {
            path: (await client.get(endpoint.url + path)).status_code
            for path in ("/v1/models", "/props", "/slots", "/metrics", "/")
        }
        wrong = await client.get(f"{endpoint.url}/v1/models", headers={"Authorization": "Bearer wrong"})
        asked = await client.get(f"{endpoint.url}/health", headers={"Origin": "https://evil.example"})
    assert answers == {"/v1/models": 401, "/props": 401, "/slots": 401, "/metrics": 401, "/": 404}
    assert wrong.status_code == 401
    assert asked.headers["access-control-allow-origin"] == "http://127.0.0.1"
    assert "access-control-allow-credentials" not in asked.headers


def test_it_listens_on_loopback_only_and_its_key_is_nowhere_to_be_read(server: ModelServer) -> None:
    endpoint = keeper(server).endpoint()
    child = psutil.Process(endpoint.pid)
    listening = {c.laddr.ip for c in child.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert endpoint.key not in " ".join(child.cmdline())
    assert endpoint.key not in str(child.environ())
    assert endpoint.key not in repr(endpoint)


def test_it_is_polite_and_the_first_to_go_when_memory_runs_out(server: ModelServer) -> None:
    endpoint = keeper(server).endpoint()
    environment = psutil.Process(endpoint.pid).environ()
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("passive", "0")
    if sys.platform.startswith("linux"):
        assert Path(f"/proc/{endpoint.pid}/oom_score_adj").read_text().strip() == "500"


def test_it_costs_nothing_while_idle(server: ModelServer) -> None:
    child = psutil.Process(keeper(server).endpoint().pid)
    before = sum(child.cpu_times()[:2])
    time.sleep(1.5)
    assert sum(child.cpu_times()[:2]) - before <= 0.03


async def test_a_cancelled_generation_frees_the_only_slot(server: ModelServer) -> None:
    model: LocalLLM = server.get_model("chat")
    pieces = model.stream(HELLO, max_tokens=400)
    await anext(pieces)
    await pieces.aclose()
    began = time.monotonic()
    await model.complete([ChatMessage("user", "Hi")], max_tokens=1)
    assert time.monotonic() - began < 5


async def test_a_common_beginning_is_evaluated_once(server: ModelServer) -> None:
    model: LocalLLM = server.get_model("chat")
    system = ChatMessage("system", "You keep a diary of the river and of all that it carries. " * 8)
    await server.warm((system, ChatMessage("user", "Hi")))
    answer = await model.complete([system, ChatMessage("user", "Say yes.")], max_tokens=2)
    assert answer.usage.prompt - answer.usage.cached < 30


async def test_a_prompt_beyond_the_window_is_refused_with_the_figures(server: ModelServer) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        await server.get_model("chat").complete([ChatMessage("user", "word " * 9000)])
    assert caught.value.prompt > caught.value.window > 0


async def test_after_a_kill_the_next_request_is_answered(server: ModelServer) -> None:
    old = keeper(server).endpoint()
    os.kill(old.pid, signal.SIGKILL)
    answer = await server.get_model("chat").complete([ChatMessage("user", "Hi")], max_tokens=2)
    assert answer.text
    new = keeper(server).endpoint()
    assert new.pid != old.pid
    assert new.key != old.key


async def test_a_kill_in_the_middle_of_a_reply_is_told_and_not_said_twice(server: ModelServer) -> None:
    pieces = server.get_model("chat").stream(HELLO, max_tokens=400)
    await anext(pieces)
    os.kill(keeper(server).endpoint().pid, signal.SIGKILL)
    with pytest.raises(ModelFailedError) as caught:
        async for _ in pieces:
            pass
    assert caught.value.started


# --- life and death of the child -------------------------------------------------------------------------------------
_PARENT = """
import sys, time
from pathlib import Path
from retainer.models.supervise import Supervisor, WorkerSpec
keeper = Supervisor(WorkerSpec(Path(sys.argv[1]), "small", 512, 1, 1, 16))
print(keeper.endpoint().pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_the_child_does_not_outlive_a_killed_parent() -> None:
    path = str(ModelStore().path(SMALL))
    command = [sys.executable, "-c", _PARENT, path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as parent:
        assert parent.stderr
        pid = int(parent.stderr.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_stopping_ends_the_child_and_asking_again_starts_it() -> None:
    supervisor = Supervisor(spec(ModelStore().path(SMALL)))
    first = supervisor.endpoint()
    supervisor.stop()
    supervisor.stop()
    assert supervisor.state == "stopped"
    assert not psutil.pid_exists(first.pid)
    assert supervisor.endpoint().generation == 2
    supervisor.stop()


def _engine(folder: Path, code: str) -> dict[str, str]:
    """An environment in which the child finds this instead of the real engine."""
    (folder / "xllamacpp.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def test_a_missing_system_library_is_named_with_its_cure(tmp_path: Path) -> None:
    code = "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    supervisor = Supervisor(spec(tmp_path), environment=_engine(tmp_path, code))
    with pytest.raises(ModelUnavailableError, match="libgomp") as caught:
        supervisor.endpoint()
    assert caught.value.hint == "Run: apt-get install libgomp1"
    assert supervisor.state == "failed"
    supervisor.stop()


def test_an_engine_that_keeps_dying_is_given_up_and_said_so(tmp_path: Path) -> None:
    supervisor = Supervisor(spec(tmp_path), environment=_engine(tmp_path, "import os; os.abort()"))
    with pytest.raises(ModelUnavailableError, match="died 3 times"):
        supervisor.endpoint()
    with pytest.raises(ModelUnavailableError, match="died 3 times"):
        supervisor.endpoint()
    assert "died 3 times" in supervisor.reason
    supervisor.stop()


def test_an_engine_that_never_becomes_ready_is_ended(tmp_path: Path) -> None:
    environment = _engine(tmp_path, "import time; time.sleep(60)")
    supervisor = Supervisor(spec(tmp_path, start_timeout=0.7), environment=environment)
    with pytest.raises(ModelUnavailableError, match="still being loaded"):
        supervisor.endpoint(0.2)
    supervisor.stop()
    assert supervisor.state == "stopped"


async def test_a_damaged_model_file_is_found_out_and_moved_aside(tmp_path: Path) -> None:
    content = b"GGUF" + b"\0" * 2000
    store = ModelStore(tmp_path)
    path = store.blobs / SMALL.sha256
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    stat_now = path.stat()
    store._set_stamp(SMALL, [stat_now.st_size, stat_now.st_mtime_ns, stat_now.st_ino])  # as if it had been right once
    with ModelServer(ModelSettings(model="small", cache=tmp_path, threads=1, offline=True)) as server:
        with pytest.raises(DamagedFileError, match="moved aside") as caught:
            await server.get_model("chat").complete(HELLO)
        assert "retainer fetch" in caught.value.hint
        assert server.state().phase == "failed"
    assert not path.exists()


def test_a_fetched_file_is_write_protected() -> None:
    assert stat.S_IMODE(ModelStore().path(SMALL).stat().st_mode) == 0o444


def test_the_machine_is_read_plausibly() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert 0 < memory_free() <= memory_total()
