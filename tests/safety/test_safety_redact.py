"""Secrets never reach a log, a memory or an answer; handles resolve in one place."""

from __future__ import annotations

import io
import logging
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.safety.redact import MARK, RedactingFilter, Redactor, luhn, protect_logging, redact, redact_processor
from retainer.safety.secrets import Secrets

TOKEN = "1234567890:AAE-abcdefghijklmnopqrstuvwxyz_12345"


@pytest.mark.parametrize(
    "text",
    [
        f"POST https://api.example.org/bot{TOKEN}/getUpdates",
        f"token is {TOKEN}.",
        "Authorization: Bearer abcDEF123456.ghi-jkl",
        "key sk-abcdEFGH1234567890abcd",
        "hf_abcdefghijklmnopqrstuv",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdefgh",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
        "?api_key=abcdef123456&x=1",
        '{"password": "hunter2hunter2"}',
        "card 4111 1111 1111 1111 thanks",
        "card 5500-0000-0000-0004",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    cleaned = Redactor().clean(text)
    assert MARK in cleaned
    for part in (TOKEN, "abcDEF123456", "abcdEFGH1234567890", "hunter2", "1111 1111", "abcdef123456", "0000-0000"):
        assert part not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "Bought 5 AAPL at $192.01 on 2026-11-02, cost $960.05.",
        "order e12:order filled 1762095600 epoch",
        "chat -1001234567890 says 12:30:45",
        "4111 1111 1111 1112 is no card",
        "https://example.org/path?page=2",
        "the token expired yesterday",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    assert Redactor().clean(text) == text


def test_the_url_quoted_and_escaped_forms_go_too() -> None:
    redactor = Redactor(['pa ss/w"ord:1'])
    for form in ('pa ss/w"ord:1', "pa%20ss/w%22ord%3A1", "pa%20ss%2Fw%22ord%3A1", 'pa ss/w\\"ord:1'):
        assert redactor.clean(f"<{form}>") == f"<{MARK}>"


def test_too_short_a_secret_is_refused_without_being_quoted() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Redactor(["abc"])
    assert "abc" not in str(caught.value)


_secret = st.text(min_size=4, max_size=20).filter(lambda s: len(s.strip()) >= 4)


@given(st.lists(_secret, min_size=1, max_size=4), st.lists(st.text(max_size=12), max_size=4), st.data())
def test_registered_secrets_never_leak(values: list[str], around: list[str], data: st.DataObject) -> None:
    redactor = Redactor(values)
    pieces = data.draw(st.permutations([*values, *values, *around]))
    cleaned = redactor.clean("".join(pieces))
    assert not [value for value in values if value in cleaned]
    nested = redactor.clean_value({"a": [pieces, {"b": tuple(pieces)}], pieces[0]: 1})
    for value in values:
        assert not any(value in text for text in _texts(nested))


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def test_marks_never_spell_a_secret() -> None:
    for value in ("secret", "[secret]", "cret]", "x[sec"):
        assert value not in Redactor([value, "abcd"]).clean(f"x{value}abcd{value}x")


def test_a_library_that_logs_everything_leaks_nothing() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger = logging.Logger("library", logging.DEBUG)
    logger.addHandler(handler)
    assert protect_logging(logger) == 1
    assert protect_logging(logger) == 0
    logger.info("HTTP Request: %s %s", "POST", f"https://api.example.org/bot{TOKEN}/sendMessage")
    logger.debug({"url": TOKEN})
    logger.info("wrong arguments %d", TOKEN)
    logger.warning("extra", extra={"request": {"url": TOKEN}})
    try:
        raise RuntimeError(f"cannot reach /bot{TOKEN}/x")
    except RuntimeError:
        logger.exception("failed with %s", ValueError(TOKEN), stack_info=True)
    text = out.getvalue()
    assert TOKEN not in text
    assert TOKEN.split(":")[1] not in text
    assert text.count(MARK) >= 5
    assert "Traceback" in text


def test_a_record_is_clean_for_every_later_handler() -> None:
    try:
        raise RuntimeError(TOKEN)
    except RuntimeError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "%s", (TOKEN,), sys.exc_info())
    RedactingFilter().filter(record)
    assert TOKEN not in repr(vars(record))
    assert logging.Formatter().format(record)


def test_the_structlog_processor_cleans_values_and_nested_ones() -> None:
    event = {"event": f"bot{TOKEN}", "error": RuntimeError(TOKEN), "n": 3, "deep": {"list": [TOKEN]}}
    assert TOKEN not in repr(redact_processor(None, "info", event))
    assert event["n"] == 3


class TestSecrets:
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> Secrets:
        return Secrets(tmp_path / "secrets", env={})

    def test_it_is_kept_for_its_owner_only(self, secrets: Secrets) -> None:
        path = secrets.store("secret:telegram", "a-long-canary-token-1")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert secrets.resolve("secret:telegram").reveal() == "a-long-canary-token-1"
        assert secrets.names() == ["telegram"]
        assert secrets.remove("telegram")
        assert secrets.find("telegram") is None

    def test_resolving_registers_it_for_redaction(self, tmp_path: Path) -> None:
        folder = tmp_path / "secrets"
        folder.mkdir()
        (folder / "broker").write_text("canary-from-a-file\n")
        (folder / "broker").chmod(0o600)
        secret = Secrets(folder, env={}).resolve("secret:broker")
        assert "canary" not in redact(f"x {secret.reveal()} y")

    def test_nothing_prints_it(self, secrets: Secrets) -> None:
        secrets.store("telegram", "a-long-canary-token-2")
        secret = secrets.resolve("telegram")
        assert "canary" not in f"{secret} {secret!r} {secrets!r} {[secret]}"
        with pytest.raises(TypeError):
            pickle.dumps(secret)

    def test_the_environment_comes_first(self, tmp_path: Path) -> None:
        secrets = Secrets(tmp_path, env={"RETAINER_SECRET_MY_KEY": "from-the-environment"})
        secrets.store("my-key", "from-the-file")
        assert secrets.resolve("secret:my-key").reveal() == "from-the-environment"

    def test_a_file_open_to_others_is_refused(self, secrets: Secrets) -> None:
        secrets.store("telegram", "a-long-canary-token-3").chmod(0o644)
        with pytest.raises(InvalidInputError, match="chmod 600"):
            secrets.resolve("telegram")

    def test_a_link_is_not_followed(self, secrets: Secrets, tmp_path: Path) -> None:
        secrets.store("telegram", "a-long-canary-token-4")
        (secrets.folder / "other").symlink_to(secrets.folder / "telegram")
        with pytest.raises(InvalidInputError, match="plain file"):
            secrets.resolve("other")

    @pytest.mark.parametrize("handle", ["secret:../x", "secret:", "A", "a/b", TOKEN, ".hidden", "x" * 70])
    def test_a_handle_is_a_plain_name_and_a_pasted_token_is_not_quoted(self, secrets: Secrets, handle: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            secrets.resolve(handle)
        assert TOKEN not in str(caught.value)

    def test_a_missing_one_says_where_to_put_it(self, secrets: Secrets) -> None:
        with pytest.raises(NotFoundError, match="RETAINER_SECRET_TELEGRAM"):
            secrets.resolve("telegram")

    @pytest.mark.parametrize("value", ["", "ab", "two\nlines", "x" * 20_000])
    def test_what_is_no_token_is_not_stored(self, secrets: Secrets, value: str) -> None:
        with pytest.raises(InvalidInputError):
            secrets.store("telegram", value)
        assert secrets.names() == []


def test_luhn() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
