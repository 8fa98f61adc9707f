"""Small faults put into the guard and the risk check one at a time: do the tests notice?

    .venv/bin/python bench/mutants.py                  # a seeded sample, about 15 minutes on two cores
    .venv/bin/python bench/mutants.py --each 1000      # all of them

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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAFETY = "tests/safety/test_safety_"
TARGETS: dict[str, tuple[str, ...]] = {
    "retainer.safety.policy": ("policy", "guard", "runtime", "threats"),
    "retainer.safety.identity": ("people", "approvals", "guard", "threats"),
    "retainer.safety.approvals": ("approvals", "guard", "threats"),
    "retainer.trading.kernel.judge": ("tests/trading_engine/test_trading_engine_risk.py",),
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
PRELOADED = ("hypothesis", "pydantic", "structlog", "numpy", "httpx", "telegram", "retainer.runtime.runtime")
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
    """Every mutant of a module; annotations, assertions and texts are left alone."""
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Assert) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for field in ("annotation", "returns", "decorator_list"):
            for part in _parts(getattr(node, field, None)):
                skipped |= {id(inner) for inner in ast.walk(part)}
    nodes = list(ast.walk(tree))
    for index, node in enumerate(nodes):
        if id(node) in skipped:
            continue
        for what, change in changes(node):
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[index])
            ast.fix_missing_locations(changed)
            yield Mutant(module, getattr(node, "lineno", 0), what, ast.unparse(changed))


def _parts(value: object) -> list[ast.AST]:
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, ast.AST)]


def _path(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def killed(module: str, source: str, tests: Sequence[str]) -> bool:
    """Whether the tests fail on this source, in a child that is gone afterwards."""
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
    try:
        ready, _, _ = select.select([reader], [], [], LIMIT)
        answer = os.read(reader, 1) if ready else b""
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answer != b"\x00"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=40, help="mutants per module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=15.0, help="stop drawing further mutants after this time")
    parser.add_argument("--only", default="", help="modules whose name holds this")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in PRELOADED:
        importlib.import_module(name)
    if loaded := TARGETS.keys() & sys.modules.keys():
        print(f"loaded too early to be changed: {sorted(loaded)}")
        return 1
    until = time.monotonic() + 60 * options.minutes
    chosen = {name: tests for name, tests in TARGETS.items() if options.only in name}
    total = dead = 0
    survivors: list[Mutant] = []
    for number, (module, names) in enumerate(chosen.items()):
        tests = [name if "/" in name else f"{SAFETY}{name}.py" for name in names]
        if killed(module, _path(module).read_text(encoding="utf-8"), tests):
            print(f"{module}: its tests fail without any fault")
            return 1
        every = list(mutants(module))
        drawn = random.Random(options.seed).sample(every, min(options.each, len(every)))
        share = time.monotonic() + (until - time.monotonic()) / (len(chosen) - number)
        count = gone = 0
        for mutant in drawn:
            if time.monotonic() > share:
                break
            count += 1
            if killed(module, mutant.source, tests):
                gone += 1
            else:
                survivors.append(mutant)
        total, dead = total + count, dead + gone
        print(f"{module:32} {gone:4} of {count:4} killed ({len(every)} possible)", flush=True)
    for mutant in survivors:
        print(f"  survived: {mutant.module}:{mutant.line}  {mutant.what}")
    print(f"{dead} of {total} killed: {100 * dead / max(total, 1):.1f} %")
    return 0 if total and dead >= 0.9 * total else 1


if __name__ == "__main__":
    sys.exit(main())
