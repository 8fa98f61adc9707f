"""Secrets never reach a log, a memory or an answer; handles resolve in one place."""

from __future__ import annotations

import base64
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
        "sk-ant-api03-" + "aBcDeFgHiJkLmNoP-RsT_uVwX",
        "sk-proj-" + "aBcDeFgHiJkLmNoP-RsT_uVwX",
        "github_pat_" + "11ABCDEFG0aBcDeFgHiJkLmNoP",
        "xapp-" + "1-A0B1C2D3-456-abcdef",
        "SK" + "a1b2c3d4" * 4,
        "SK" + "abcdefab" * 4,
        "AC" + "a1b2c3d4" * 4 + ":" + "fedcba98" * 4,
        "AC" + "abcdefab" * 4 + "','" + "fedcbafe" * 4,
        "SG." + "aBcDeFgHiJkLmNoPqRsT" + "." + "aBcDeFgHiJkLmNoPqRsT",
        "ya29." + "aBcDeFgHiJkLmNoPqRsT",
        "GOCSPX-" + "aBcDeFgHiJkLmNoPqRsT",
        "ASIA" + "IOSFODNN7EXAMPLE",
        "gsk_" + "aBcDeFgHiJkLmNoPqRsT",
        "xai-" + "aBcDeFgHiJkLmNoPqRsT",
        "pypi-" + "AgEIcHlwaS5vcmcCJDdmM2U5",
        "dckr_pat_" + "aBcDeFgHiJkLmNoPqRs-T",
        "rh-api-" + "7f3e9a51-c0de-4abc-8def-0123456789ab",
        "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    ],
)
def test_a_token_goes_with_nothing_around_it_that_hints_at_one(token: str) -> None:
    scheme, space, _ = token.rpartition(" ")
    assert Redactor().clean(f"<{token}>") == f"<{scheme}{space}{MARK}>"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("APCA-API-SECRET-KEY: abcdefgh", "APCA-API-SECRET-KEY: *"),
        ("X-Api-Key: abcdefgh", "X-Api-Key: *"),
        ("aws_secret_access_key = abc/def+gh", "aws_secret_access_key = *"),
        ("https://example.org/?access_key=abcdefgh&x=1", "https://example.org/?access_key=*&x=1"),
        ("TWILIO_AUTH_TOKEN=abcdefgh", "TWILIO_AUTH_TOKEN=*"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=* psql"),
        ("MYSQL_PWD=hunter2; SMTP_PASS=hunter2", "MYSQL_PWD=*; SMTP_PASS=*"),
        ('password: "two words" and more', 'password: "*" and more'),
        ("passphrase = 'it is a (long) one; really'", "passphrase = '*'"),
        ("'password' => 'a b c'", "'password' => '*'"),
        (r'{"password": "a \" b", "n": 1}', '{"password": "*", "n": 1}'),
        (r"{\"password\": \"two words\", \"token\": \"abcdefgh\"}", r"{\"password\": \"*\", \"token\": \"*\"}"),
        ('password: "two words, and cut\nnext', 'password: "*\nnext'),
        ("Cookie: session=abc; theme=dark\r\nHost: x", "Cookie: *\r\nHost: x"),
        ('{"cookie": "session=abc; theme=dark"}', '{"cookie": "*"}'),
        ("Set-Cookie: session=abc; Secure; HttpOnly", "Set-Cookie: *; Secure; HttpOnly"),
        ("(b'set-cookie', b'session=\"a b\"; Secure')", "(b'set-cookie', b'*; Secure')"),
        ("curl -H 'Cookie: session=abc' https://example.org", "curl -H 'Cookie: *' https://example.org"),
        ("Authorization: token abcdefgh", "Authorization: token *"),
        ("Authorization: ab12cd34", "Authorization: *"),
        ("Authorization = basic abcdefgh", "Authorization = basic *"),
        ("(b'authorization', b'Special ab12cd34')", "(b'authorization', b'Special *')"),
        ("https://hooks.slack.com/services/T00/B00/abcdefghijklmnop and", "https://* and"),
        ("https://discord.com/api/webhooks/1234567/" + "aBcDeFgHiJ" * 4, "https://*"),
        (
            r'{"private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "x": 1}',
            r'{"private_key": "*\n", "x": 1}',
        ),
    ],
)
def test_what_is_named_as_a_secret_goes_and_the_rest_stays(text: str, cleaned: str) -> None:
    expected = cleaned.replace("*", MARK)
    assert Redactor().clean(text) == expected
    assert Redactor().clean(expected) == expected


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
        "Authorization: required by the owner. Cookie: two eggs, and flour. Cookies: none = fine.",
        "He passed: a first-pass review, a boarding pass: gate 12, a pass-through fee of $1.20.",
        "PWD=/home/ann/project OLDPWD=/home/ann",
        "['authorization', 'cookie', 'password', 'token', 'secret', 'api_key']",
        "The private key of the house, an access key of brass: mine.",
        "Orders 7f3e9a51c0de4abc8def0123456789ab and 904837e3-3b76-47ec-b432-046db621571b, ref SKU-2026-11-02-000123.",
        "Account ACBEAR of SKYWORKS, ASIAPACIFICREGIONALXX, SG.Example, ya29.com and xapp-store.",
        "Call +1 (415) 867-5310 or 0049 30 1234567 at 2026-11-02T15:00:00.000000+00:00 for $1,234,567.89.",
        "xai-explainable-artificial-intelligence-for-all, pypi-publish-workflow-configuration",
    ],
)
def test_ordinary_sentences_stay_as_they_are(text: str) -> None:
    assert Redactor().clean(text) == text


