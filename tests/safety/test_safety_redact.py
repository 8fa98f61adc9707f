"""Secrets never reach a log, a memory or an answer; handles resolve in one place."""

from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import time
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


BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\\n", " "])
def test_a_private_key_goes_whole(kind: str, line_end: str) -> None:
    key = line_end.join([f"-----BEGIN {kind}-----", BODY, f"{BODY[:20]}==", f"-----END {kind}-----"])
    assert Redactor().clean(f"here: {key}{line_end}thanks") == f"here: {MARK}{line_end}thanks"
    assert Redactor().clean(f"{key}\n{key}") == f"{MARK}\n{MARK}"


def test_a_private_key_that_is_cut_off_goes_to_the_end_of_the_text() -> None:
    assert (
        Redactor().clean(f"cat key.pem\n-----BEGIN EC PRIVATE KEY-----\n{BODY}\n{BODY[:9]}") == f"cat key.pem\n{MARK}"
    )


def test_a_private_key_of_pgp_goes_and_a_certificate_stays() -> None:
    block = f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BODY}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----"
    assert Redactor().clean(f"{block}.") == f"{MARK}."
    public = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----"
    assert Redactor().clean(public) == public


@pytest.mark.parametrize(
    "token",
    [
        "AIza" + "Sy" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFg",
        "PK" + "A7BCDEFGHIJKLMNOPQ",
        "AK" + "ABCDEFGHIJKLMNOP7Q",
        "PK" + "A7BCDEFGHIJKLMNOPQRSTUVW",
        "AKIA" + "IOSFODNNEXAMPLEX",
        "eyJhbGciOiJIUzI." + "eyJzdWIiOiIxMjM." + "abc",
        "ghr_" + "aBcDeFgHiJkLmNoPqRsT",
        "whsec_" + "aBcDeFgHiJkLmNoPqRsT+/==",
        "npm_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ",
        "Bearer " + "aBcDeFgHiJ",
        "basic " + "dXNlcjpwYXNz",
        "basic " + "abcdefghijk=",
    ],
)
def test_a_token_goes_with_nothing_around_it_that_hints_at_one(token: str) -> None:
    scheme, space, _ = token.rpartition(" ")
    assert Redactor().clean(f"<{token}>") == f"<{scheme}{space}{MARK}>"


def test_in_a_header_any_credential_goes() -> None:
    assert Redactor().clean("Authorization: Basic abcdefghijkl") == f"Authorization: Basic {MARK}"
    assert Redactor().clean('{"authorization": "bearer abcdefgh"}') == f'{{"authorization": "bearer {MARK}"}}'


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://ann:pa55@example.org/x", f"https://ann:{MARK}@example.org/x"),
        ("postgresql://me:with@sign@db:5432/x", f"postgresql://me:{MARK}@db:5432/x"),
        ("redis://:correct-horse@cache", f"redis://:{MARK}@cache"),
        (r'{"url": "https:\/\/ann:pa55@example.org"}', rf'{{"url": "https:\/\/ann:{MARK}@example.org"}}'),
    ],
)
def test_a_url_loses_its_password_and_keeps_the_rest(url: str, cleaned: str) -> None:
    assert Redactor().clean(url) == cleaned
    assert Redactor().clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "Here is some basic information about the basic internationalisation of TypeScript.",
        "A basic 20-minute walk, then basic training; bearer certificates were common in 1970-1980.",
        "Basic JavaScript is enough for this, and basic read/write access.",
        "Die AKTIENGESELLSCHAFTEN und der PKWKAUFVERTRAGSMUSTER liegen bei.",
        "PKO Bank pays 4.5 percent, AKAM fell by 3.",
        "The PRIVATE KEY is a novel; she wrote BEGIN and END on the wall -----.",
        "Set npm_config_registry_and_some_more_words_after_it and npm_lifecycle_script first.",
        "See http://localhost:8080/@ann, http://[::1]:8080/ or write to ann@example.org.",
        '{"site": "https://example.org:8443", "mail": "ann@example.org"}',
        "Docs: https://example.org:8443?to=ann@example.org and https://example.org/a:b@c",
        "Meet at 12:30, platform 4: bring the tickets - and the dog :-)",
        "Order 7f3e9a51-c0de-4abc-8def-0123456789ab was filled at 192.01.",
        "The password is on the fridge, and the token of my thanks is a cake.",
        "A whsec_ value starts every web hook secret, an AIza one is for maps, and ghr_ renews.",
        "Ask for the API key, then reload; the secret ingredient is patience.",
    ],
)
def test_ordinary_sentences_stay_as_they_are(text: str) -> None:
    assert Redactor().clean(text) == text


UNITS = (
    *("a", "-", "1", "@", "a:", "aB", "A ", "4 ", "PK", "sk-", "npm_", "api_", "eyJ-", "AIza-", "://", "://u:", "u:p@"),
    *("token:", "token ", "basic ", "basic\n", "authorization:", "eyJaaaaaaaa.", "-----BEGIN "),
    "-----BEGIN PRIVATE KEY-----",
)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("before", ["-", "token:", "basic ", "eyJaaaaaaaa.", "://u:", "-----BEGIN "])
def test_a_long_text_takes_time_in_step_with_its_length(before: str, unit: str) -> None:
    """Whoever sends a message chooses its text: nothing of 100 kB may hold the service up."""
    text = before + unit * (100_000 // len(unit))
    redactor, began = Redactor(), time.process_time()
    redactor.clean(text)
    assert time.process_time() - began < 1.0, "what is quadratic takes minutes; what is linear some 20 ms"


def test_the_url_quoted_and_escaped_forms_go_too() -> None:
    redactor = Redactor(['pa ss/w"ord:1'])
    for form in ('pa ss/w"ord:1', "pa%20ss/w%22ord%3A1", "pa%20ss%2Fw%22ord%3A1", 'pa ss/w\\"ord:1'):
        assert redactor.clean(f"<{form}>") == f"<{MARK}>"


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_known_secret_goes_as_json_writes_it(ensure_ascii: bool) -> None:
    value = 'café\t"😀"\\x'
    redactor = Redactor([value])
    written = json.dumps({"note": f"it is {value}."}, ensure_ascii=ensure_ascii)
    assert redactor.clean(written) == f'{{"note": "it is {MARK}."}}'


def test_a_known_secret_goes_where_json_escapes_have_capital_digits() -> None:
    assert Redactor(["café😀"]).clean(r"<caf\u00E9\uD83D\uDE00>") == f"<{MARK}>"


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
