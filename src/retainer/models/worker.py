"""The child process that holds llama.cpp (``python -m retainer.models.worker``). Started by :mod:`.supervise` only.

It reads its API key from the first line of standard input, serves on a random port of the loopback interface, says
where in one line of JSON on standard output, and ends when standard input closes, so that it never outlives its parent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any, NoReturn

_EXIT_ENGINE = 3
_EXIT_MODEL = 4


def main(argv: list[str] | None = None) -> NoReturn:
    """Run until standard input closes or SIGTERM; leaves through ``os._exit``, native threads do not delay it."""
    options = _arguments(argv)
    said = _take_stdout()
    _die_with_parent()
    _last_to_survive()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C of the terminal is the parent's business
    key = sys.stdin.readline().strip()
    if not key:
        os._exit(0)
    watch = threading.Thread(target=_leave_with_stdin, daemon=True)
    watch.start()
    try:
        import xllamacpp
    except ImportError as error:
        _say(said, {"error": "engine", "reason": str(error)})
        os._exit(_EXIT_ENGINE)
    try:
        server = xllamacpp.Server(_params(xllamacpp, options, key))
    except RuntimeError as error:
        _say(said, {"error": "model", "reason": str(error)})
        os._exit(_EXIT_MODEL)
    _say(said, {"url": str(server.listening_address).rstrip("/"), "pid": os.getpid()})
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    watch.join()
    os._exit(0)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m retainer.models.worker")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens in each slot")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache-mib", type=int, required=True, help="memory for prompts of idle conversations")
    return parser.parse_args(argv)


def _params(engine: Any, options: argparse.Namespace, key: str) -> Any:
    """llama.cpp's settings. Its defaults leave the door open, use 8 GiB for prompts and log every request."""
    params = engine.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = "http://127.0.0.1"
    params.cors_origins_explicit = True
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.offline = True
    params.n_ctx = options.context * options.slots
    params.n_parallel = options.slots
    params.n_ubatch = 256
    params.cache_ram_mib = options.cache_mib
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.n_threads_http = options.slots + 2
    params.sse_ping_interval = 10
    params.use_jinja = True
    params.verbosity = -1
    return params


def _take_stdout() -> int:
    """Keep standard output for our one line; whatever the engine prints goes to standard error."""
    said = os.dup(1)
    os.dup2(2, 1)
    return said


def _say(said: int, line: dict[str, Any]) -> None:
    os.write(said, (json.dumps(line) + "\n").encode())


def _leave_with_stdin() -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(4096):
            pass
    os._exit(0)


def _die_with_parent() -> None:
    """On Linux the kernel ends us when the thread that started us is gone, also if we are stuck in native code."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)


def _last_to_survive() -> None:
    """When memory runs out, this process goes first, never the one with the money."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


if __name__ == "__main__":
    main()
