"""Replays recorded bars as if they happened now: fast through the past, then one session every few seconds.

The feed keeps nothing of its own: where it is, is where the account is. It sends the next bar only when the account's
lane has finished with the last one, and holds while an order of the account waits for a yes, so that a person never
answers a question about a price that has moved on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from retainer.core.events import NewEvent
from retainer.core.labels import TRUSTED
from retainer.core.protocols import RuntimeHandle, View
from retainer.core.values import Json
from retainer.safety.approvals import pending
from retainer.trading.bars import Bars, bars_at, close_of, sessions
from retainer.trading.order_effects import queue_of
from retainer.trading.records import nanoseconds
from retainer.trading.settings import ReplaySettings
from retainer.trading.units import ns_to_datetime

_log = structlog.get_logger(__name__)

HOLD_POLL_S = 0.5
"""How often a held replay looks whether the answer has come (one indexed query)."""


class ReplayFeed:
    """Feed of one account from recorded bars. ``load`` gives them and is called once, when the feed runs."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, Bars]],
        *,
        account: str = "paper",
        settings: ReplaySettings | None = None,
        name: str = "replay",
    ) -> None:
        self.name = name
        self.account = account
        self._load = load
        self._settings = settings or ReplaySettings()
        self._lane = queue_of(account)
        self._at: int | None = None
        self._state = "starting"

    def health(self) -> Mapping[str, Json]:
        """``detail``: catching up, live, holding for an answer, or ended; ``at``: the account's clock."""
        at = None if self._at is None else ns_to_datetime(self._at).isoformat()
        return {"ok": self._state != "starting", "detail": self._state, "at": at}

    async def run(self, runtime: RuntimeHandle) -> None:
        """Send bar after bar from where the account is; say once when the data has ended."""
        market = await asyncio.get_running_loop().run_in_executor(None, self._load)
        times = [int(at) for at in sessions(market) if at >= close_of(self._settings.start)]
        live_from = close_of(self._settings.live_from)
        last = clock_of(runtime.store.view(), self.account)
        self._at = last
        for at in times:
            if last is not None and at <= last:
                continue
            if at >= live_from:
                self._state = "live"
                await asyncio.sleep(self._settings.seconds_per_bar)
            else:
                self._state = "catching up"
            await self._ready(runtime)
            await runtime.receive(self._event(market, at))
            self._at = at
        await runtime.idle(self._lane)
        await self._end(runtime)

    async def _ready(self, runtime: RuntimeHandle) -> None:
        """Until the lane is idle and no order of the account waits for a yes."""
        while True:
            await runtime.idle(self._lane)
            if not pending(runtime.store.view(), account=self.account):
                return
            self._state = "holding: an order waits for an answer"
            await asyncio.sleep(HOLD_POLL_S)

    def _event(self, market: Mapping[str, Bars], at: int) -> NewEvent:
        closed = ns_to_datetime(at)
        return NewEvent(
            source=f"feed:{self.name}",
            external_id=f"{self.account}@{closed.isoformat()}",
            agent="trading",
            lane=self._lane,
            kind="bar",
            body={
                "account": self.account,
                "at": closed.isoformat(),
                "bars": {symbol: bar.to_body() for symbol, bar in bars_at(market, at).items()},
            },
            label=TRUSTED,
            occurred_at=closed,
        )

    async def _end(self, runtime: RuntimeHandle) -> None:
        if self._state != "ended":
            _log.info("replay ended", feed=self.name, account=self.account)
        self._state = "ended"
        last = ns_to_datetime(self._at) if self._at is not None else datetime.fromtimestamp(0, UTC)
        await runtime.receive(
            NewEvent(
                source=f"feed:{self.name}",
                external_id=f"{self.account}@end@{last.isoformat()}",
                agent="trading",
                lane=self._lane,
                kind="feed_end",
                body={"account": self.account, "at": last.isoformat(), "feed": self.name},
                label=TRUSTED,
                occurred_at=last,
            )
        )


def clock_of(view: View, account: str) -> int | None:
    """The account's clock: close of its last bar set (ns), ``None`` before the first."""
    row = view.one("SELECT at FROM account WHERE id = ?", (account,))
    return None if row is None else nanoseconds(row["at"])
