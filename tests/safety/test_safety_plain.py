"""The plain functions: URLs, paths, SQL, web hooks, approvals, audit with an anchor; each against its attacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError, RetainerError
from retainer.safety import plain, totp
from retainer.safety.net import address_reason
from retainer.safety.plain import LocalStore, Principal

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
PUBLIC = "93.184.216.34"


def public(_host: str, _port: int) -> list[str]:
    return [PUBLIC]


@pytest.fixture
def store() -> Iterator[LocalStore]:
    opened = LocalStore()
    yield opened
    opened.close()


@pytest.fixture
def owner(store: LocalStore) -> Principal:
    return store.write_now(lambda tx: plain.ensure_local_owner(tx, NOW))


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "https://example.org/a?b=c",
            "http://example.org",
            "https://example.org:443/",
            "https://münchen.example/",
            f"http://{PUBLIC}/",
            "https://[2606:2800:220:1:248:1893:25c8:1946]/",
            f"https://[2001:470:1f0b::5efe:{PUBLIC}]/",
        ],
    )
    def test_public_ones_are_pinned_to_what_was_checked(self, url: str) -> None:
        found = plain.check_url(url, resolve=public)
        assert found.address == PUBLIC or "[" in url
        assert found.port in {80, 443}

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://example.org/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "javascript:alert(1)",
            "example.org",
            "",
            "http://",
            "http:///x",
            "https://example.org:8080/",
            "http://example.org:443/",
            "https://example.org:99999/",
            "https://user@example.org/",
            "https://user:pw@example.org/",
            "https://example.org\\@127.0.0.1/",
            "https://exa mple.org/",
            "https://example.org/\r\nHost: x",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://printer.local/",
            "http://metadata.google.internal/",
            "http://router.lan/",
            "http://127.0.0.1/",
            "http://①②⑦.⓪.⓪.①/",
            "http://127。0。0。1/",
            "http://127.0.0.1./",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://100.100.100.200/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1%25eth0]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[::127.0.0.1]/",
            "http://[fec0::1]/",
            "http://[3fff::1]/",
            "http://[3fff:fff::1]/",
            "http://[2001:470:1f0b::5efe:10.0.0.1]/",
            "http://[2001:470:1f0b::200:5efe:10.0.0.1]/",
            "http://8.8.8.8%2e.example.org/",
            "http://8.8.8.8%00.example.org/",
            "http://[2606:4700:4700::1111%25eth0]/",
            f"https://example.org/{'a' * 3000}",
            None,
            5,
        ],
    )
    def test_everything_else_is_refused(self, url: str) -> None:
        with pytest.raises(RefusedError):
            plain.check_url(url, resolve=public)

    @pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "rebound.example"])
    def test_what_counts_is_where_a_name_leads(self, host: str) -> None:
        with pytest.raises(RefusedError, match="public internet"):
            plain.check_url(f"http://{host}/", resolve=lambda _host, _port: ["127.0.0.1"])

    def test_one_private_address_among_public_ones_is_enough_to_refuse(self) -> None:
        with pytest.raises(RefusedError, match=r"10\.0\.0\.1"):
            plain.check_url("https://example.org/", resolve=lambda _host, _port: [PUBLIC, "10.0.0.1"])

    def test_a_name_without_an_address_is_refused(self) -> None:
        def fails(_host: str, _port: int) -> list[str]:
            raise OSError("no such host")

        def nothing(_host: str, _port: int) -> list[str]:
            return []

        for resolve in (fails, nothing):
            with pytest.raises(RefusedError, match=r"resolved|address"):
                plain.check_url("https://example.org/", resolve=resolve)

    def test_each_redirect_is_checked_anew(self) -> None:
        first = plain.check_url("https://example.org/a/b", resolve=public)
        assert plain.check_redirect(first, "../c", hops=1, resolve=public).url == "https://example.org/c"
        for location in ("http://example.org/", "//127.0.0.1/", "https://169.254.169.254/", "file:///etc/passwd"):
            with pytest.raises(RefusedError):
                plain.check_redirect(first, location, hops=1, resolve=public)
        nonsense: list[Any] = ["http://[", "//[x", None, 5, b"/c", ["/c"]]
        for location in nonsense:
            with pytest.raises(RefusedError, match="not a URL"):
                plain.check_redirect(first, location, hops=1, resolve=public)
        with pytest.raises(RefusedError, match="redirects"):
            plain.check_redirect(first, "/c", hops=6, resolve=public)

    def test_this_machines_resolver_is_used_where_none_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_kwargs: [(2, 1, 6, "", ("127.0.0.1", 443))])
        with pytest.raises(RefusedError, match=r"127\.0\.0\.1"):
            plain.check_url("https://example.org/")

    def test_what_is_no_address_is_no_public_one(self) -> None:
        assert address_reason("nonsense") == "not an address"
        assert address_reason(PUBLIC) == ""


class TestPaths:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        (root / "in").mkdir(parents=True)
        (root / "in" / "note.txt").write_text("inside")
        (tmp_path / "secret.txt").write_text("outside")
        (root / "link.txt").symlink_to(tmp_path / "secret.txt")
        (root / "up").symlink_to(tmp_path)
        (root / "own").symlink_to(root / "in")
        os.mkfifo(root / "pipe")
        return root

    def test_files_below_the_folder_may_be_named(self, root: Path) -> None:
        assert plain.check_path(root, "in/note.txt") == (root / "in" / "note.txt").resolve()
        assert plain.check_path(root, "./in//new/file.txt").name == "file.txt"
        with plain.open_inside(root, "in/note.txt") as file:
            assert file.read() == b"inside"
        with plain.open_inside(root, "in/note.txt", write=True) as file:
            file.write(b"new")
        assert (root / "in" / "note.txt").read_text() == "new"

    @pytest.mark.parametrize(
        "given",
        [
            "",
            ".",
            "..",
            "../secret.txt",
            "in/../../secret.txt",
            "/etc/passwd",
            "//etc/passwd",
            "~/x",
            "C:\\x",
            "C:/x",
            "in\\note.txt",
            "a\x00b",
            "a\nb",
            "link.txt",
            "up/secret.txt",
            "own/note.txt",
            "pipe",
            "a/" * 40 + "b",
            "x" * 300,
            "half a character \ud800",
            None,
            5,
            b"note.txt",
        ],
    )
    def test_everything_else_is_refused_both_when_checked_and_when_opened(self, root: Path, given: str) -> None:
        with pytest.raises(RefusedError):
            plain.check_path(root, given)
        with pytest.raises(RefusedError):
            plain.open_inside(root, given)

    def test_a_link_put_there_after_the_check_is_not_followed(self, root: Path, tmp_path: Path) -> None:
        plain.check_path(root, "in/late.txt")
        (root / "in" / "late.txt").symlink_to(tmp_path / "secret.txt")
        for write in (False, True):
            with pytest.raises(RefusedError):
                plain.open_inside(root, "in/late.txt", write=write)
        assert (tmp_path / "secret.txt").read_text() == "outside"

    def test_a_missing_file_is_said_to_be_missing(self, root: Path) -> None:
        with pytest.raises(NotFoundError):
            plain.open_inside(root, "in/none.txt")

    def test_a_folder_that_is_missing_or_none_is_named(self, root: Path) -> None:
        with pytest.raises(NotFoundError, match="There is no folder"):
            plain.open_inside(root / "none", "note.txt")
        (root / "circle").symlink_to(root / "circle")
        for none in (root / "in" / "note.txt", root / "circle"):
            with pytest.raises(RefusedError, match=r"The folder .* cannot be used"):
                plain.open_inside(none, "note.txt", write=True)

    @pytest.mark.parametrize("given", ["in", "pipe", "in/note.txt/more", "in/none/more.txt"])
    def test_what_is_no_file_is_not_written(self, root: Path, given: str) -> None:
        before = sorted(root.rglob("*"))
        with pytest.raises((RefusedError, NotFoundError)) as caught:
            plain.open_inside(root, given, write=True)
        assert repr(given) in str(caught.value)
        assert sorted(root.rglob("*")) == before

    def test_no_descriptor_is_left_open(self, root: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for given in ("in/none.txt", "link.txt", "pipe", "up/secret.txt"):
            with pytest.raises(RetainerError):
                plain.open_inside(root, given)
        assert len(os.listdir("/proc/self/fd")) == before


class TestSql:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        path = tmp_path / "data.db"
        connection = sqlite3.connect(path)
        connection.executescript(
            "CREATE TABLE fill (id INTEGER, symbol TEXT, price REAL); CREATE TABLE secret (token TEXT);"
            "INSERT INTO fill VALUES (1, 'AAPL', 10.0), (2, 'IBM', 20.5); INSERT INTO secret VALUES ('hidden');"
            "CREATE VIEW peek AS SELECT token FROM secret;"
        )
        connection.close()
        return path

    @pytest.mark.parametrize(
        ("sql", "expected"),
        [
            ("SELECT symbol FROM fill ORDER BY id", [{"symbol": "AAPL"}, {"symbol": "IBM"}]),
            ("WITH f AS (SELECT price FROM fill) SELECT round(sum(price), 1) AS s FROM f", [{"s": 30.5}]),
            ("select count(*) as n from fill where symbol = ?", [{"n": 1}]),
            ("VALUES (1)", [{"column1": 1}]),
            ("SELECT 1 AS x;", [{"x": 1}]),
        ],
    )
    def test_one_reading_statement_runs(self, database: Path, sql: str, expected: list[dict[str, Any]]) -> None:
        params = ("IBM",) if "?" in sql else ()
        assert plain.read_sql(database, sql, params, tables={"fill"}) == expected

    @pytest.mark.parametrize(
        "sql",
        [
            "DELETE FROM fill",
            "UPDATE fill SET price = 0",
            "INSERT INTO fill VALUES (3, 'X', 1)",
            "DROP TABLE fill",
            "SELECT 1; DROP TABLE fill",
            "SELECT 1; SELECT 2",
            "WITH x AS (SELECT 1) DELETE FROM fill",
            "WITH x AS (SELECT 1) INSERT INTO fill SELECT 1, 'a', 2 FROM x",
            "REPLACE INTO fill VALUES (1, 'X', 1)",
            "PRAGMA user_version = 5",
            "PRAGMA table_info(fill)",
            "ATTACH DATABASE '/tmp/x.db' AS x",
            "VACUUM INTO '/tmp/copy.db'",
            "SELECT load_extension('/tmp/x.so')",
            "SELECT writefile('/tmp/x', 'y')",
            "SELECT readfile('/etc/passwd')",
            "SELECT randomblob(1000000000)",
            "SELECT zeroblob(1000000000)",
            "SELECT token FROM secret",
            "SELECT (SELECT token FROM secret)",
            "SELECT * FROM fill UNION SELECT token, 1, 2 FROM secret",
            "SELECT * FROM fill WHERE symbol IN (SELECT token FROM secret)",
            "SELECT token FROM peek",
            "SELECT sql FROM sqlite_master",
            "SELECT * FROM pragma_table_info('fill')",
            "/* x */ DELETE FROM fill",
            "EXPLAIN SELECT 1",
            "BEGIN",
            "nonsense",
            "",
        ],
    )
    def test_nothing_else_does_and_the_tables_stay_as_they_are(self, database: Path, sql: str) -> None:
        before = database.read_bytes()
        with pytest.raises(RefusedError):
            plain.read_sql(database, sql, tables={"fill"})
        assert database.read_bytes() == before

    def test_the_check_alone_runs_nothing(self, database: Path) -> None:
        connection = sqlite3.connect(database)
        try:
            plain.check_sql(connection, "SELECT symbol FROM fill WHERE id = ?", tables={"fill"})
            with pytest.raises(RefusedError, match="more than read"):
                plain.check_sql(connection, "WITH x AS (SELECT 1) DELETE FROM fill")
            with pytest.raises(RefusedError, match="secret may not be read"):
                plain.check_sql(connection, "SELECT token FROM secret", tables={"fill"})
            with pytest.raises(RefusedError, match="load_extension may not be used"):
                plain.check_sql(connection, "SELECT load_extension('x')")
            with pytest.raises(InvalidInputError):
                plain.check_sql(connection, "SELECT " + "1," * 9_000 + "1")
            connection.execute("DELETE FROM fill")  # the authorizer is gone again
        finally:
            connection.close()

    def test_an_endless_statement_ends(self, database: Path) -> None:
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        with pytest.raises(RefusedError, match="too long"):
            plain.read_sql(database, endless, seconds=0.05)

    @pytest.mark.parametrize(
        "large",
        ["replace(printf('%200000d', x), ' ', 'aaaaaaaa')", "printf('%200000d', x)", ", ".join(["x"] * 200)],
        ids=len,
    )
    def test_a_statement_cannot_fill_the_memory(self, database: Path, large: str) -> None:
        many = f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {large} FROM n"
        with pytest.raises(RefusedError, match=r"too large|too big|too many columns"):
            plain.read_sql(database, many)

    def test_many_rows_are_cut(self, database: Path) -> None:
        many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
        assert len(plain.read_sql(database, many, rows=7)) == 7


class TestWebHooks:
    def test_twilios_own_example(self) -> None:
        """The worked example of Twilio's page on request validation."""
        form = {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675310",
            "Digits": "1234",
            "From": "+14158675310",
            "To": "+18005551212",
        }
        url = "https://example.com/myapp.php?foo=1&bar=2"
        text = url + "".join(name + form[name] for name in sorted(form))
        signature = base64.b64encode(hmac.new(b"12345", text.encode(), hashlib.sha1).digest()).decode()
        assert plain.twilio_signed("12345", url, form, signature)
        assert plain.twilio_signed("12345", url, list(form.items()), signature)
        assert not plain.twilio_signed("12345", url, {**form, "Digits": "9999"}, signature)
        assert not plain.twilio_signed("12345", url.replace("foo=1", "foo=2"), form, signature)
        assert not plain.twilio_signed("54321", url, form, signature)
        assert not plain.twilio_signed("", url, form, base64.b64encode(hmac.new(b"", b"", "sha1").digest()).decode())

    @staticmethod
    def twilio(text: str) -> str:
        return base64.b64encode(hmac.new(b"12345", text.encode(), hashlib.sha1).digest()).decode()

    def test_twilio_signs_each_value_of_a_field_once_and_empty_ones_too(self) -> None:
        url = "https://example.com/hook"
        signature = self.twilio(f"{url}AEmptyMediaaMediabTo+1")
        pairs = [("To", "+1"), ("Media", "b"), ("Media", "a"), ("Media", "b"), ("Empty", ""), ("A", "")]
        assert plain.twilio_signed("12345", url, pairs, signature)
        parsed = {"To": ["+1"], "Media": ["b", "a", "b"], "Empty": [""], "A": [""]}
        assert plain.twilio_signed("12345", url, parsed, signature)
        assert not plain.twilio_signed("12345", url, {**parsed, "Media": ["b"]}, signature)

    @pytest.mark.parametrize(
        ("bare", "full"),
        [
            ("https://example.com/hook?a=1", "https://example.com:443/hook?a=1"),
            ("http://example.com/", "http://example.com:80/"),
            ("https://ann:pw@example.com/", "https://ann:pw@example.com:443/"),
            ("https://[2001:db8::1]/", "https://[2001:db8::1]:443/"),
        ],
    )
    def test_a_port_of_twilios_url_counts_whether_it_is_written_or_not(self, bare: str, full: str) -> None:
        for given in (bare, full):
            for written in (bare, full):
                assert plain.twilio_signed("12345", given, {"A": "b"}, self.twilio(f"{written}Ab"))
        other = full.replace(":443", ":8443").replace(":80/", ":8080/")
        assert plain.twilio_signed("12345", other, {"A": "b"}, self.twilio(f"{bare}Ab"))
        assert not plain.twilio_signed("12345", bare, {"A": "b"}, self.twilio(f"{other}Ab"))

    def test_of_json_twilio_signs_a_digest_in_the_url(self) -> None:
        body = b'{"a": 1}'
        url = f"https://example.com/hook?x=1&bodySHA256={hashlib.sha256(body).hexdigest()}"
        assert plain.twilio_signed("12345", url, body, self.twilio(url))
        assert not plain.twilio_signed("12345", url, body + b" ", self.twilio(url))
        assert not plain.twilio_signed("12345", url, body, self.twilio(url + "x"))
        assert not plain.twilio_signed("12345", url, {}, self.twilio(url)), "nobody looked at the body"
        for unsigned in ("https://example.com/hook", "https://example.com/?bodySHA256=", "https://x/?bodySHA256=é"):
            assert not plain.twilio_signed("12345", unsigned, body, self.twilio(unsigned))

    @pytest.mark.parametrize("header", [None, "", "é", "\ud800", "\x00", "=" * 1000, b"bytes", 5])
    def test_no_header_is_an_error(self, header: Any) -> None:
        assert not plain.twilio_signed("12345", "https://example.com/", {"A": "b"}, header)
        assert not plain.meta_signed("app", b"\xff\x00", header)
        assert not plain.telegram_signed("a-long-token", header)
        stamp = str(int(NOW.timestamp()))
        assert not plain.timed_signed("k", b"\xff", stamp, header, NOW)
        assert not plain.timed_signed("k", b"\xff", header, "00", NOW)

    @pytest.mark.parametrize(
        "form",
        [
            {"A": None},
            {"A": {"b": 1}},
            {"A": ["b", 1]},
            {1: "b"},
            {"A": "\ud800"},
            [("A",)],
            ["Ab1"],
            None,
            5,
            "A=b",
            [1],
        ],
        ids=ascii,
    )
    def test_no_body_is_an_error(self, form: Any) -> None:
        for text in ("", "Ab", "A?"):
            signature = self.twilio(f"https://example.com/{text}")
            assert not plain.twilio_signed("12345", "https://example.com/", form, signature)

    @pytest.mark.parametrize(
        "url", ["", "https://[", "https://example.com:port/", "https://example.com:99999/", "/hook\ud800"]
    )
    def test_no_address_is_an_error(self, url: str) -> None:
        assert not plain.twilio_signed("12345", url, {"A": "b"}, self.twilio("Ab?"))

    @pytest.mark.parametrize("message", [None, 5, {"a": 1}, "half \ud800", "a\0b"], ids=ascii)
    def test_what_is_no_id_was_never_sent(self, store: LocalStore, message: Any) -> None:
        assert not store.write_now(lambda tx: plain.first_time(tx, "meta", message, NOW))

    def test_meta_signs_the_bytes(self) -> None:
        body = b'{"entry": []}'
        signature = "sha256=" + hmac.new(b"app", body, hashlib.sha256).hexdigest()
        assert plain.meta_signed("app", body, signature)
        for bad in (signature[7:], signature[:-1] + "x", "", "sha256=", signature.upper(), "\ud800", None):
            assert not plain.meta_signed("app", body, bad)
        assert not plain.meta_signed("app", body + b" ", signature)
        assert not plain.meta_signed("", body, "sha256=" + hmac.new(b"", body, hashlib.sha256).hexdigest())

    def test_telegram_repeats_the_secret(self) -> None:
        assert plain.telegram_signed("a-long-token", "a-long-token")
        assert not plain.telegram_signed("a-long-token", "a-long-tokem")
        assert not plain.telegram_signed("", "")
        assert not plain.telegram_signed("a-long-token", None)  # the header is missing

    def test_hooks_of_ones_own_are_signed_with_their_time(self) -> None:
        stamp = str(int(NOW.timestamp()))
        signature = hmac.new(b"k", stamp.encode() + b".body", hashlib.sha256).hexdigest()
        assert plain.timed_signed("k", b"body", stamp, signature, NOW + timedelta(seconds=299))
        assert not plain.timed_signed("k", b"body", stamp, signature, NOW + timedelta(seconds=301))
        assert not plain.timed_signed("k", b"body", stamp, signature, NOW - timedelta(seconds=301))
        assert not plain.timed_signed("k", b"body", str(int(stamp) + 1), signature, NOW)
        assert not plain.timed_signed("k", b"body", "now", signature, NOW)
        assert not plain.timed_signed("k", b"body", None, None, NOW)

    def test_a_message_is_taken_once(self, store: LocalStore) -> None:
        def take(message: str, at: datetime = NOW, sent: datetime | None = None) -> bool:
            return store.write_now(lambda tx: plain.first_time(tx, "twilio", message, at, sent_at=sent))

        assert take("SM1")
        assert not take("SM1")
        assert not take("SM1", NOW + timedelta(days=6))
        assert take("SM2", sent=NOW - timedelta(minutes=4))
        assert not take("SM3", sent=NOW - timedelta(minutes=6))
        assert not take("SM4", sent=NOW + timedelta(minutes=6))
        assert not take("")

    def test_it_is_remembered_over_a_restart(self, tmp_path: Path) -> None:
        for expected in (True, False):
            store = LocalStore(tmp_path / "seen.db")
            assert store.write_now(lambda tx: plain.first_time(tx, "meta", "wamid.1", NOW)) is expected
            store.close()


