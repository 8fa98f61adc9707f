"""Where heavy, independent work runs: threads, processes, or the workers of a Dask cluster, behind one interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from retainer.core.errors import InvalidInputError, RetainerError

P = ParamSpec("P")
T = TypeVar("T")

RETRIES: Final = 3
"""How often a task is begun anew on another Dask worker when the one that ran it dies."""
_SCHEMES: Final = ("tcp://", "tls://", "ucx://", "inproc://", "ws://", "wss://")
_CONNECT_SECONDS: Final = 10.0
_HINT: Final = 'Write "threads", "processes", or the address of a Dask scheduler, e.g. "tcp://10.0.0.5:8786".'


class NoExecutorError(RetainerError):
    """What should run the work is not installed or not reachable."""


def cores() -> int:
    """Processor cores this process may use (not those of the whole machine when it is confined to fewer)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_executor(where: str = "threads", *, workers: int | None = None, retries: int = RETRIES) -> Executor:
    """An executor to use in a ``with`` block; leaving the block lets go of everything it started.

    ``where``:

    - ``threads``: for kernels that release the interpreter's lock (compiled with ``nogil``); starts at once.
    - ``processes``: for work that is Python all through; function and arguments must be picklable.
    - the address of a Dask scheduler: its workers, wherever they run. A task whose worker dies is begun anew elsewhere
      up to ``retries`` times, so it must not have effects of its own.

    ``workers`` is how many run at once here (default: the cores this process may use); a Dask cluster has its own.
    Raises :class:`~retainer.core.errors.InvalidInputError` for another ``where`` and :class:`NoExecutorError` when Dask
    is not installed or the scheduler does not answer within 10 seconds.
    """
    if workers is not None and workers < 1:
        raise InvalidInputError(f"{workers} workers cannot do anything.", hint="Ask for at least one.")
    count = workers or cores()
    if where == "threads":
        return ThreadPoolExecutor(count, thread_name_prefix="sweep")
    if where == "processes":
        return _processes(count)
    if where.startswith(_SCHEMES):
        return _DaskExecutor(where, retries)
    raise InvalidInputError(f"There is no executor {where!r}.", hint=_HINT)


def _processes(count: int) -> ProcessPoolExecutor:
    """Children begun from a clean process: a fork of this one would inherit its threads' locks."""
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    return ProcessPoolExecutor(count, multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn"))


class _DaskExecutor(Executor):
    """Dask's own executor, with the client's life tied to it."""

    def __init__(self, address: str, retries: int) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise NoExecutorError(
                "Dask is not installed.", hint='Install it: `pip install "retainer[dask]"`, or use "processes".'
            ) from error
        try:
            self._client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, ValueError) as error:
            raise NoExecutorError(
                f"The Dask scheduler at {address} does not answer.",
                hint="Start it: `dask scheduler`, or check the address.",
            ) from error
        # Calls with equal arguments are separate tasks, as with every other executor.
        self._pool = self._client.get_executor(retries=retries, pure=False)  # type: ignore[no-untyped-call]

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = self._pool.submit(fn, *args, **kwargs)
        return future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As the built-in executors': results in the order of the arguments. ``chunksize`` tasks travel as one."""
        if chunksize <= 1:
            found: Iterator[T] = self._pool.map(fn, *iterables, timeout=timeout)
            return found
        calls: Sequence[tuple[Any, ...]] = list(zip(*iterables, strict=False))
        chunks = [calls[at : at + chunksize] for at in range(0, len(calls), chunksize)]
        batches: Iterator[list[T]] = self._pool.map(_batch, [fn] * len(chunks), chunks, timeout=timeout)
        return (result for batch in batches for result in batch)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait=wait and not cancel_futures)
        self._client.close()  # type: ignore[no-untyped-call]


def _batch(fn: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    return [fn(*call) for call in calls]
