"""The library object over a host: what it passes on, what it refuses, what it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from retainer.agent.host import resolve_host
from retainer.agent.universal import UniversalAgent
from retainer.chat.agent import LocalChatAgent
from retainer.core.capabilities import Capability
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.protocols import Tx, View
from retainer.learning import corrections
from retainer.learning.schema import MIGRATIONS
from retainer.runtime.schema import MIGRATIONS as RUNTIME
from retainer.runtime.sqlite import SqliteStore

T = TypeVar("T")
PROFIT = Capability(
    name="trading.performance",
    agent="trading",
    description="Profit",
    phrases=("how did the bot do",),
    examples=("profit",),
)


class Doorman:
    def authorized_user(self, number: str) -> bool:
        return number == "+15550001"

    def block_unauthorized(self, number: str) -> str:
        return "I do not know this number."


class FakeHost:
    """A host whose agents echo, on a real store."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore.open(folder / "host.db", (*RUNTIME, *MIGRATIONS))
        self.asked: list[tuple[str, str, str]] = []
        self.closed = False

    def ask(self, person: str, text: str, *, agent: str = "chat", timeout: float = 120.0) -> str:
        self.asked.append((person, text, agent))
        return f"heard: {text}"

    def person_id(self, person: str) -> str:
        return f"p-{person}"

    def ask_model(self, prompt: str, *, timeout: float = 120.0) -> str:
        return f"words about {prompt}"

    def capabilities(self) -> Sequence[Capability]:
        return (PROFIT,)

    def write(self, apply: Callable[[Tx], T]) -> T:
        return self.store.write_now(apply)

    def view(self) -> View:
        return self.store.view()

    def part(self, name: str) -> Any:
        return {"safety": Doorman()}[name]

    def close(self) -> None:
        self.closed = True
        self.store.close()


@pytest.fixture
def host(tmp_path: Path) -> Any:
    made = FakeHost(tmp_path)
    yield made
    made.store.close()


def test_a_request_goes_the_whole_way(host: FakeHost) -> None:
    assert UniversalAgent(host=host).process_request("hello") == "heard: hello"
    assert host.asked == [("local", "hello", "chat")]


async def test_the_async_twins_do_the_same(host: FakeHost) -> None:
    agent = UniversalAgent(host=host)
    assert await agent.aprocess_request("hello") == "heard: hello"
    assert await agent.agenerate_response("tea") == "words about tea"
    assert (await agent.aanalyze_request("how did the bot do")).intent is not None


def test_analysis_says_what_a_text_means_and_does_nothing(host: FakeHost) -> None:
    agent = UniversalAgent(host=host)
    analysis = agent.analyze_request("How did the bot do?")
    assert analysis.intent is not None
    assert (analysis.intent.capability, analysis.intent.decider) == ("trading.performance", "grammar")
    assert agent.analyze_request("sing").intent is None
    assert agent.analyze_request("please buy").order_like
    assert host.asked == []
    assert agent.generate_response(analysis) == "words about How did the bot do?"


def test_learning_a_meaning_changes_the_next_analysis(host: FakeHost) -> None:
    agent = UniversalAgent(host=host)
    agent.learn_and_adapt("how is granny", meant="how did the bot do")
    assert corrections.lookup(host.view(), "p-local", "How is granny?") == "how did the bot do"
    found = agent.analyze_request("how is granny?").intent
    assert found is not None
    assert (found.capability, found.decider) == ("trading.performance", "corrections")


def test_outcomes_are_recorded_each_time(host: FakeHost) -> None:
    agent = UniversalAgent(host=host)
    agent.learn_and_adapt("bought IBM", "won", value=1.5)
    agent.learn_and_adapt("bought IBM", "lost", value=-0.5)
    rows = host.view().query("SELECT outcome, value FROM outcome ORDER BY known_at")
    assert [(row["outcome"], row["value"]) for row in rows] == [("won", 1.5), ("lost", -0.5)]
    with pytest.raises(InvalidInputError, match="Nothing to learn"):
        agent.learn_and_adapt("bought IBM")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_requests_are_refused_with_a_hint(host: FakeHost, text: str) -> None:
    with pytest.raises(InvalidInputError, match="empty request"):
        UniversalAgent(host=host).process_request(text)


def test_an_unauthorised_number_gets_the_refusal_and_reaches_nobody(host: FakeHost) -> None:
    agent = LocalChatAgent(host=host)
    assert agent.handle_message("+15559999", "hello") == "I do not know this number."
    assert host.asked == []
    assert agent.handle_message("+15550001", "hello") == "heard: hello"


def test_a_given_host_is_left_running_and_a_missing_one_is_named(host: FakeHost) -> None:
    with UniversalAgent(host=host) as agent:
        agent.process_request("hello")
    assert not host.closed
    with pytest.raises(RetainerError, match="No host nowhere:nobody"):
        resolve_host(None, "local", "nowhere:nobody")
