"""The authenticator: set up on this machine by a person who shows that the app works, and found by the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retainer.app.config import Settings, load_settings
from retainer.app.folder import DataFolder
from retainer.app.phones import _first_database
from retainer.app.totp_setup import run_totp, totp_secret
from retainer.core.clock import ManualClock
from retainer.core.errors import NotFoundError, RefusedError
from retainer.safety import totp
from retainer.safety.secrets import Secrets

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("RETAINER_DATA", str(tmp_path / "data"))
    return load_settings()


@pytest.fixture
def folder(settings: Settings) -> DataFolder:
    made = DataFolder(settings.data).make()
    _first_database(settings, made)
    return made


def code(secret: str, clock: ManualClock) -> str:
    return totp.code_at(secret, int(clock.now().timestamp()) // 30)


def typing(answers: Iterator[str] | Callable[[], str]) -> Callable[[str], str]:
    return lambda _prompt: answers() if callable(answers) else next(answers)


def test_it_counts_only_after_a_code_was_typed_and_is_shown_once(
    settings: Settings, folder: DataFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = totp.new_secret()
    monkeypatch.setattr(totp, "new_secret", lambda: fresh)
    clock, current = ManualClock(NOW), totp_secret(Secrets(folder.secrets))
    assert current() is None
    with pytest.raises(RefusedError, match="not set up"):
        run_totp(settings, remove=False, read=typing(lambda: "000000"), clock=clock)
    assert current() is None
    answers = iter(["111111", code(fresh, clock)])
    assert run_totp(settings, remove=False, read=typing(answers), clock=clock) == 0
    assert current() == fresh
    assert fresh[:4] in capsys.readouterr().out
    assert (folder.secrets / "totp").stat().st_mode & 0o777 == 0o600
    found = [path for path in folder.root.rglob("*") if path.is_file() and fresh.encode() in path.read_bytes()]
    assert found == [folder.secrets / "totp"]


def test_changing_or_removing_it_needs_its_code_and_a_code_counts_once(settings: Settings, folder: DataFolder) -> None:
    held, clock = totp.new_secret(), ManualClock(NOW)
    secrets = Secrets(folder.secrets)
    secrets.store("secret:totp", held)
    with pytest.raises(RefusedError, match="present code"):
        run_totp(settings, remove=True, read=typing(lambda: "000000"), clock=clock)
    used = code(held, clock)
    with pytest.raises(RefusedError, match="not set up"):
        run_totp(settings, remove=False, read=typing(iter([used, "1", "2", "3"])), clock=clock)
    with pytest.raises(RefusedError, match="present code"):
        run_totp(settings, remove=True, read=typing(lambda: used), clock=clock)
    clock.advance(seconds=60)
    assert run_totp(settings, remove=True, read=typing(lambda: code(held, clock)), clock=clock) == 0
    assert totp_secret(secrets)() is None


def test_a_secret_open_to_others_counts_as_none(folder: DataFolder) -> None:
    secrets = Secrets(folder.secrets)
    secrets.store("secret:totp", totp.new_secret()).chmod(0o644)
    assert totp_secret(secrets)() is None


def test_it_needs_a_person_and_a_data_folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(RefusedError, match="person"):
        run_totp(settings, remove=False)
    with pytest.raises(NotFoundError, match="retainer up"):
        run_totp(settings, remove=False, read=typing(lambda: ""))
