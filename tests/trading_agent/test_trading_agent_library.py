"""The trading agent without a service: frames or bars in, a trade or nothing out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retainer.core.errors import InvalidInputError
from retainer.trading.agent import TradingBotAgent
from retainer.trading.bars import Bars


def _frame(bars: Bars, count: int) -> pd.DataFrame:
    part = bars.upto(count)
    index = pd.DatetimeIndex(part.close_time.astype("datetime64[ns]"), tz="UTC")
    columns: dict[str, Any] = {name: getattr(part, name) for name in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame(columns, index=index)
    frame.attrs["symbol"] = bars.symbol
    return frame


def _entry_row(bars: Bars) -> int:
    """A row on which the shipped strategy's fast average rose above its slow one."""
    close = pd.Series(bars.close)
    above = (close.rolling(20).mean() > close.rolling(100).mean()).to_numpy()
    rows = np.flatnonzero(above[1:] & ~above[:-1]) + 1
    return int(rows[rows > 150][0])


def test_a_frame_gives_a_trade_that_the_next_bar_fills(market: Mapping[str, Bars]) -> None:
    bars = market["IBM"]
    row = _entry_row(bars)
    agent = TradingBotAgent()
    trade = agent.make_trading_decision(_frame(bars, row + 1))
    assert trade is not None
    assert trade.state == "accepted"
    assert trade.order.side == "buy"
    assert trade.fills == ()
    assert "rose above" in trade.signal
    assert trade.reasons
    assert agent.make_trading_decision(_frame(bars, row + 1)) == trade
    assert agent.make_trading_decision(_frame(bars, row + 2)) is None
    (filled,) = agent.trades
    assert filled.state == "filled"
    assert filled.fills[0].reference == round(float(bars.open[row + 1]) * 10_000)


def test_bars_and_frames_decide_alike(market: Mapping[str, Bars]) -> None:
    bars = market["IBM"]
    row = _entry_row(bars)
    plain = Bars(
        symbol="IBM",
        **{
            name: getattr(bars.upto(row + 1), name) for name in ("close_time", "open", "high", "low", "close", "volume")
        },
        factor=np.ones(row + 1),
    )
    from_bars = TradingBotAgent().make_trading_decision(plain)
    from_frame = TradingBotAgent().make_trading_decision(_frame(bars, row + 1))
    assert from_bars is not None
    assert from_bars == from_frame


def test_too_little_data_decides_nothing(market: Mapping[str, Bars]) -> None:
    assert TradingBotAgent().make_trading_decision(_frame(market["IBM"], 50)) is None


def test_several_symbols_give_one_trade_and_its_companions(market: Mapping[str, Bars]) -> None:
    cut = {symbol: bars.upto(1100) for symbol, bars in market.items() if symbol != "GOOG"}
    trade = TradingBotAgent().make_trading_decision(cut)
    assert trade is not None
    assert {trade.order.symbol, *(other.order.symbol for other in trade.others)} <= set(cut)


async def test_there_is_an_async_twin(market: Mapping[str, Bars]) -> None:
    assert await TradingBotAgent().amake_trading_decision(_frame(market["IBM"], 50)) is None


@pytest.mark.parametrize("data", [None, 5, "AAPL", [], {"AAPL": 5}, {}])
def test_what_is_no_market_data_is_refused_in_words(data: object) -> None:
    with pytest.raises(InvalidInputError):
        TradingBotAgent().make_trading_decision(data)


def test_a_bad_row_is_named(market: Mapping[str, Bars]) -> None:
    frame = _frame(market["IBM"], 50)
    frame.iloc[7, 3] = float("nan")
    with pytest.raises(InvalidInputError, match="row 7"):
        TradingBotAgent().make_trading_decision(frame)


def test_importing_the_agent_loads_nothing_heavy() -> None:
    code = (
        "import sys, retainer.trading.agent, retainer.trading.feeds.replay, retainer.trading.brokers.robinhood;"
        "print([n for n in ('pandas', 'talib', 'matplotlib', 'sklearn', 'httpx2', 'numba') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
