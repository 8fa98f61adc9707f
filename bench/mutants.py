"""Small faults put into the guard and the risk check one at a time: do the tests notice?

    .venv/bin/python bench/mutants.py                # all of them, about a quarter of an hour on two cores
    .venv/bin/python bench/mutants.py --each 20      # of every module as many, drawn with a seed

A mutant is one changed comparison, operator, constant or boolean in one module. Each runs in a forked child of an
interpreter that has pytest loaded, on that module's own tests, until the first failure. Survivors are listed with their
line. Ends with 1 when fewer than 90 % are killed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from rich.progress import Progress

from retainer.trading.kernel import layout

ROOT = Path(__file__).resolve().parents[1]
SAFETY = "tests/safety/test_safety_"
TARGETS: dict[str, tuple[str, ...]] = {
    "retainer.safety.policy": ("policy", "guard", "runtime", "threats"),
    "retainer.core.orders": ("policy", "guard", "runtime", "threats"),
    "retainer.safety.identity": ("people", "approvals", "guard", "threats"),
    "retainer.safety.approvals": ("approvals", "guard", "threats"),
    "retainer.trading.kernel.judge": (
        "tests/trading_engine/test_trading_engine_judge.py",
        "tests/trading_engine/test_trading_engine_risk.py",
    ),
    "retainer.trading.risk": ("tests/trading_engine/test_trading_engine_risk.py",),
}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
}
PRELOADED = ("hypothesis", "pydantic", "structlog", "numpy", "httpx", "telegram")
"""Loaded before forking, so that no child has to; none of them may load a module that is mutated."""
LIMIT = 90
"""Seconds after which a mutant counts as killed: it hangs."""


@dataclass(frozen=True)
class Mutant:
    """One fault: the module's source with it, where it is and what it is."""

    module: str
    line: int
    what: str
    source: str


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves one module from a text instead of its file."""

    def __init__(self, name: str, source: str, origin: str) -> None:
        self._name, self._source, self._origin = name, source, origin

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._origin)

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._origin
        exec(compile(self._source, self._origin, "exec"), module.__dict__)


def changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """What can be made wrong at ``node``, with the way to do it on a copy."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            if type(operator) in SWAPS:
                other = SWAPS[type(operator)]
                yield f"{_name(operator)} -> {other.__name__}", _set("ops", other, index)
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        other = SWAPS[type(node.op)]
        yield f"{_name(node.op)} -> {other.__name__}", _set("op", other, None)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not x -> not not x", lambda each: setattr(each, "operand", ast.UnaryOp(ast.Not(), each.operand))  # type: ignore[attr-defined]  # a UnaryOp
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda each: setattr(each, "value", not each.value)  # type: ignore[attr-defined]  # a Constant
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{node.value} -> {node.value + 1}", lambda each: setattr(each, "value", each.value + 1)  # type: ignore[attr-defined]  # a Constant
    elif isinstance(node, ast.If):
        yield "if x -> if not x", lambda each: setattr(each, "test", ast.UnaryOp(ast.Not(), each.test))  # type: ignore[attr-defined]  # an If


def _name(operator: ast.AST) -> str:
    return type(operator).__name__


