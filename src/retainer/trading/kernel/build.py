"""The two twins of the kernels: the plain functions as they are written, and the same functions compiled by numba.

Compiled code is kept in the user's cache folder under a name made from the source of every kernel file and the versions
of Python and numba: a changed kernel never meets old machine code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from retainer.trading.kernel import execute, fill, judge, layout, loop, many, numbers, orders, path, propose

MODULES = (layout, numbers, orders, execute, path, fill, judge, propose, loop, many)

INLINED = frozenset(
    {
        *("load", "idle", "note", "has_room", "fill", "open_row", "close_row", "value_account", "push_peak"),
        *("walk", "expire", "at_open", "end_order", "paid", "possible", "affordable", "book", "follow_up"),
        *("propose", "stirs", "rebalance", "give_up", "wanted", "room", "offer"),
        *("permission_bits", "is_duplicate", "size_bits", "state_bits"),
    }
)
"""Functions with one place that matters from which they are called: a call passes two dozen arguments."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The functions that callers use, of one twin."""

    compiled: bool
    trade: Callable[..., int]
    fill: Callable[..., None]
    propose: Callable[..., None]
    take_stock: Callable[..., None]
    judge: Callable[..., int]
    sweep: Callable[..., int]


PLAIN = Kernels(
    compiled=False,
    trade=loop.trade,
    fill=fill.fill,
    propose=propose.propose,
    take_stock=judge.take_stock,
    judge=judge.judge,
    sweep=many.sweep,
)


def numba_installed() -> bool:
    """Whether numba could be loaded, without loading it (which takes a second)."""
    return importlib.util.find_spec("numba") is not None


def ready() -> bool:
    """Whether this process has loaded the compiled kernels already."""
    return compiled.cache_info().currsize > 0


@lru_cache(maxsize=1)
def compiled() -> Kernels:
    """The compiled twin; the first call in a process loads it, the very first compiles it (some ten seconds)."""
    import numba

    config: Any = importlib.import_module("numba.core.config")
    njit: Any = numba.njit

    namespace: dict[str, Any] = {"__name__": loop.__name__, "__builtins__": __builtins__, "math": math}
    functions: dict[str, types.FunctionType] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, types.FunctionType):
                if value.__module__ == module.__name__:
                    functions[name] = value
            elif not name.startswith("__") and not isinstance(value, types.ModuleType):
                namespace[name] = value
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder(numba.__version__))
    try:
        for name, function in functions.items():
            twin = types.FunctionType(function.__code__, namespace, name, function.__defaults__)
            twin.__qualname__ = name
            twin.__module__ = loop.__name__
            namespace[name] = njit(twin, cache=True, nogil=True, _nrt=False, forceinline=name in INLINED)
    finally:
        config.CACHE_DIR = before
    return Kernels(
        compiled=True,
        trade=namespace["trade"],
        fill=namespace["fill"],
        propose=namespace["propose"],
        take_stock=namespace["take_stock"],
        judge=namespace["judge"],
        sweep=namespace["sweep"],
    )


def cache_folder(version: str) -> Path:
    """Where compiled code is kept: ``RETAINER_KERNEL_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    root = os.environ.get("RETAINER_KERNEL_CACHE")
    base = Path(root) if root else user_cache_path("retainer") / "kernels"
    return base / source_digest(version)


def source_digest(version: str) -> str:
    """Changes with every kernel file, with Python and with numba."""
    digest = hashlib.sha256(f"{sys.version}|{version}".encode())
    for module in MODULES:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:16]
