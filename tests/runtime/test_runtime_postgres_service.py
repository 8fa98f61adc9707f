"""``retainer up`` on PostgreSQL, as a person has it: talk, order, kill, start again; nothing is lost or doubled."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import Service, chatting, retainer, until
from tests.runtime.postgres_server import PostgresServer

from retainer.app.config import load_settings
from retainer.app.store import database_url, open_view
from retainer.core.errors import InvalidInputError
from retainer.safety.audit import verify
from retainer.safety.redact import default_redactor


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database()


def rows(folder: Path, url: str, sql: str) -> list[Mapping[str, Any]]:
    with open_view(load_settings(data=folder, store={"url": url})) as view:
        return list(view.query(sql))


def test_a_conversation_and_an_order_survive_kill_9(url: str, tmp_path: Path) -> None:
    folder, env = tmp_path / "data", {"RETAINER_STORE__URL": url}
    with Service(folder, env) as service, chatting(service) as chat:
        chat.say("what is 7 * 6?", r"7 \* 6 = 42")
        until(lambda: rows(folder, url, "SELECT id FROM account"))
        card = chat.say("buy 5 AAPL", r"\*Buy 5 AAPL\*.*?approve (?P<id>[0-9a-z]{8})\)")
        service.end(signal.SIGKILL)
    assert not list(tmp_path.glob("data/*.db"))
    with Service(folder, env) as service, chatting(service) as chat:
        chat.say(f"approve {card['id']}", r"Accepted: buy 5 AAPL")
        service.end(signal.SIGKILL)
    with Service(folder, env) as service, chatting(service) as chat:
        chat.say("what is 6 * 6?", r"6 \* 6 = 36")
        chat.say(f"approve {card['id']}", "already approved")  # the fill may be told in between
        done = service.run("status")
        assert done.returncode == 0, done.stderr
        assert "Trading: running" in done.stdout
        doctor = service.run("doctor")
        assert "the server answers" in doctor.stdout, doctor.stdout + doctor.stderr
    asked = rows(folder, url, "SELECT key, state FROM effect WHERE tool = 'paper.order' AND was_asked = 1")
    assert [row["state"] for row in asked] == ["done"]
    accepted = rows(folder, url, "SELECT effect_key FROM paper_order WHERE strategy <> 'sma-trend'")
    assert [row["effect_key"] for row in accepted] == [asked[0]["key"]]
    heard = rows(folder, url, "SELECT b.bytes FROM event e JOIN body b ON b.id = e.body_id WHERE kind = 'message'")
    assert sum("7 * 6" in row["bytes"] for row in heard) == 1
    with open_view(load_settings(data=folder, store={"url": url})) as view:
        assert verify(view).ok


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    env = {"RETAINER_STORE__URL": "postgresql://me:hunter2hunter2@127.0.0.1:1/retainer"}
    done = retainer(tmp_path / "data", "up", env=env)
    assert done.returncode in {1, 2}
    assert "retainer on 127.0.0.1 cannot be reached" in done.stderr
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("hunter2" in text for text in [done.stdout, done.stderr, *written])


def test_the_address_may_be_a_secret_and_its_password_is_redacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAINER_SECRET_DATABASE", "postgresql://me:correct%20horse%20staple@host/retainer")
    settings = load_settings(data=tmp_path, store={"url": "secret:database"})
    assert database_url(settings).startswith("postgresql://me:correct")
    assert "correct horse staple" not in default_redactor().clean("the password is correct horse staple")
    plain = load_settings(data=tmp_path, store={"url": "postgresql://me:correct%20horse%20staple@host/retainer"})
    assert "correct" not in repr(plain)


def test_an_address_of_another_kind_is_refused_in_words_and_unseen(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match='begins with "postgresql://" or "secret:"') as refused:
        load_settings(data=tmp_path, store={"url": "mysql://me:hunter2hunter2@host/db"})
    assert "hunter2" not in str(refused.value)
