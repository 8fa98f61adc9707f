"""The trading agent: decides on bars, answers about money, asks before it orders for anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from retainer.core.capabilities import Capability
from retainer.core.clock import Clock, SystemClock
from retainer.core.events import Event
from retainer.core.protocols import Context, View
from retainer.trading.book import Desk
from retainer.trading.brokers.paper import TOOL, PaperBroker
from retainer.trading.capabilities import AGENT, capabilities_of
from retainer.trading.embedded import EmbeddedAccount, Trade
from retainer.trading.explaining import account_lines
from retainer.trading.handlers.on_bar import on_bar
from retainer.trading.handlers.on_feed_end import on_feed_end
from retainer.trading.handlers.on_outcome import on_outcome
from retainer.trading.handlers.on_request import on_request
from retainer.trading.history import History
from retainer.trading.order_effects import queue_of
from retainer.trading.risk import RiskManager
from retainer.trading.settings import TradingSettings
from retainer.trading.technical import TechnicalAnalysis

_log = structlog.get_logger(__name__)


class TradingBotAgent:
    """One account's trader. In the service the runtime calls :meth:`handle`; alone, :meth:`make_trading_decision`.

    ``settings``: every default works. ``pictures``: folder for charts; without it none are offered. ``clock`` is real
    time, for mandates; everything about bars goes by the account's own clock.
    """

    name = AGENT

    def __init__(
        self,
        settings: TradingSettings | None = None,
        *,
        clock: Clock | None = None,
        pictures: Path | None = None,
    ) -> None:
        self.settings = settings or TradingSettings()
        self.desk = Desk.of(self.settings)
        self.lane = queue_of(self.desk.account)
        self.technical_analysis = TechnicalAnalysis(fast=self.settings.strategy.fast, slow=self.settings.strategy.slow)
        self.risk_manager = RiskManager(self.desk.limits)
        self.broker = PaperBroker(self.desk.limits)
        self._history = History(self.desk.account)
        self._capabilities = capabilities_of(self.desk, clock or SystemClock(), pictures)
        self._embedded = EmbeddedAccount(self.settings)

    # --- in the service ----------------------------------------------------------------------------------------------
    def capabilities(self) -> Sequence[Capability]:
        """What it offers to the other agents and to people."""
        return self._capabilities

    def adapters(self) -> dict[str, PaperBroker]:
        """Adapters to register with the runtime, by tool."""
        return {TOOL: self.broker}

    def status(self, view: View) -> list[str]:
        """Lines for ``status``, below its control line."""
        return account_lines(view, self.desk)

    async def handle(self, ctx: Context, event: Event) -> None:
        """Turn one event of the account's lane into rows, effects and replies."""
        if event.kind == "bar":
            await on_bar(self.desk, self._history, ctx, event)
        elif event.kind == "request":
            await on_request(self.desk, self.risk_manager, ctx, event)
        elif event.kind == "outcome":
            await on_outcome(self.desk, ctx, event)
        elif event.kind == "feed_end":
            await on_feed_end(self.desk, ctx, event)
        else:
            _log.warning("event of an unknown kind", kind=event.kind, seq=event.seq)

    # --- as a library ------------------------------------------------------------------------------------------------
    def make_trading_decision(self, market_data: Any) -> Trade | None:
        """Decide at the last bar of ``market_data`` on a paper account in memory.

        ``market_data``: a pandas frame (one or many symbols), :class:`~retainer.trading.bars.Bars`, or bars by symbol.
        Call it again with more bars: the new ones fill what was accepted. ``None``: nothing to buy or sell. Raises
        :class:`~retainer.core.errors.InvalidInputError` naming row and field of data that does not fit.
        """
        return self._embedded.decide(market_data)

    async def amake_trading_decision(self, market_data: Any) -> Trade | None:
        """:meth:`make_trading_decision` without blocking the event loop."""
        return await asyncio.to_thread(self._embedded.decide, market_data)

    @property
    def trades(self) -> tuple[Trade, ...]:
        """Every trade of the library's account, with its present state and fills."""
        return tuple(self._embedded.trades.values())
