"""retainer as a library: each class works with no argument beyond the user's own, on embedded defaults."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import structlog
from tests.app.running import PATIENCE, environment, until

import retainer
from retainer import (
    ChatPersonality,
    DataPipeline,
    DecisionEngine,
    LocalChatAgent,
    LocalLLM,
    MarketDataStream,
    MemoryManager,
    ModelServer,
    PhoneBridge,
    RiskManager,
    RobinhoodAPI,
    SafetyProtocols,
    TechnicalAnalysis,
    ToolManager,
    TradingBotAgent,
    UniversalAgent,
)
from retainer.agent.engine import FunctionDecider, Intent
from retainer.app.embed import EmbeddedHost
from retainer.app.logs import library_logging
from retainer.core.effects import Decision, Effect, EffectClass
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError, RetainerError
from retainer.trading.kernels import open_account
from retainer.trading.samples import load_samples

NUMBER = "+15550100"


@pytest.fixture(scope="module")
def agent() -> Iterator[LocalChatAgent]:
    """An agent without a model; its service starts with the first use."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RETAINER_") and name != "RETAINER_CACHE"]:
            patch.delenv(name)
        with LocalChatAgent(model_type="none") as made:
            yield made


@pytest.fixture
def frame() -> pd.DataFrame:
    """A year of one symbol that rises at the end, as people have it."""
    days = pd.bdate_range("2024-01-02", periods=260, tz="UTC")
    close = np.concatenate([np.linspace(100, 80, 200), np.linspace(80, 130, 60)]).round(2)
    return pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1000}, index=days
    )


def test_every_public_name_is_there() -> None:
    assert len(retainer.__all__) > 16
    assert all(getattr(retainer, name) is not None for name in retainer.__all__)
    assert set(retainer.__all__) <= set(dir(retainer))
    with pytest.raises(AttributeError):
        _ = retainer.Nothing


# --- agents ----------------------------------------------------------------------------------------------------------
def test_handle_message_answers_who_is_authorised_and_refuses_everybody_else(agent: LocalChatAgent) -> None:
    refusal = agent.handle_message("+15559999", "buy 5 AAPL")
    assert "not authorised" in refusal
    assert "AAPL" not in refusal
    agent.safety.authorize(NUMBER)
    assert "Trading: running" in agent.handle_message(NUMBER, "status")
    assert "Stop and go" in agent.handle_message("+1 (555) 0100", "help")
    assert "not authorised" in agent.handle_message("nonsense", "status")


def test_a_number_may_do_what_its_scope_allows_however_it_is_written(agent: LocalChatAgent) -> None:
    agent.safety.authorize("+15550177")
    for spelling in ("+15550177", "+1 (555) 0177", "0015550177"):
        assert "needs the scope propose" in agent.handle_message(spelling, "buy 5 AAPL")
    agent.safety.authorize("+15550177", scope="trade")
    assert "scope" not in agent.handle_message("+1 555 0177", "buy 5 AAPL")


def test_it_remembers_within_and_forgets_on_request(agent: LocalChatAgent) -> None:
    agent.process_request("my name is Ana")
    assert "Ana" in agent.process_request("what do you know about me")
    agent.process_request("forget my name")
    assert "Ana" not in agent.process_request("what do you know about me")


def test_a_request_can_be_analysed_without_anything_being_done(agent: LocalChatAgent) -> None:
    analysis = agent.analyze_request("buy 5 AAPL")
    assert analysis.intent is not None
    assert analysis.intent.capability == "trading.order"
    assert analysis.order_like
    assert agent.analyze_request("what a lovely day").intent is None


def test_a_correction_changes_how_a_phrase_is_taken_next_time(agent: LocalChatAgent) -> None:
    agent.learn_and_adapt("give me the numbers", meant="status")
    assert "Trading: running" in agent.process_request("give me the numbers")
    agent.learn_and_adapt("bought IBM", "won", value=12.5)
    rows = agent.host.view().query("SELECT decision, outcome FROM outcome")
    assert [tuple(row.values()) for row in rows if isinstance(row, dict)] == [("bought IBM", "won")]


