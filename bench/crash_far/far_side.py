"""A far side of three ways: it keeps a book of what it accepted, and that book is the judge.

``python far_side.py BOOK [--seed 1] [--lose 0.02]`` prints one line, ``{"url": ...}``, and serves until it is ended.

``POST /enforced`` absorbs a key that it knows, ``POST /lookup`` and ``POST /order`` accept anything and can be asked
(``GET /lookup/<key>``), ``POST /none`` accepts anything and cannot be asked. Every request takes up to ``SLOW`` seconds
before it is written down and as long again before it is answered; a share of answers is lost on the way.
``POST /control``: ``{"pid": 1, "when": "before" | "after", "pass_by": 3}`` has the fourth request from now kill a
process, before or after it is written down; ``{}`` takes that back. ``GET /control`` counts the requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SLOW = 0.03
WAYS = ("enforced", "lookup", "none", "order")
ASKABLE = frozenset({"lookup", "order"})


class Book:
    """What was accepted, in order, in memory and in a file that only grows."""

    def __init__(self, path: Path, seed: int, lose: float) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self._path = path
        self._keys: set[tuple[str, str]] = set()
        self._chance = random.Random(seed)
        self._lose = lose
        self._kill: dict[str, Any] = {}

    def arm(self, order: dict[str, Any]) -> None:
        """Kill ``pid`` before or after the request that comes when ``pass_by`` others have passed by."""
        with self.lock:
            self._kill = dict(order)

    def enter(self) -> tuple[str, float, float, bool]:
        """For one request: when it kills, its two pauses in seconds, and whether its answer is lost."""
        with self.lock:
            self.requests += 1
            pauses = self._chance.uniform(0, SLOW), self._chance.uniform(0, SLOW)
            lost = self._chance.random() < self._lose
            if not self._kill:
                return "", *pauses, lost
            self._kill["pass_by"] -= 1
            if self._kill["pass_by"] >= 0:
                return "", *pauses, lost
            return str(self._kill["when"]), *pauses, lost

    def kill(self) -> None:
        """As it was ordered, once."""
        with self.lock:
            pid, self._kill = self._kill.get("pid"), {}
        if pid:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(int(pid), signal.SIGKILL)

    def accept(self, way: str, body: dict[str, Any]) -> bool:
        """Write it down; ``False`` when its key is known and the way absorbs that."""
        entry = way, str(body["key"])
        with self.lock:
            if way == "enforced" and entry in self._keys:
                return False
            self._keys.add(entry)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"t": time.time(), "way": way, **body}) + "\n")
            return True

    def knows(self, way: str, key: str) -> bool:
        """Whether it was accepted under this key."""
        with self.lock:
            return (way, key) in self._keys


class Handler(BaseHTTPRequestHandler):
    """One request."""

    book: Book

    def do_GET(self) -> None:
        if self.path == "/control":
            self._answer(200, {"requests": self.book.requests})
            return
        _, way, key = self.path.split("/", 2)
        if way not in ASKABLE:
            self._answer(405, {})
            return
        when, before, _, _ = self.book.enter()
        time.sleep(before)
        if when:
            self.book.kill()
        self._answer(200, {"known": self.book.knows(way, key)})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # its sender died while writing it
            return
        body = json.loads(sent)
        if self.path == "/control":
            self.book.arm(body)
            self._answer(200, {})
            return
        way = self.path.removeprefix("/")
        if way not in WAYS:
            self._answer(404, {})
            return
        when, before, after, lost = self.book.enter()
        time.sleep(before)
        if when == "before":  # the request never arrives: its sender dies while writing it
            self.book.kill()
            return
        new = self.book.accept(way, body)
        if when == "after":
            self.book.kill()
            return
        time.sleep(after)
        if not lost:
            self._answer(200, {"new": new})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:
            self.close_connection = True  # who asked is dead

    def log_message(self, *args: Any) -> None:
        """Nothing: the book says it all."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="A far side that keeps a book of what it accepted, on loopback.")
    parser.add_argument("book", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lose", type=float, default=0.02, help="share of answers that are lost")
    options = parser.parse_args()
    Handler.book = Book(options.book, options.seed, options.lose)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