def _set(field: str, other: type[ast.AST], index: int | None) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        if index is None:
            setattr(node, field, other())
        else:
            getattr(node, field)[index] = other()

    return change


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module; annotations, assertions, texts and what would change nothing are left alone."""
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Assert) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for field in ("annotation", "returns", "decorator_list"):
            for part in _parts(getattr(node, field, None)):
                skipped |= {id(inner) for inner in ast.walk(part)}
    nodes = list(ast.walk(tree))
    for index, node in enumerate(nodes):
        if id(node) in skipped or _same(node):
            continue
        for what, change in changes(node):
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[index])
            ast.fix_missing_locations(changed)
            yield Mutant(module, getattr(node, "lineno", 0), what, ast.unparse(changed))


def _same(node: ast.AST) -> bool:
    """``p + QUANTITY`` where that column is number 0: taking it away instead names the same place."""
    adds = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)
    return adds and isinstance(node.right, ast.Name) and vars(layout).get(node.right.id) == 0  # type: ignore[attr-defined]  # a BinOp


def _parts(value: object) -> list[ast.AST]:
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, ast.AST)]


def _path(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


@dataclass(frozen=True)
class Child:
    """A running set of tests on one mutant (``None``: on the source as it is)."""

    module: str
    mutant: Mutant | None
    pid: int
    reader: int
    until: float

    def end(self) -> bool:
        """Whether its tests failed; it is gone afterwards."""
        try:
            ready, _, _ = select.select([self.reader], [], [], 0)
            answer = os.read(self.reader, 1) if ready else b""
        finally:
            os.close(self.reader)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        return answer != b"\x00"


def start(module: str, mutant: Mutant | None) -> Child:
    """Run the module's tests in a child that sees the mutant in its place, until the first failure."""
    source = _path(module).read_text(encoding="utf-8") if mutant is None else mutant.source
    tests = [name if "/" in name else f"{SAFETY}{name}.py" for name in TARGETS[module]]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        result = 1
        try:
            sys.meta_path.insert(0, Finder(module, source, str(_path(module))))
            result = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", *tests]))
        finally:
            os.write(writer, bytes([min(result, 255)]))
            os._exit(0)
    os.close(writer)
    return Child(module, mutant, child, reader, time.monotonic() + LIMIT)


def judge(work: Sequence[tuple[str, Mutant | None]], at_once: int) -> Iterator[tuple[str, Mutant | None, bool]]:
    """Every mutant with whether it was killed, ``at_once`` side by side."""
    waiting = list(work)
    running: list[Child] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(start(*waiting.pop(0)))
        pause = max(0.0, min(child.until for child in running) - time.monotonic())
        ready, _, _ = select.select([child.reader for child in running], [], [], pause)
        for child in list(running):
            if child.reader in ready or time.monotonic() >= child.until:
                running.remove(child)
                yield child.module, child.mutant, child.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=0, help="mutants per module, drawn at random (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="modules whose name holds this")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="children (default: one per core)")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in PRELOADED:
        importlib.import_module(name)
    if loaded := TARGETS.keys() & sys.modules.keys():
        print(f"loaded too early to be changed: {sorted(loaded)}")
        return 1
    chosen = [name for name in TARGETS if options.only in name]
    every = {name: list(mutants(name)) for name in chosen}
    work: list[tuple[str, Mutant | None]] = []
    for name in chosen:
        each = options.each or len(every[name])
        work += [
            (name, mutant) for mutant in random.Random(options.seed).sample(every[name], min(each, len(every[name])))
        ]
    made, dead = Counter(name for name, _ in work), Counter[str]()
    survivors: list[Mutant] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(auto_refresh=False) as progress,
    ):  # a thread would be forked with us
        os.environ["RETAINER_KERNEL_CACHE"] = folder  # no machine code of a mutant may outlive it
        task = progress.add_task("mutants", total=len(work))
        for name, _, failed in judge([(name, None) for name in chosen], options.at_once):
            if failed:
                print(f"{name}: its tests fail without any fault")
                return 1
        for name, mutant, failed in judge(work, options.at_once):
            progress.update(task, advance=1, refresh=True)
            dead[name] += failed
            if mutant is not None and not failed:
                survivors.append(mutant)
    for name in chosen:
        print(f"{name:32} {dead[name]:4} of {made[name]:4} killed ({len(every[name])} possible)")
    for mutant in sorted(survivors, key=lambda each: (each.module, each.line)):
        print(f"  survived: {mutant.module}:{mutant.line}  {mutant.what}")
    total, gone = made.total(), dead.total()
    print(f"{gone} of {total} killed: {100 * gone / max(total, 1):.1f} %")
    return 0 if total and gone >= 0.9 * total else 1


if __name__ == "__main__":
    sys.exit(main())
