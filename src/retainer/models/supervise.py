"""Keeps the local engine alive: starts it, knows when it is ready, starts it again when it dies, gives up in time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import structlog

from retainer.models.errors import ModelUnavailableError

State = Literal["stopped", "loading", "ready", "failed"]
_CRASHES = 3
_WITHIN = 300.0
_BACK_OFF = (0.1, 1.0, 4.0)
_ENGINE_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "PYTHONUNBUFFERED": "1"}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What the child is to serve."""

    model: Path
    alias: str
    context: int
    slots: int
    threads: int
    cache_mib: int
    start_timeout: float = 180.0

    def command(self) -> list[str]:
        """The child's command line; the key is not in it."""
        options: dict[str, str | int] = {
            "--model": str(self.model),
            "--alias": self.alias,
            "--context": self.context,
            "--slots": self.slots,
            "--threads": self.threads,
            "--cache-mib": self.cache_mib,
        }
        flat = [part for name, value in options.items() for part in (name, str(value))]
        return [sys.executable, "-m", "retainer.models.worker", *flat]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a ready engine listens. ``generation`` counts its starts; the key is good for this one only."""

    url: str
    key: str
    pid: int
    generation: int

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, pid={self.pid}, generation={self.generation})"


class Supervisor:
    """One child and the thread that watches it. All methods may be called from any thread.

    The thread blocks on the child and costs nothing while all is well. After a crash it starts the child again at
    once, then after 1 s; with the third crash within five minutes the engine counts as failed until :meth:`endpoint`
    is asked again after those five minutes.
    """

    def __init__(self, spec: WorkerSpec, *, environment: dict[str, str] | None = None) -> None:
        self.spec = spec
        self._environment = environment or {}
        self._changed = threading.Condition()
        self._state: State = "stopped"
        self._error: ModelUnavailableError | None = None
        self._endpoint: Endpoint | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._crashes: deque[float] = deque(maxlen=_CRASHES)
        self._generation = 0

    @property
    def state(self) -> State:
        """Where the child stands."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it failed, in words; empty otherwise."""
        return self._error.message if self._error and self._state == "failed" else ""

    @property
    def generation(self) -> int:
        """How many times the child has become ready."""
        return self._generation

    def start(self) -> None:
        """Have the child running; returns at once."""
        with self._changed:
            if self._thread and self._thread.is_alive() and self._wanted:
                return
            self._wanted = True
            self._set("loading")
            self._thread = threading.Thread(target=self._watch, name="model-supervisor", daemon=True)
            self._thread.start()

    def endpoint(self, timeout: float | None = None) -> Endpoint:
        """The ready child's address, waiting for a start or restart that is under way.

        Raises :class:`ModelUnavailableError` with the reason when it cannot be had.
        """
        deadline = time.monotonic() + (self.spec.start_timeout if timeout is None else timeout)
        if self._state == "stopped" or (self._state == "failed" and self._may_try_again()):
            self.start()
        with self._changed:
            while self._state == "loading":
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise ModelUnavailableError("The model is still being loaded.", hint="Ask again in a moment.")
            if self._state == "ready" and self._endpoint:
                return self._endpoint
            raise self._error or ModelUnavailableError("The model's engine is stopped.", hint="Start it again.")

    def stop(self) -> None:
        """End the child; returns when it is gone. Safe to call twice."""
        with self._changed:
            self._wanted = False
            process, thread = self._process, self._thread
            self._changed.notify_all()
        if process:
            _end(process)
        if thread and thread is not threading.current_thread():
            thread.join(10)
        with self._changed:
            self._endpoint = None
            self._set("stopped")

    def _may_try_again(self) -> bool:
        return not self._crashes or time.monotonic() - self._crashes[-1] > _WITHIN

    def _set(self, state: State, error: ModelUnavailableError | None = None) -> None:
        with self._changed:
            self._state = state
            self._error = error
            self._changed.notify_all()

    # --- the watching thread -----------------------------------------------------------------------------------------
    def _watch(self) -> None:
        """Start, wait, start again. The child's parent-death signal is bound to this very thread."""
        while self._wanted:
            error = self._run_once()
            if self._unwanted():
                return
            if error is not None:
                self._set("failed", error)
                return
            now = time.monotonic()
            self._crashes.append(now)
            recent = [at for at in self._crashes if now - at < _WITHIN]
            if len(recent) >= _CRASHES:
                _log.error("model_engine_gave_up", model=self.spec.alias, crashes=len(recent))
                message = f"The model's engine died {len(recent)} times within {_WITHIN / 60:.0f} minutes."
                hint = "See the log; a smaller model needs less memory (RETAINER_MODEL=small)."
                self._set("failed", ModelUnavailableError(message, hint=hint))
                return
            self._set("loading")
            with self._changed:
                self._changed.wait_for(lambda: not self._wanted, _BACK_OFF[len(recent) - 1])

    def _unwanted(self) -> bool:
        return not self._wanted

    def _run_once(self) -> ModelUnavailableError | None:
        """One life of the child. Returns an error that a new start would not cure, or ``None`` after a crash."""
        key = secrets.token_urlsafe(24)
        process = _spawn(self.spec, self._environment)
        with self._changed:
            self._process = process
            wanted = self._wanted
        tail: deque[str] = deque(maxlen=20)
        drain = threading.Thread(target=_drain, args=(process.stderr, tail), daemon=True)
        drain.start()
        overdue = threading.Timer(self.spec.start_timeout, process.kill)
        overdue.daemon = True
        overdue.start()
        try:
            hello = _handshake(process, key) if wanted else {}
            overdue.cancel()
            if "url" in hello:
                with self._changed:
                    self._generation += 1
                    self._endpoint = Endpoint(str(hello["url"]), key, process.pid, self._generation)
                    self._set("ready")
                _log.info("model_engine_ready", model=self.spec.alias, start=self._generation)
                process.wait()
        finally:
            overdue.cancel()
            with self._changed:
                self._endpoint = None
            _end(process)
            drain.join(2)
            _close(process)
        if self._wanted:
            _log.warning("model_engine_ended", model=self.spec.alias, code=process.returncode, last=list(tail)[-3:])
        return _start_error(hello, self.spec) if "error" in hello else None


