"""The configured lane workers, as a person has them: ``retainer up`` is the door, two Dask workers work behind it.

One data folder, one database, one configuration for all of them, the real guard and the real paper broker. The worker
that holds the conversation is killed around the owner's yes, with a sweep running in the same processes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import psutil
import pytest
from tests.app.running import Chat, Service, chatting, environment
from tests.app.servers import SlowModel, serving
from tests.runtime.dask_cluster import DaskCluster, dask_cluster, until
from tests.runtime.postgres_server import PostgresServer
from tests.runtime.worker_app import slow_square

from retainer.app.config import load_settings
from retainer.app.store import open_view
from retainer.runtime.executors import get_executor
from retainer.safety.audit import verify


class Thinking(SlowModel):
    """Says one word and thinks until it may say the last one; knows the ports of those who wait for it."""

    done: ClassVar = threading.Event()
    waiting: ClassVar[set[int]] = set()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["stream"]
        port = self.client_address[1]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.waiting.add(port)
        try:
            self._say("Well,")
            while not self.done.wait(0.2):
                self.wfile.write(b": still here\n\n")
            self._say(" forty-two.", finish="stop")
        except OSError:
            return
        finally:
            self.waiting.discard(port)

    def _say(self, text: str, finish: str | None = None) -> None:
        chunk = {"id": "1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()


@dataclass
class House:
    """The service, its workers, and the records of both."""

    url: str
    service: Service
    dask: DaskCluster
    asking: Chat
    ordering: Chat
    """Two terminals: in each, one line waits for the answer to the one before."""

    def rows(self, sql: str) -> list[Mapping[str, Any]]:
        with open_view(load_settings(data=self.service.folder, store={"url": self.url})) as view:
            return list(view.query(sql))

    def count(self, what: str) -> int:
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {what}")[0]["n"])

    def workers(self) -> set[int]:
        """Every process that has begun to handle lanes as a worker."""
        return {line["process"] for line in self.dask.lines("lanes_served")}

    def thinker(self) -> int:
        """The process in which the owner's question is being answered."""
        return int(until(lambda: next(iter(self._thinkers()), 0), 0.01))

    def _thinkers(self) -> Iterator[int]:
        for process in {self.service.pid, *self.workers()}:
            with suppress(psutil.NoSuchProcess):
                ports = {each.laddr.port for each in psutil.Process(process).net_connections("tcp") if each.laddr}
                if ports & Thinking.waiting:
                    yield process

    def ask_a_worker(self) -> int:
        """Ask the model; who hears it first answers, so ask until that is a worker. Returns its process."""
        while True:
            Thinking.done.clear()
            self.asking.write("what do you make of the sea?")
            if (thinker := self.thinker()) != self.service.pid:
                return thinker
            self.answered()

    def answered(self) -> None:
        """Let the model come to its end, and the answer to the terminal."""
        Thinking.done.set()
        self.asking.expect(r"forty-two\.")

    def handlers(self, since: int) -> dict[int, list[int]]:
        """By process, the events after ``since`` that people sent and that it handled, as the logs have it."""
        own = (self.service.folder / "logs" / "retainer.log").read_text().splitlines()
        lines = [{**json.loads(line), "process": self.service.pid} for line in own] + self.dask.lines("event_handled")
        found: dict[int, list[int]] = {}
        for line in lines:
            if line["event"] == "event_handled" and line["seq"] > since:
                found.setdefault(line["process"], []).append(line["seq"])
        return found

    def handled(self, since: int) -> list[int]:
        """The same without the processes: twice what was handled by two."""
        return [seq for each in self.handlers(since).values() for seq in each]