async def test_inside_a_running_loop_the_async_twins_do_the_same(agent: LocalChatAgent) -> None:
    assert "Trading: running" in await agent.aprocess_request("status")
    assert agent.process_request("status")


def test_an_empty_request_is_refused_in_words(agent: LocalChatAgent) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        agent.process_request("   ")


def test_a_universal_agent_takes_config_and_model_type_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with UniversalAgent({"data": str(tmp_path / "mine")}, model_type="none") as mine:
        assert "Trading: running" in mine.process_request("status")
        assert {"memory", "tools", "safety"} <= set(dir(mine))
        assert mine.tools.call("tools.calculate", expression="2 + 3").text.endswith("5")
    assert (tmp_path / "mine" / "retainer.db").exists()
    own = UniversalAgent(model_type="none")
    host = own.host
    assert isinstance(host, EmbeddedHost)
    folder = host.folder
    assert folder.exists()
    own.close()
    assert not folder.exists()
    with pytest.raises(InvalidInputError, match="no such setting"):
        _ = UniversalAgent({"datta": "x"}, model_type="none").host


def test_generate_response_is_the_model_alone(small_model: None) -> None:
    with UniversalAgent() as talking:
        assert talking.generate_response("Say hello.").strip()


# --- trading ---------------------------------------------------------------------------------------------------------
def test_a_trading_decision_is_a_trade_or_none(frame: pd.DataFrame) -> None:
    bot = TradingBotAgent()
    trade = None
    for end in range(200, len(frame)):
        trade = trade or bot.make_trading_decision(frame.iloc[:end])
    assert trade is not None
    assert trade.order.side == "buy"
    assert trade.state == "accepted"
    assert trade.fills == ()
    bot.make_trading_decision(frame)
    assert TradingBotAgent().make_trading_decision(frame.iloc[:150]) is None
    own_bars = TradingBotAgent().make_trading_decision(load_samples()["IBM"])
    assert own_bars is None or own_bars.order.symbol == "IBM"


def test_indicators_and_risk_of_a_frame_and_of_loose_values(frame: pd.DataFrame) -> None:
    signals = TechnicalAnalysis().generate_signals(frame)
    assert signals["signal"].iloc[-1] == 1
    assert signals["SMA(20)"].iloc[-1] == pytest.approx(frame["close"].tail(20).mean())
    state, _ = open_account(10_000_000, "paper", 0)
    verdict = RiskManager().validate_risk({"symbol": "IBM", "side": "buy", "quantity": float("nan")}, state)
    assert not verdict.ok
    assert verdict.reasons


def test_robinhood_refuses_without_permit_and_sends_nothing() -> None:
    order = Effect(
        name="x",
        tool="robinhood.order",
        args={"symbol": "IBM", "side": "buy", "quantity": "1"},
        effect_class=EffectClass.MONEY,
        queue="robinhood",
    )
    with pytest.raises(RefusedError, match="permit"):
        RobinhoodAPI().execute_trade(order, None)


def test_a_market_data_stream_without_feeds_is_empty() -> None:
    assert MarketDataStream().feeds == ()
    assert MarketDataStream().health() == {}


# --- models ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model, which ``make install`` fetches."""
    monkeypatch.setenv("RETAINER_MODEL", "small")


def test_the_model_server_serves_its_three_roles(small_model: None) -> None:
    with ModelServer() as server:
        assert server.get_model("chat").generate("Say hello.", max_tokens=8)
        assert server.get_model("analysis").predict("Is the sky blue?", ["yes", "no"]) in {"yes", "no"}
        trading = server.get_model("trading")
        rows = np.zeros((2, len(trading.features)))
        assert ((trading.predict(rows) >= 0) & (trading.predict(rows) <= 1)).all()
        trading.update_parameters(intercept=0.0)
        assert isinstance(server.get_model("chat"), LocalLLM)
        with pytest.raises(NotFoundError, match="telepathy"):
            server.get_model("telepathy")