UNITS = (
    *("a", "-", "1", "@", "a:", "aB", "A ", "4 ", "PK", "sk-", "npm_", "api_", "eyJ-", "AIza-", "://", "://u:", "u:p@"),
    *("token:", "token ", "basic ", "basic\n", "authorization:", "eyJaaaaaaaa.", "-----BEGIN "),
    *('password:"', "password='a b ", 'password:\\"', "cookie:a=", 'cookie:a="b', ";a=", "pwd=", "authorization: a"),
    *("-----BEGIN PRIVATE KEY-----", "xai-", "SG.a", "AC" + "a" * 32, "https://hooks.slack.com/services/"),
)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("before", ["-", "token:", "basic ", "eyJaaaaaaaa.", "://u:", "-----BEGIN ", "cookie:"])
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


@pytest.mark.parametrize(
    "form",
    [
        "p%c3%a4%20ss%2fw%26%22x%27%3cy%2b",  # small digits
        "p%C3%A4+ss%2Fw%26%22x%27%3Cy%2B",
        "p%c3%a4+ss%2fw%26%22x%27%3cy%2b",  # a form
        "p%C3%A4+ss/w%26%22x%27%3Cy%2B",
        "p%C3%A4%20ss%2Fw%26%22x'%3Cy%2B",  # encodeURIComponent
        r"""pä ss\/w&\"x'<y+""",  # JSON of PHP
        r"""p\u00e4 ss\/w&\"x'<y+""",
        r"""pä ss/w\u0026\"x'\u003cy+""",  # JSON of Go
        "pä ss/w&amp;&quot;x&#x27;&lt;y+",
        "pä ss/w&amp;&#34;x&#39;&lt;y+",
        "pä ss/w&amp;&quot;x&#039;&lt;y+",
        "pä ss/w&amp;\"x'&lt;y+",
        "cMOkIHNzL3cmIngnPHkr",
    ],
)
def test_a_known_secret_goes_however_a_program_spells_it(form: str) -> None:
    redactor = Redactor([" pä ss/w&\"x'<y+ "])
    assert redactor.clean(f"<{form}>") == f"<{MARK}>"


@pytest.mark.parametrize("value", ["~~~???>>", "~~~???>>>", "~~~???>>>>"])
def test_a_known_secret_goes_whole_in_base64(value: str) -> None:
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        written = encode(value.encode()).decode()
        for form in (written, written.rstrip("="), written.replace("/", "\\/")):
            assert Redactor([value]).clean(f"({form})") == f"({MARK})"


def test_a_short_secret_is_not_looked_for_in_base64() -> None:
    text = f"say {base64.b64encode(b'letmein').decode()}"
    assert Redactor(["letmein"]).clean(text) == text


def test_a_secret_that_no_encoding_can_hold_goes_as_well() -> None:
    assert Redactor(["half \ud800 of it"]).clean("<half \ud800 of it>") == f"<{MARK}>"


def test_secrets_that_begin_alike_go_whole() -> None:
    redactor = Redactor(["token", "token-of-ann", "token-of-ann-and-bob", "tea-time"])
    assert redactor.clean("token-of-ann-and-bob, token-of-ann, token, tea-time") == ", ".join([MARK] * 4)


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