@pytest.fixture(scope="module")
def house(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder, url = tmp_path_factory.mktemp("house"), postgres.database()
    with ExitStack() as stack:
        model = stack.enter_context(serving(Thinking))
        env = {
            "RETAINER_STORE__URL": url,
            "RETAINER_STORE__IDLE_SECONDS": "30",
            "RETAINER_MODEL": "default",
            "RETAINER_MODELS__BASE_URL": f"{model}/v1",
            "RETAINER_MODELS__OFFLINE": "1",
        }
        dask = stack.enter_context(dask_cluster(folder, environment(folder / "data", env)))
        service = stack.enter_context(Service(folder / "data", env))
        dask.started(2, lambda: len(dask.lines("lanes_served")))
        made = House(url, service, dask, *(stack.enter_context(chatting(service)) for _ in range(2)))
        stack.callback(Thinking.done.set)
        until(lambda: made.rows("SELECT id FROM account"))
        yield made


@pytest.fixture(autouse=True)
def _never_left_waiting() -> Iterator[None]:
    yield
    Thinking.done.set()


@pytest.mark.parametrize("moment", ["said", "spent"])
def test_an_order_approved_while_its_worker_is_killed_is_accepted_once(house: House, moment: str) -> None:
    """Killed once the yes is stored, or once it has counted; the answer that was being given is given elsewhere."""
    orders, workers = house.count("paper_order WHERE strategy <> 'sma-trend'"), house.workers()
    card = house.ordering.say("buy 5 AAPL", r"\*Buy 5 AAPL\*.*?approve (?P<id>[0-9a-z]{8})\)")
    doomed = house.ask_a_worker()
    with get_executor(house.dask.address) as pool:
        sweep = pool.map(slow_square, range(20))
        heard = house.count("event WHERE kind = 'message'")
        house.ordering.write(f"approve {card['id']}")
        if moment == "said":
            until(lambda: house.count("event WHERE kind = 'message'") > heard, 0.0)
        else:
            until(lambda: not house.count("effect WHERE tool = 'paper.order' AND state = 'asked'"), 0.0)
        os.kill(doomed, signal.SIGKILL)
        house.ordering.expect(r"Accepted: buy 5 AAPL")
        assert [square for _, square in sweep] == [n * n for n in range(20)]
    assert house.thinker() != doomed
    house.answered()
    house.asking.say("what is 6 * 6?", r"6 \* 6 = 36")
    asked = house.rows("SELECT key, state FROM effect WHERE tool = 'paper.order' AND was_asked = 1")
    accepted = house.rows("SELECT effect_key FROM paper_order WHERE strategy <> 'sma-trend'")
    assert len(accepted) == orders + 1
    assert sorted(row["effect_key"] for row in accepted) == sorted(row["key"] for row in asked)
    assert {row["state"] for row in asked} == {"done"}
    until(lambda: not house.count("event WHERE state <> 'done'"))
    until(lambda: house.workers() - workers)  # Dask has started another one
    with open_view(load_settings(data=house.service.folder, store={"url": house.url})) as view:
        assert verify(view).ok


def test_the_service_and_its_workers_handle_one_conversation_together(house: House) -> None:
    """Each message is handled by one of them, the log says by which, and what one has heard the others know."""
    before = house.rows("SELECT MAX(seq) AS seq FROM event")[0]["seq"]
    house.asking.say("my dog is called Fortinbras", r"\n")
    said = 1
    while len(handled := house.handlers(before)) < 3:
        house.asking.say("what do you know about me?", "Fortinbras")
        said += 1
        assert said < 100, f"only by {sorted(handled)}"
    assert set(handled) <= {house.service.pid, *house.workers()}
    seqs = until(lambda: found if len(found := house.handled(before)) >= said else None)  # a line follows its reply
    assert len(set(seqs)) == len(seqs) == said


def test_workers_that_are_told_to_end_hand_over_what_they_were_doing(house: House) -> None:
    """In time, before Dask kills them: an orderly end must not look like a crash to whoever goes on."""
    house.ask_a_worker()
    question = house.rows("SELECT MAX(seq) AS seq FROM event WHERE kind = 'message'")[0]["seq"]
    house.dask.nanny.terminate()
    house.dask.nanny.wait(30)
    assert house.thinker() == house.service.pid
    house.answered()
    assert house.rows(f"SELECT deaths FROM event WHERE seq = {question}") == [{"deaths": 0}]
    assert "killing" not in house.dask.output.read_text()
