"""Any strategy trades the live account, and decides and fills there as its backtest does."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trading_agent.service_for_tests import START, Service, cut, open_service

from retainer.app.config import load_settings
from retainer.core.errors import RetainerError
from retainer.safety import mandate
from retainer.trading.backtest import backtest
from retainer.trading.bars import Bars
from retainer.trading.engine import EngineSettings
from retainer.trading.evaluation import evaluate
from retainer.trading.parity import same_decisions
from retainer.trading.replaying import replay
from retainer.trading.settings import StrategySettings, TradingSettings
from retainer.trading.strategies import CATALOGUE
from retainer.trading.units import BPS, PRICE_SCALE, to_cents

SESSIONS = 130
QUICK: Mapping[str, dict[str, Any]] = {
    "sma-cross": {"fast": 5, "slow": 20},
    "ema-cross": {"fast": 5, "slow": 20},
    "rsi-reversion": {"average": 20, "enter": 30},
    "momentum-rotation": {"lookback": 20},
    "donchian": {"enter": 20, "leave": 10},
    "breakout": {"enter": 10, "atr": 5, "average": 20},
}
"""Parameters with which each decides often within half a year."""
SPEC = """
name = "dips"
symbols = ["AAPL", "IBM"]
buy_when = ["RSI(2) < 30"]
sell_when = ["RSI(2) > 70"]
[size]
weight = 0.2
[stops]
loss = 0.02
profit = 0.03
"""
OWN = '''
from dataclasses import dataclass

import numpy as np

from retainer.trading.rules import Rule, parameter


@dataclass(frozen=True, kw_only=True)
class Calendar(Rule):
    """Hold in every other stretch of bars."""

    name: str = "calendar"
    stretch: int = parameter(10, low=1, high=100, about="Bars held, then bars not held.")
    fails: int = parameter(0, low=0, high=1000, about="Bars after which it breaks; 0: never.")

    def indicators(self, bars):
        return {}

    def targets(self, bars, indicators):
        if self.fails and len(bars) > self.fails:
            raise ValueError("the oracle is silent")
        return self.hold(np.arange(len(bars)) // self.stretch % 2 == 0)
'''


async def run(place: Path, market: Mapping[str, Bars], sessions: int = SESSIONS, **strategy: Any) -> Service:
    service = await open_service(place / "db.sqlite", market, strategy=StrategySettings(**strategy))
    await service.replay(sessions)
    return service


def live_fills(service: Service) -> list[tuple[Any, ...]]:
    rows = service.store.view().query("SELECT at, symbol, side, quantity, price, fee FROM fill ORDER BY id")
    return [tuple(row[name] for name in ("at", "symbol", "side", "quantity", "price", "fee")) for row in rows]


def backtest_fills(service: Service, market: Mapping[str, Bars]) -> list[tuple[Any, ...]]:
    """The fills of a backtest of the same strategy over the same bars, limits and costs."""
    settings, strategy = service.agent.settings, service.agent.desk.strategy
    bars = {symbol: own for symbol, own in cut(market, START, SESSIONS).items() if symbol in strategy.symbols}
    first = min(int(own.close_time[0]) for own in bars.values())
    own = EngineSettings(cash=settings.cash, limits=settings.to_limits(), fees=settings.to_fees())
    run = backtest(strategy, bars, own, start=first).run
    return [
        (
            int(fill["at"]) / 1e9,
            run.symbols[fill["symbol"]],
            "buy" if fill["side"] > 0 else "sell",
            int(fill["quantity"]),
            round(fill["price"] * PRICE_SCALE),
            to_cents(Decimal(str(fill["fee"]))),
        )
        for fill in run.fills
    ]


def differing(service: Service, market: Mapping[str, Bars]) -> list[tuple[int, str]]:
    """Closes and symbols whose recorded wish is not the row of a backtest's whole history."""
    wanted = evaluate(service.agent.desk.strategy, cut(market, START, SESSIONS))
    rows = {s: cut(market, START, SESSIONS)[s].close_time for s in wanted}
    expected = {
        (int(at), symbol): round(float(target) * BPS)
        for symbol, found in wanted.items()
        for at, target in zip(rows[symbol], found.targets, strict=True)
        if not np.isnan(target)
    }
    recorded = {
        (step_at, symbol): target
        for step_at, targets in recorded_targets(service)
        for symbol, target in targets.items()
    }
    return sorted(key for key in {*expected, *recorded} if expected.get(key) != recorded.get(key))


def recorded_targets(service: Service) -> list[tuple[int, dict[str, int]]]:
    from retainer.trading.steps import read_steps

    return [(s.at, s.inputs["targets"]) for s in read_steps(service.store.view(), "paper") if s.inputs["kind"] == "bar"]


@pytest.mark.parametrize("name", CATALOGUE)
async def test_every_classic_decides_and_fills_live_as_in_its_backtest(
    tmp_path: Path, market: Mapping[str, Bars], name: str
) -> None:
    service = await run(tmp_path, market, use=name, parameters=QUICK.get(name, {}))
    try:
        assert service.agent.desk.strategy.name == name
        assert differing(service, market) == []
        assert same_decisions(service.store.view(), service.agent.desk.strategy).equal
        assert live_fills(service) == backtest_fills(service, market)
        assert len(live_fills(service)) >= 3
        assert replay(service.store.view()).equal
    finally:
        await service.close()


