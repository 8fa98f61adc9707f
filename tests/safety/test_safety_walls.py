"""The permit rule, read from the source itself: one maker of permits, few modules that touch the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import retainer

SOURCE = Path(retainer.__file__).parent
GUARD = "safety/guard.py"
"""The only module that makes a :class:`~retainer.core.effects.Permit`."""

OUTSIDE = frozenset(
    {
        "socket",
        "ssl",
        "subprocess",
        "multiprocessing",
        "http",
        "urllib.request",
        "smtplib",
        "ftplib",
        "httpx",
        "httpx2",
        "requests",
        "aiohttp",
        "websockets",
        "telegram",
        "xllamacpp",
        "alpaca",
        "yfinance",
        "robin_stocks",
        "mcp",
        "pty",
        "psycopg",
        "distributed",
    }
)
"""Modules through which something leaves this process."""
OUTSIDE_CALLS = frozenset(
    {
        "create_subprocess_exec",
        "create_subprocess_shell",
        "open_connection",
        "start_server",
        "create_connection",
        "create_server",
        "system",
        "popen",
        "fork",
        "execv",
        "execve",
        "posix_spawn",
        "spawnv",
    }
)
ADAPTERS = ("chat/bridges/", "models/", "trading/brokers/", "trading/feeds/", "app/")
"""Where the world is touched, and nowhere else."""
CHILDREN = frozenset({"trading/samples.py", "trading/learned.py", "trading/reports.py"})
"""Modules that may start this very interpreter (to fetch a package, train, draw) and touch nothing else."""
RESOLVERS = frozenset({"safety/net.py"})
"""Modules that may ask this machine's resolver where a name leads, and open no connection."""
STARTS = frozenset({"subprocess", "create_subprocess_exec"})
COMPUTE = {
    "runtime/executors.py": frozenset({"multiprocessing", "distributed"}),
    "runtime/postgres/": frozenset({"psycopg"}),
}
"""Modules that reach the store's own server, or hand pure work to other processes: no effect leaves through them."""
NEVER = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle"})
"""Nothing is unpickled, anywhere."""


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Every module of the package, parsed."""
    return [
        (path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"), str(path)))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


def imported(tree: ast.Module) -> Iterator[str]:
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"} and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def touches(name: str, names: frozenset[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in names)


def permit_makers(tree: ast.Module) -> list[int]:
    """Lines that construct a permit, or take hold of the class in a way that could."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr) and _makes(node)]


def _makes(node: ast.stmt | ast.expr) -> bool:
    match node:
        case ast.Call():
            return _name(node.func) == "Permit"
        case ast.Attribute():
            return node.attr in {"__new__", "__class__"} and _name(node.value) == "Permit"
        case ast.Assign():
            return _name(node.value) == "Permit"
        case ast.ImportFrom():
            return any(alias.name == "Permit" and alias.asname for alias in node.names)
        case ast.ClassDef():
            return any(_name(base) == "Permit" for base in node.bases)
        case _:
            return False


def test_only_the_guard_makes_permits() -> None:
    makers = {path: lines for path, tree in modules() if (lines := permit_makers(tree))}
    assert list(makers) == [GUARD]
    assert len(makers[GUARD]) == 1


def reaches(tree: ast.Module) -> set[str]:
    """What of the world a module reaches for."""
    names = {name for name in imported(tree) if touches(name, OUTSIDE)}
    calls = {_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return names | (calls & OUTSIDE_CALLS)


def test_only_adapters_touch_the_world() -> None:
    found = {path: reaches(tree) for path, tree in modules() if not path.startswith(ADAPTERS)}
    found = {path: names - STARTS if path in CHILDREN else names for path, names in found.items()}
    for start, allowed in COMPUTE.items():
        for path in found:
            if path.startswith(start):
                found[path] = {name for name in found[path] if not touches(name, allowed)}
    found = {path: names - {"socket"} if path in RESOLVERS else names for path, names in found.items()}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("path", sorted(RESOLVERS))
def test_resolvers_only_resolve(path: str) -> None:
    used = {
        node.attr
        for tree in (tree for name, tree in modules() if name == path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _name(node.value) == "socket"
    }
    assert used == {"getaddrinfo", "SOCK_STREAM"}


@pytest.mark.parametrize("path", sorted(CHILDREN))
def test_children_are_this_interpreter_without_a_shell(path: str) -> None:
    source = (SOURCE / path).read_text(encoding="utf-8")
    assert "sys.executable" in source
    assert not any(word in source for word in ("shell=True", "create_subprocess_shell", "os.system"))


def test_nothing_is_unpickled() -> None:
    found = [f"{path}: {name}" for path, tree in modules() for name in imported(tree) if touches(name, NEVER)]
    assert found == []


EFFECTFUL = {"execute": "effect", "apply": "effect", "open": "effect", "send": "chat_id", "execute_trade": "order"}
"""Methods that make something happen, with the argument that tells them from others of that name."""


def unpermitted(tree: ast.Module) -> list[str]:
    found = []
    for owner in ast.walk(tree):
        if not isinstance(owner, ast.ClassDef) or owner.name.endswith("Context"):
            continue  # a handler's context takes wishes; it carries out nothing
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name not in EFFECTFUL:
                continue
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if EFFECTFUL[node.name] in names and "permit" not in names:
                found.append(f"{owner.name}.{node.name}:{node.lineno}")
    return found


def test_every_effectful_method_of_an_adapter_takes_a_permit() -> None:
    found = [f"{path}: {name}" for path, tree in modules() for name in unpermitted(tree)]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "Permit('k', 'd')",
        "effects.Permit('k', 'd')",
        "make = Permit",
        "Permit.__new__(Permit)",
        "from retainer.core.effects import Permit as P",
        "class Mine(Permit): pass",
    ],
)
def test_the_search_for_makers_finds_them(source: str) -> None:
    assert permit_makers(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "from urllib import request",
        "import http.client",
        "def f():\n    import httpx",
        "__import__('socket')",
    ],
)
def test_the_search_for_imports_finds_them(source: str) -> None:
    assert any(touches(name, OUTSIDE) for name in imported(ast.parse(source)))


def test_the_search_for_unpermitted_methods_finds_them() -> None:
    assert unpermitted(ast.parse("class A:\n    async def execute(self, effect): ..."))
    assert not unpermitted(ast.parse("class A:\n    async def execute(self, effect, permit): ..."))
