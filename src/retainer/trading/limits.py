"""What the kernels are given beside the account: limits, fees, and the reasons for which risk says no."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from retainer.trading.units import NS, TICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits in whole numbers. Shares of equity are basis points (10,000 = all of it)."""

    symbols: tuple[str, ...]
    """Only these may be traded; empty means none."""
    order_bps: int = 3_000
    """Largest value of one buy."""
    position_bps: int = 4_000
    """Largest value of one symbol, resting buys included."""
    gross_bps: int = 10_000
    """Largest value of all positions, resting buys included."""
    reserve_bps: int = 100
    """Share of cash that sizing leaves unused, so that a higher open does not cut the order."""
    daily_loss_bps: int = 300
    """Loss since the last close of the day before, beyond which only sells go ahead."""
    drawdown_bps: int = 2_000
    """Fall from the highest equity of the last 90 days, beyond which only sells go ahead."""
    collar_bps: int = 500
    """How far a limit may be on the wrong side of the last price."""
    per_minute: int = 5
    """Accepted buys in 60 seconds of the account's clock."""
    per_day: int = 50
    """Accepted buys in 24 hours of the account's clock."""
    open_orders: int = 10
    """Orders that may rest at once; a sell may always be added."""
    duplicate_ns: int = 60 * NS
    """The same symbol, side and quantity again within this time is a mistake."""
    stale_ns: int = 7 * 86_400 * NS
    """A last price older than this says nothing (a week, for daily bars)."""
    future_ns: int = 2 * NS
    """A last price may be this much ahead of the account's clock, not more."""
    order_cents: int = 0
    """Largest value of one buy, whatever the account is worth; 0: no such cap."""
    volume_ppm: int = 0
    """Largest order as millionths of the usual volume of a session; 0: not looked at."""
    round_trips: int = 0
    """Times that a symbol may be bought and sold within one session; 0: not counted."""
    limit_only: bool = False
    """Whether only orders with a limit may be placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a fill costs. Everything is zero but the slippage, unless configured."""

    per_share: int = 0
    """Price units (1/10,000 dollar) per share."""
    commission_ppm: int = 0
    """Millionths of the value traded."""
    minimum: int = 0
    """Least commission per fill, cents."""
    sell_ppm: int = 0
    """Millionths of the value sold: regulatory fees."""
    slippage_ppm: int = 100
    """Millionths by which market and stop fills are worse than the bar's price (100 = 1 basis point: half a spread)."""
    slippage_units: int = 0
    """Price units by which market and stop fills are worse besides (a fixed half spread)."""
    impact_ppm: int = 0
    """Millionths by which a fill of a bar's whole volume would be worse besides; a part of it costs that part."""
    sell_micro: int = 0
    """Millionths of a dollar per share sold: activity fees."""
    sell_cap: int = 0
    """Most that the activity fee of one fill can be, cents; 0: no cap."""
    tick: int = TICK
    """Fills are rounded to this against the account, in price units."""


class Reason(IntFlag):
    """Why an order is refused; the first block is decided by the kernel, the second only outside a backtest."""

    BAD_NUMBER = 1
    BAD_KIND = 1 << 1
    SYMBOL = 1 << 2
    NO_PRICE = 1 << 3
    STALE = 1 << 4
    BLOCKED = 1 << 5
    COLLAR = 1 << 6
    SHORT = 1 << 7
    ORDER_VALUE = 1 << 8
    POSITION = 1 << 9
    GROSS = 1 << 10
    CASH = 1 << 11
    DAILY_LOSS = 1 << 12
    DRAWDOWN = 1 << 13
    RATE_MINUTE = 1 << 14
    RATE_DAY = 1 << 15
    DUPLICATE = 1 << 16
    OPEN_ORDERS = 1 << 17
    ORDER_CAP = 1 << 18
    MARKET_CLOSED = 1 << 19
    MARKET_ORDER = 1 << 20
    FUTURE = 1 << 21
    VOLUME = 1 << 22
    ROUND_TRIPS = 1 << 23

    NOT_ARMED = 1 << 24
    NOT_RECONCILED = 1 << 25
    NOT_APPROVED = 1 << 26
    CLIENT_ID = 1 << 27
    QUOTE_AGE = 1 << 28
    STOPPED = 1 << 29
    HALTED = 1 << 30
    REJECTS = 1 << 31


NOTHING_BINDS = 1_000_000_000
"""A limit that nothing reaches, in whatever unit."""
NO_FEES = Fees(slippage_ppm=0)
"""Fills at the market's prices for nothing."""
NO_LIMITS = Limits(
    symbols=(),
    order_bps=NOTHING_BINDS,
    position_bps=NOTHING_BINDS,
    gross_bps=NOTHING_BINDS,
    reserve_bps=0,
    daily_loss_bps=NOTHING_BINDS,
    drawdown_bps=NOTHING_BINDS,
    collar_bps=NOTHING_BINDS,
    per_minute=NOTHING_BINDS,
    per_day=NOTHING_BINDS,
    open_orders=NOTHING_BINDS,
    duplicate_ns=0,
    stale_ns=NOTHING_BINDS * 86_400 * NS,
)
"""What a backtest goes by unless it is given limits: cash and shares bind, nothing else, and any symbol goes."""
