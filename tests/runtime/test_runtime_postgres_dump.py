"""A dump of the database that is put back: noticed at the start, and nothing that waited in it is carried out."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.app.running import Service, chatting, until
from tests.runtime.postgres_server import PostgresServer, binaries
from tests.runtime.test_runtime_postgres_service import rows

from retainer.app.config import load_settings
from retainer.app.folder import read_json
from retainer.app.store import open_view
from retainer.runtime.safe_mode import read_safe_mode


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database()


def tool(name: str, *arguments: str) -> None:
    folder = binaries()
    assert folder is not None
    done = subprocess.run([folder / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        names = sql.SQL(", ").join(sql.Identifier(row[0]) for row in found)
        connection.execute(sql.SQL("TRUNCATE {}").format(names))


def in_safe_mode(folder: Path, url: str) -> bool:
    with open_view(load_settings(data=folder, store={"url": url})) as view:
        return read_safe_mode(view) is not None


def asked(folder: Path, env: dict[str, str], url: str) -> str:
    """A first life: an order that waits for its yes. Returns the id of the request."""
    with Service(folder, env) as service, chatting(service) as chat:
        until(lambda: rows(folder, url, "SELECT id FROM account"))
        return str(chat.say("buy 5 AAPL", r"approve (?P<id>[0-9a-z]{8})\)")["id"])


@pytest.mark.parametrize("how", ["into another database", "over the same one", "as its data alone"])
def test_a_dump_put_back_is_noticed_and_what_waited_in_it_is_kept_back(
    postgres: PostgresServer, url: str, tmp_path: Path, how: str
) -> None:
    folder, dump = tmp_path / "data", str(tmp_path / "retainer.dump")
    card = asked(folder, {"RETAINER_STORE__URL": url}, url)
    assert not in_safe_mode(folder, url)
    tool("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={url}")
    seen = max(row["seq"] for row in rows(folder, url, "SELECT seq FROM event"))
    if how == "into another database":
        url = postgres.database()
        tool("pg_restore", f"--dbname={url}", dump)
    else:
        with Service(folder, {"RETAINER_STORE__URL": url}) as service, chatting(service) as chat:
            chat.say(f"approve {card}", r"Accepted: buy 5 AAPL")
            until(lambda: read_json(folder / "recorded.json")["events"] > seen)
            service.end(signal.SIGKILL)
        if how == "over the same one":
            tool("pg_restore", "--clean", f"--dbname={url}", dump)
        else:  # all ids of the server are the same then; only how far the records go is not
            empty(url)
            tool("pg_restore", "--data-only", "--disable-triggers", f"--dbname={url}", dump)
    env = {"RETAINER_STORE__URL": url}
    with Service(folder, env) as service, chatting(service) as chat:
        assert in_safe_mode(folder, url)
        assert "records_lost" in (folder / "logs" / "retainer.log").read_text()
        chat.say("what is 6 * 7?", r"6 \* 7 = 42")
        chat.say(f"approve {card}", r"(?i)restore")
        fresh = max(row["seq"] for row in rows(folder, url, "SELECT seq FROM event WHERE kind = 'message'"))
        assert fresh > seen + 1_000_000
        assert rows(folder, url, "SELECT id FROM paper_order WHERE strategy <> 'sma-trend'") == []
        assert service.run("restore", "--confirm", "--yes").returncode == 0
        until(lambda: not in_safe_mode(folder, url))
    with Service(folder, env) as service, chatting(service) as chat:
        chat.say("what is 6 * 6?", r"6 \* 6 = 36")
        assert not in_safe_mode(folder, url), "once confirmed it is over"
    assert rows(folder, url, "SELECT id FROM paper_order WHERE strategy <> 'sma-trend'") == []


def test_a_start_on_the_same_records_is_none_of_that(url: str, tmp_path: Path) -> None:
    folder, env = tmp_path / "data", {"RETAINER_STORE__URL": url}
    for number in (signal.SIGKILL, signal.SIGTERM):
        with Service(folder, env) as service:
            service.end(number)
        assert not in_safe_mode(folder, url)


def test_another_database_is_not_taken_for_an_older_one(postgres: PostgresServer, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    asked(folder, {"RETAINER_STORE__URL": url}, url)
    fresh = postgres.database()
    with Service(folder, {"RETAINER_STORE__URL": fresh}):
        assert not in_safe_mode(folder, fresh)