async def test_a_spec_file_trades_live_with_its_stops(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    (tmp_path / "dips.toml").write_text(SPEC)
    service = await run(tmp_path, market, use="dips.toml", folder=tmp_path)
    try:
        fills = live_fills(service)
        assert fills == backtest_fills(service, market)
        view = service.store.view()
        by_exits = view.one("SELECT COUNT(*) AS n FROM fill WHERE order_id NOT IN (SELECT id FROM paper_order)")
        assert by_exits is not None
        assert by_exits["n"] >= 3
        assert replay(view).equal
        last = view.one("SELECT symbol FROM decision WHERE author = 'exit:dips' ORDER BY id DESC LIMIT 1")
        assert last is not None
        why = await service.ask("why", symbol=last["symbol"], side="sell")
        assert "I sold" in why.text
    finally:
        await service.close()


async def test_a_class_of_one_s_own_trades_live(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    (tmp_path / "my_own_rules.py").write_text(OWN)
    own: dict[str, Any] = {"use": "my_own_rules:Calendar", "folder": tmp_path, "parameters": {"stretch": 7}}
    service = await run(tmp_path, market, **own)
    try:
        assert differing(service, market) == []
        assert live_fills(service) == backtest_fills(service, market)
        assert len(live_fills(service)) > 20
    finally:
        await service.close()


async def test_a_strategy_that_breaks_orders_nothing_and_says_so_once(
    tmp_path: Path, market: Mapping[str, Bars]
) -> None:
    (tmp_path / "my_broken_rules.py").write_text(OWN)
    own: dict[str, Any] = {
        "use": "my_broken_rules:Calendar",
        "folder": tmp_path,
        "parameters": {"stretch": 100, "fails": 20},
    }
    service = await run(tmp_path, market, 30, **own)
    try:
        assert service.bars_seen() == 30
        assert len(live_fills(service)) == 4
        told = [text for text in service.replies.texts if "oracle" in text]
        assert told == [
            "The strategy could not decide, so nothing new is ordered: calendar: targets of AAPL failed with "
            "ValueError: the oracle is silent. What rests at the market stays."
        ]
        assert replay(service.store.view()).equal
    finally:
        await service.close()


async def test_an_exit_that_the_guard_refuses_leaves_its_stop_at_the_market(
    tmp_path: Path, market: Mapping[str, Bars]
) -> None:
    """Without a mandate in force the exit waits for a person and is declined: the stop rests all the time."""
    (tmp_path / "dips.toml").write_text(SPEC.replace("loss = 0.02\nprofit = 0.03", "loss = 0.9"))
    service = await run(tmp_path, market, 40, use="dips.toml", folder=tmp_path)
    try:
        while not guards(service):
            await service.next_bar()
        signed = mandate.in_force(service.store.view(), service.runtime.clock.now(), account="paper")
        now = service.runtime.clock.now()
        [only] = signed
        await service.store.write(lambda tx: mandate.revoke(tx, only.id, by=service.owner, now=now))
        while not waiting(service):
            await service.next_bar()
        held = {symbol: position.own for symbol, position in service.state.positions.items()}
        await service.answer(service.card(), yes=False)
        await service.next_bar()
        assert {symbol: position.own for symbol, position in service.state.positions.items()} == held
        assert guards(service) == held
        assert replay(service.store.view()).equal
    finally:
        await service.close()


def guards(service: Service) -> dict[str, int]:
    """Shares behind a protective stop."""
    return {o.symbol: o.quantity for o in service.state.orders if o.type == "stop" and o.protective}


def waiting(service: Service) -> bool:
    return bool(service.store.view().query("SELECT id FROM approval WHERE state = 'pending'"))


# --- what does not fit ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"use": "rsi"}, ["trading.strategy", "'rsi'", "rsi-reversion"]),
        ({"use": "rsi-reversion", "parameters": {"period": 0}}, ["period is 0", "From 2 to 50"]),
        ({"use": "rsi-reversion", "parameters": {"length": 3}}, ["no parameter length"]),
        ({"parameters": {"fast": 3}}, ["sma-trend takes no parameters", "trading.strategy.fast"]),
        ({"use": "nowhere:Rule"}, ["cannot be loaded", "nowhere"]),
        ({"use": "json:JSONDecoder"}, ["is no strategy", "Rule"]),
        ({"use": "idea.toml"}, ["There is no file"]),
    ],
)
def test_a_strategy_that_cannot_be_made_is_an_error_in_words(strategy: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(RetainerError) as error:
        TradingSettings(strategy=StrategySettings(**strategy)).make_strategy()
    for words in said:
        assert words in str(error.value)


def test_a_spec_lies_beside_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dips.toml").write_text(SPEC)
    (tmp_path / "retainer.toml").write_text('[trading.strategy]\nuse = "dips.toml"\n')
    monkeypatch.setenv("RETAINER_CONFIG", str(tmp_path / "retainer.toml"))
    strategy = load_settings().trading.make_strategy()
    assert (strategy.name, strategy.symbols) == ("dips", ("AAPL", "IBM"))
    (tmp_path / "retainer.toml").write_text('[trading]\nsymbols = ["IBM"]\n[trading.strategy]\nuse = "dips.toml"\n')
    with pytest.raises(RetainerError, match="trades AAPL, which the account does not"):
        load_settings().trading.make_strategy()