def _spawn(spec: WorkerSpec, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
        spec.command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_ENGINE_ENVIRONMENT, **environment},
        close_fds=True,
    )


def _handshake(process: subprocess.Popen[bytes], key: str) -> dict[str, Any]:
    """Give the key, read the one line; empty when the child died first."""
    if process.stdin is None or process.stdout is None:
        return {}
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(key.encode() + b"\n")
        process.stdin.flush()
    try:
        hello = json.loads(process.stdout.readline())
    except ValueError:
        return {}
    return hello if isinstance(hello, dict) else {}


def _start_error(hello: dict[str, Any], spec: WorkerSpec) -> ModelUnavailableError:
    reason = str(hello.get("reason", ""))
    if hello["error"] == "engine" and "libgomp" in reason:
        return ModelUnavailableError(
            "The local engine needs the system library libgomp, which is missing.", hint="Run: apt-get install libgomp1"
        )
    if hello["error"] == "engine":
        return ModelUnavailableError(f"The local engine cannot be loaded: {reason}.", hint="Run: make install")
    return ModelUnavailableError(
        f"The engine cannot load {spec.alias}.", hint="Check the file with: retainer fetch; and the free memory."
    )


def _drain(stream: IO[bytes] | None, tail: deque[str]) -> None:
    """Read the child's complaints so that it never blocks on them; the last lines are kept for the log."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            tail.append(line.decode(errors="replace").rstrip()[:300])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its input, which it obeys; SIGKILL after two seconds."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        process.send_signal(signal.SIGTERM)
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