# --- the rest --------------------------------------------------------------------------------------------------------
def test_the_pipeline_makes_three_kinds_ready(frame: pd.DataFrame) -> None:
    pipeline = DataPipeline()
    assert pipeline.process("chat", "  Hello   there ") is not None
    assert len(next(iter(pipeline.process("trading", frame).values())).close) == len(frame)
    assert pipeline.process("analysis", "name,amount\na,1\nb,2\n") is not None
    with pytest.raises(NotFoundError):
        pipeline.process("video", b"")
    with pytest.raises(InvalidInputError):
        pipeline.process("trading", frame.assign(close=-1.0))


def test_what_libraries_log_under_the_names_of_logging_itself_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """stamina says ``args`` when it tries a broker's read again; that must not end the read."""
    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        library_logging()
        structlog.get_logger("stamina").warning(
            "retry_scheduled", args=[1], name="quotes", token="sk-0123456789abcdefgh"
        )
    finally:
        structlog.configure(**before)
    [record] = caplog.records
    assert record.message == "retry_scheduled"
    assert (record.args_, record.name_, record.token) == ([1], "quotes", "[secret]")  # type: ignore[attr-defined]


def test_safety_denies_by_default() -> None:
    safety = SafetyProtocols()
    assert not safety.authorized_user(NUMBER)
    assert safety.block_unauthorized(NUMBER)
    safety.authorize(NUMBER)
    assert safety.authorized_user("+1 555 0100")
    assert safety.validate("hello").decision is Decision.ALLOW
    assert safety.validate("").decision is Decision.DENY
    assert safety.validate(b"\x00").decision is Decision.DENY


def test_memory_tools_personality_decisions() -> None:
    memory = MemoryManager()
    memory.remember("The key is under the blue flowerpot.")
    assert "flowerpot" in memory.recall("where is the key?")[0].text
    memory.update_behavior("answer shorter")
    assert memory.behavior()
    memory.close()
    assert "tools.calculate" in ToolManager().names()
    assert ChatPersonality().name
    engine: DecisionEngine[str] = DecisionEngine([FunctionDecider("all", lambda _: Intent(action="say", text="yes"))])
    assert engine.deciders == ("all",)


def test_a_phone_bridge_says_something_to_a_paired_person_only(agent: LocalChatAgent) -> None:
    hub = agent.host.part("hub")
    assert isinstance(hub, PhoneBridge)
    agent.safety.authorize(NUMBER)
    agent.handle_message(NUMBER, "status")
    sent = "SELECT COUNT(*) AS n FROM effect WHERE tool = 'library.reply' AND state = 'done'"
    before = agent.host.view().query(sent)[0]["n"]
    hub.send_response(f"library:{NUMBER}", "The kettle is on.")
    until(lambda: agent.host.view().query(sent)[0]["n"] == before + 1)
    with pytest.raises(InvalidInputError):
        hub.send_response("telegram:12345", "Psst.")
    alone = PhoneBridge()
    assert alone.health() == {}
    with pytest.raises(RetainerError, match="not running"):
        alone.send_response(NUMBER, "Hello.")


def test_a_program_that_never_closes_still_ends_and_leaves_no_folder(tmp_path: Path) -> None:
    code = "from retainer import UniversalAgent; print(UniversalAgent(model_type='none').process_request('status'))"
    env = {**environment(tmp_path), "TMPDIR": str(tmp_path)}
    env.pop("RETAINER_DATA")
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Trading: running" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_revoked_number_is_nobody_however_it_is_written(agent: LocalChatAgent) -> None:
    """Not who it was, and least of all the owner, as somebody is of whom no number is known."""
    agent.safety.authorize("+15550188", scope="trade")
    assert "Trading: running" in agent.process_request("status", "+15550188")
    agent.safety.revoke("+15550188")
    for spelling in ("+15550188", "+1 (555) 0188", "0015550188"):
        with pytest.raises(RefusedError, match="not authorised any more"):
            agent.process_request("yes", spelling)
    agent.safety.authorize("+15550188")
    assert "needs the scope propose" in agent.process_request("buy 5 AAPL", "+15550188")
