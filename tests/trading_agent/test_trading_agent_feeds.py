"""The hub of feeds, and the paper broker's own rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.trading_agent.service_for_tests import START, Service, cut, open_service

from retainer.core.effects import EffectState, Permit, StoredEffect
from retainer.core.errors import InvalidInputError, RefusedError, RejectedError
from retainer.core.events import NewEvent
from retainer.core.protocols import RuntimeHandle, Tx
from retainer.core.values import Json
from retainer.runtime import effects
from retainer.trading.bars import Bars
from retainer.trading.brokers.paper import PaperBroker
from retainer.trading.feeds import stream
from retainer.trading.feeds.replay import ReplayFeed
from retainer.trading.feeds.stream import MarketDataStream
from retainer.trading.units import ns_to_datetime


class ShakyFeed:
    """Fails a few times, then ends."""

    def __init__(self, fails: int, account: str = "paper") -> None:
        self.name = f"shaky-{account}"
        self.account = account
        self.left = fails

    async def run(self, runtime: RuntimeHandle) -> None:
        if self.left:
            self.left -= 1
            raise ConnectionError("the line broke")

    def health(self) -> Mapping[str, Json]:
        return {"ok": True, "detail": "fine", "at": None}


async def test_a_failing_feed_is_started_again_and_its_failure_is_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "RESTART_FIRST_S", 0.05)
    hub = MarketDataStream(ShakyFeed(2))
    await hub.start(service.runtime)
    await asyncio.sleep(0.02)
    assert "the line broke" in str(hub.health()["shaky-paper"]["detail"])
    await hub.wait()
    assert hub.health()["shaky-paper"]["ok"] is True
    await hub.stop()


def test_one_account_has_one_feed() -> None:
    hub = MarketDataStream(ShakyFeed(0))
    with pytest.raises(InvalidInputError, match="has a feed already"):
        hub.add(ShakyFeed(0))
    hub.add(ShakyFeed(0, "other"))
    assert len(hub.feeds) == 2


async def test_a_stopped_feed_goes_on_where_the_account_is(service: Service) -> None:
    bars = cut(service.market, START, 60)
    hub = MarketDataStream(ReplayFeed(lambda: bars, settings=service.agent.settings.replay))
    await hub.start(service.runtime)
    while service.bars_seen() < 5:
        await asyncio.sleep(0.01)
    await hub.stop()
    await service.runtime.idle()
    stood = service.bars_seen()
    assert 5 <= stood < 60
    await service.replay(60)
    assert service.bars_seen() == 60
    again = ReplayFeed(lambda: bars, settings=service.agent.settings.replay)
    await again.run(service.runtime)
    await service.runtime.idle()
    assert again.health()["detail"] == "ended"
    assert sum("prices end" in text for text in service.replies.texts) == 1


async def test_the_slow_pace_begins_at_live_from(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    service = await open_service(tmp_path / "db.sqlite", market)
    try:
        settings = service.agent.settings.replay.model_copy(
            update={"live_from": START.replace(day=10), "seconds_per_bar": 30.0}
        )
        bars = cut(market, START, 20)
        feed = ReplayFeed(lambda: bars, settings=settings)
        task = asyncio.create_task(feed.run(service.runtime))
        while feed.health()["detail"] != "live":
            await asyncio.sleep(0.01)
        await service.runtime.idle()
        assert service.bars_seen() == 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        await service.close()


async def test_the_paper_broker_accepts_a_key_once_and_only_with_its_permit(service: Service) -> None:
    await service.replay(50)
    await service.request("trading.order", side="buy", quantity="5", symbol="AAPL")
    await service.answer(service.card())
    (order,) = effects.select_effects(service.store.view(), "e.effect_class = 'money'")
    assert order.state is EffectState.DONE
    permit = Permit(order.key, order.digest)
    broker = service.agent.broker
    result = await service.store.write(lambda tx: broker.apply(tx, order, permit))
    assert result == order.result
    assert len(service.store.view().query("SELECT id FROM paper_order")) == 1
    changed = replace(order, args={**order.args, "quantity": 500})
    with pytest.raises(RefusedError, match="another order"):
        await service.store.write(lambda tx: broker.apply(tx, changed, permit))
    for args in ({**order.args, "quantity": "many"}, {"account": "paper"}, {**order.args, "account": "nobody"}):
        broken = replace(order, args={**args, "client_order_id": "x"})
        with pytest.raises(RejectedError):
            await service.store.write(_application(broker, broken))


def _application(broker: PaperBroker, effect: StoredEffect) -> Callable[[Tx], Json]:
    return lambda tx: broker.apply(tx, effect, Permit(effect.key, effect.digest))


async def test_own_fills_are_told_only_when_the_owner_wants_them(tmp_path: Path, market: Mapping[str, Bars]) -> None:
    service = await open_service(tmp_path / "db.sqlite", market, notify=True)
    try:
        await service.replay(110)
        fills = len(service.store.view().query("SELECT id FROM fill"))
        assert fills
        assert sum(text.startswith("Filled") for text in service.replies.texts) == fills
    finally:
        await service.close()


@pytest.mark.parametrize(
    "wrong",
    [{"close": "NaN"}, {"high": "0.01"}],
    ids=lambda wrong: "-".join(f"{name}={value}" for name, value in wrong.items()),
)
async def test_threat_08_a_bar_with_figures_that_cannot_be_moves_no_account(
    service: Service, wrong: dict[str, Any]
) -> None:
    await service.replay(5)
    before, history = service.state, service.market["AAPL"]
    last = history.index_of(before.at)
    assert last is not None
    bar = history.bar(last + 1)
    bars: dict[str, Json] = {"AAPL": {**bar.to_body(), **wrong}}
    event = NewEvent(
        source="feed:replay",
        external_id="broken",
        agent="trading",
        lane="account:paper",
        kind="bar",
        body={"at": ns_to_datetime(bar.close_time).isoformat(), "bars": bars},
        occurred_at=service.runtime.clock.now(),
    )
    await service.runtime.receive(event)
    await service.runtime.idle()
    assert service.state == before
    assert service.store.view().query("SELECT key FROM effect WHERE effect_class = 'money'") == []
    row = service.store.view().one("SELECT state FROM event WHERE external_id = 'broken'")
    assert row is not None
    assert row["state"] == "dead"
