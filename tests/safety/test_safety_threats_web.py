"""Threats 12 and 13 of docs/safety.md: what the web sends to this machine, and where it leads a client of ours.

The far side is a server on this machine that answers for every public address; nothing leaves it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from retainer.core.clock import to_epoch
from retainer.core.errors import RefusedError
from retainer.safety import plain
from retainer.safety.net import MAX_REDIRECTS, Resolve

NOW = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)
PUBLIC = "93.184.216.34"
BODY = b'{"id": "m1"}'


@pytest.fixture
def store() -> Iterator[plain.LocalStore]:
    opened = plain.LocalStore()
    yield opened
    opened.close()


def test_threat_12_a_replayed_or_changed_web_hook_is_refused(store: plain.LocalStore) -> None:
    signature = "sha256=" + hmac.new(b"app", BODY, hashlib.sha256).hexdigest()

    def take() -> bool:
        return plain.meta_signed("app", BODY, signature) and store.write_now(
            lambda tx: plain.first_time(tx, "meta", "m1", NOW)
        )

    assert [take(), take(), take()] == [True, False, False]
    assert not plain.meta_signed("app", BODY.replace(b"m1", b"m2"), signature)


def signed(at: datetime) -> tuple[str, str]:
    """A time and the right signature over it and the body."""
    stamp = str(int(to_epoch(at)))
    return stamp, hmac.new(b"own", stamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (timedelta(0), True),
        (timedelta(minutes=5), True),
        (timedelta(minutes=-5), True),
        (timedelta(minutes=5, seconds=1), False),
        (timedelta(minutes=-5, seconds=-1), False),
        (timedelta(days=365), False),
        (timedelta(days=-365), False),
    ],
)
def test_threat_12_a_web_hook_from_the_past_or_the_future_is_refused_though_its_signature_is_right(
    store: plain.LocalStore, age: timedelta, taken: bool
) -> None:
    stamp, signature = signed(NOW - age)
    assert plain.timed_signed("own", BODY, stamp, signature, NOW) is taken
    assert store.write_now(lambda tx: plain.first_time(tx, "own", "m1", NOW, sent_at=NOW - age)) is taken
    # Refused for its time alone: at that time, and then for the first time, it would be taken.
    assert plain.timed_signed("own", BODY, stamp, signature, NOW - age)
    assert taken or store.write_now(lambda tx: plain.first_time(tx, "own", "m1", NOW - age, sent_at=NOW - age))


@pytest.mark.parametrize("other", ["{new}", "+{new}", " {new}", "{new}.0", "{new}\n", "0x6907", "", "٣", "9" * 13])
def test_threat_12_an_old_web_hook_cannot_be_given_a_new_date(other: str) -> None:
    _, signature = signed(NOW - timedelta(hours=1))
    assert not plain.timed_signed("own", BODY, other.format(new=int(to_epoch(NOW))), signature, NOW)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:10.0.0.1]/", "http://rebound.example/"]
)
def test_threat_13_a_url_into_this_network_is_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        plain.check_url(url, resolve=lambda _host, _port: ["192.168.1.1"])


class Server:
    """Answers every request and counts them; a path of ``leads`` is redirected."""

    def __init__(self) -> None:
        self.leads: dict[str, str] = {}
        self.asked: list[str] = []
        server = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(f"{self.headers['Host']}{self.path}")
                location = server.leads.get(self.path)
                self.send_response(200 if location is None else 302)
                if location is not None:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Nothing: what was asked is in ``asked``."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def outside() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def inside() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def names(host: str, _port: int) -> list[str]:
    """Every name is public, but for those that lead inside however a resolver reads them."""
    return {"2130706433": ["127.0.0.1"], "0x7f.1": ["127.0.0.1"], "wiki.example": [PUBLIC, "10.0.0.5"]}.get(
        host, [PUBLIC]
    )


@pytest.fixture
def fetch(outside: Server, inside: Server) -> Callable[[str, Resolve], int]:
    """A client as docs/safety.md wants it: it connects to the checked address, and has every redirect checked."""

    def get(url: str, resolve: Resolve) -> int:
        pinned = plain.check_url(url, resolve=resolve)
        for hop in count(1):
            # The public address is the server outside; any other is what it says, at the port of the one inside.
            host, port = ("127.0.0.1", outside.port) if pinned.address == PUBLIC else (pinned.address, inside.port)
            connection = http.client.HTTPConnection(host, port, timeout=5)
            path = "/" + pinned.url.split("/", 3)[3]
            connection.request("GET", path, headers={"Host": pinned.host})
            answer = connection.getresponse()
            connection.close()
            location = answer.headers["Location"]
            if location is None:
                return hop
            pinned = plain.check_redirect(pinned, location, hops=hop, resolve=resolve, any_port=True)
        raise AssertionError

    return get


INTO = (
    *("http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/"),
    *("http://localhost:{port}/", "http://2130706433:{port}/", "http://0x7f.1:{port}/"),
    *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://wiki.example/"),
    *("http://page.example@127.0.0.1:{port}/", "http://page.example\\@127.0.0.1:{port}/", "file:///etc/passwd"),
)


@pytest.mark.parametrize("location", INTO)
@pytest.mark.parametrize("hops", [1, 3])
def test_threat_13_a_public_page_cannot_redirect_into_this_network(
    outside: Server, inside: Server, fetch: Callable[[str, Resolve], int], location: str, hops: int
) -> None:
    outside.leads = {f"/{n}": f"/{n + 1}" for n in range(1, hops)} | {f"/{hops}": location.format(port=inside.port)}
    with pytest.raises(RefusedError):
        fetch("http://page.example/1", names)
    assert outside.asked == [f"page.example/{n}" for n in range(1, hops + 1)]
    assert inside.asked == []


def test_threat_13_redirects_among_public_pages_are_followed_and_end(
    outside: Server, fetch: Callable[[str, Resolve], int]
) -> None:
    outside.leads = {"/1": "http://other.example/2", "/round": "/round"}
    assert fetch("http://page.example/1", names) == 2
    assert outside.asked == ["page.example/1", "other.example/2"]
    with pytest.raises(RefusedError, match="More than"):
        fetch("http://page.example/round", names)
    assert outside.asked.count("page.example/round") == MAX_REDIRECTS + 1


def test_threat_13_a_name_that_changes_its_address_is_asked_once_and_again_for_a_redirect(
    outside: Server, inside: Server, fetch: Callable[[str, Resolve], int]
) -> None:
    """DNS rebinding: public when it is checked, this machine when it is used."""
    answers: list[list[str]] = []

    def rebinding(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    answers[:] = [[PUBLIC], ["127.0.0.1"]]
    assert fetch("http://rebound.example/page", rebinding) == 1
    assert answers == [["127.0.0.1"]], "the second answer was never asked for"
    answers[:] = [[PUBLIC], ["127.0.0.1"]]
    outside.leads = {"/page": "/again"}
    with pytest.raises(RefusedError, match=r"127\.0\.0\.1"):
        fetch("http://rebound.example/page", rebinding)
    assert outside.asked == ["rebound.example/page"] * 2
    assert inside.asked == []