class TestApprovals:
    CALL: ClassVar[dict[str, str]] = {"to": "ann", "amount": "5.00"}

    def ask(self, store: LocalStore, level: str = "tap", scope: str = "trade") -> Any:
        return store.write_now(lambda tx: plain.ask(tx, "pay", self.CALL, NOW, level=level, scope=scope))

    def spend(self, store: LocalStore, request: Any, at: datetime = NOW, **changes: str) -> bool:
        args = {**self.CALL, **changes}
        return store.write_now(lambda tx: plain.spend(tx, request.id, "pay", args, at))

    def answer(self, store: LocalStore, request: Any, who: Principal | None, **more: Any) -> str:
        at = more.pop("at", NOW)
        return store.write_now(lambda tx: plain.answer(tx, request.id, who, at, **more))

    def test_a_yes_is_spent_once_on_exactly_that_call(self, store: LocalStore, owner: Principal) -> None:
        request = self.ask(store)
        assert not self.spend(store, request)
        assert self.answer(store, request, owner) == "approved"
        assert not self.spend(store, request, amount="5.01")
        assert not store.write_now(lambda tx: plain.spend(tx, request.id, "send", self.CALL, NOW))
        assert self.spend(store, request)
        assert not self.spend(store, request)

    @pytest.mark.parametrize("wrong", ["no", "reject", [0], 1, None])
    def test_what_is_no_yes_is_a_no(self, store: LocalStore, owner: Principal, wrong: Any) -> None:
        request = self.ask(store)
        assert store.write_now(lambda tx: plain.answer(tx, request.id, owner, NOW, yes=wrong)) == "rejected"
        assert not self.spend(store, request)

    def test_a_no_stays_a_no(self, store: LocalStore, owner: Principal) -> None:
        request = self.ask(store)
        assert self.answer(store, request, owner, yes=False) == "rejected"
        assert self.answer(store, request, owner) == "already"
        assert not self.spend(store, request)

    def test_it_ends_with_its_time(self, store: LocalStore, owner: Principal) -> None:
        late = NOW + timedelta(minutes=5)
        request = self.ask(store)
        assert self.answer(store, request, owner, at=late) == "expired"
        assert self.answer(store, request, owner) == "expired"
        request = self.ask(store)
        assert self.answer(store, request, owner) == "approved"
        assert not self.spend(store, request, at=late)

    def test_only_who_may(self, store: LocalStore, owner: Principal) -> None:
        request = self.ask(store)
        guest = store.write_now(lambda tx: plain.add_device(tx, "telegram", "7", "propose", NOW, name="Guest"))
        for who in (None, guest, Principal("owner", "Owner", "admin", "telegram", "666")):
            assert self.answer(store, request, who) == "not_allowed"
        assert self.answer(store, request, owner) == "approved"
        assert store.write_now(lambda tx: plain.answer(tx, "none", owner, NOW)) == "unknown"

    def test_a_yes_dies_with_the_device_that_gave_it(self, store: LocalStore, owner: Principal) -> None:
        phone = store.write_now(
            lambda tx: plain.add_device(tx, "telegram", "42", "trade", NOW, person_id=owner.person_id)
        )
        request = self.ask(store)
        assert self.answer(store, request, phone) == "approved"
        store.write_now(lambda tx: plain.revoke(tx, NOW, channel="telegram", stable_id="42"))
        store.write_now(lambda tx: plain.add_device(tx, "telegram", "42", "trade", NOW, name="Somebody else"))
        assert not self.spend(store, request), "whoever is paired there next did not give it"

    def test_a_yes_does_not_go_with_its_device_to_somebody_else(self, store: LocalStore, owner: Principal) -> None:
        phone = store.write_now(
            lambda tx: plain.add_device(tx, "telegram", "42", "trade", NOW, person_id=owner.person_id)
        )
        request = self.ask(store)
        assert self.answer(store, request, phone) == "approved"
        store.write_now(lambda tx: plain.add_device(tx, "telegram", "42", "trade", NOW, name="Somebody else"))
        assert not self.spend(store, request)

    def test_the_code_is_typed_from_the_card(self, store: LocalStore, owner: Principal) -> None:
        request = self.ask(store, "code")
        assert self.answer(store, request, owner) == "wrong_code"
        assert self.answer(store, request, owner, code="\ud800") == "wrong_code"
        assert self.answer(store, request, owner, code=request.code.lower()) == "approved"
        request = self.ask(store, "code")
        assert [self.answer(store, request, owner, code="ZZZZ") for _ in range(3)] == ["wrong_code"] * 3
        assert self.answer(store, request, owner, code=request.code) == "already"
        assert not self.spend(store, request)

    def test_a_one_time_code_works_one_time(self, store: LocalStore, owner: Principal) -> None:
        secret = totp.new_secret()
        code = totp.code_at(secret, int(NOW.timestamp()) // 30)
        first, second = self.ask(store, "totp", "admin"), self.ask(store, "totp", "admin")
        assert self.answer(store, first, owner, code=code) == "wrong_code"
        assert self.answer(store, first, owner, code=code, totp_secret=secret) == "approved"
        assert self.answer(store, second, owner, code=code, totp_secret=secret) == "wrong_code"

    def test_of_two_answers_at_once_one_wins(self, tmp_path: Path) -> None:
        stores = [LocalStore(tmp_path / "shared.db") for _ in range(2)]
        owner = stores[0].write_now(lambda tx: plain.ensure_local_owner(tx, NOW))
        request = self.ask(stores[0])
        said: list[str] = []
        gate = threading.Barrier(2)

        def answer(store: LocalStore, yes: bool) -> None:
            gate.wait()
            said.append(self.answer(store, request, owner, yes=yes))

        threads = [threading.Thread(target=answer, args=(store, i == 0)) for i, store in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) in (["already", "approved"], ["already", "rejected"])
        for store in stores:
            store.close()

    def test_guessing_authenticator_codes_ends_for_all_requests_together(
        self, store: LocalStore, owner: Principal
    ) -> None:
        secret = totp.new_secret()
        right = totp.code_at(secret, int(NOW.timestamp()) // totp.STEP)
        wrong = "000000" if right != "000000" else "111111"

        def answered(request: Any, code: str) -> str:
            return str(self.answer(store, request, owner, code=code, totp_secret=secret))

        for _ in range(3):
            request = self.ask(store, "totp")
            assert [answered(request, wrong) for _ in range(3)] == ["wrong_code"] * 3
        last = self.ask(store, "totp")
        assert [answered(last, wrong), answered(last, right)] == ["wrong_code"] * 2
        assert store.view().query("SELECT slot FROM totp_slot") == [], "the right one was not even looked at"

    def test_levels_and_scopes_are_words_it_knows(self, store: LocalStore) -> None:
        with pytest.raises(InvalidInputError, match="level"):
            store.write_now(lambda tx: plain.ask(tx, "pay", {}, NOW, level="shout"))
        with pytest.raises(InvalidInputError, match="scope"):
            store.write_now(lambda tx: plain.ask(tx, "pay", {}, NOW, scope="root"))


class TestAudit:
    def test_a_cut_or_rewritten_chain_shows_against_an_anchor_kept_elsewhere(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "audit.db")

        def opened(n: int) -> None:
            store.write_now(lambda tx: plain.append(tx, "home", "door.opened", f"door:{n}", {"n": n}, NOW))

        for n in range(5):
            opened(n)
        anchors = plain.anchors(store.view())
        assert anchors["home"].count == 5
        assert plain.verify(store.view(), anchors).ok
        store.write_now(lambda tx: tx.execute("DELETE FROM audit WHERE n = 5"))
        assert plain.verify(store.view()).ok
        assert "cut" in plain.verify(store.view(), anchors).problems[0].what
        store.write_now(lambda tx: plain.append(tx, "home", "door.opened", "door:9", {}, NOW))
        assert "rewritten" in plain.verify(store.view(), anchors).problems[0].what
        store.write_now(lambda tx: tx.execute("UPDATE audit SET data = '{}' WHERE n = 2"))
        assert "changed" in plain.verify(store.view()).problems[0].what
        store.close()
