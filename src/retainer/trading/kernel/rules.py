"""The vector of rules that the kernels go by, from fees, limits and how fills are made."""

from __future__ import annotations

from retainer.trading.kernel import layout as at
from retainer.trading.limits import NOTHING_BINDS, Fees, Limits
from retainer.trading.units import PRICE_SCALE, UNITS_PER_CENT

FRACTIONS = 1_000_000
"""Parts into which a share can be divided."""


def rules_of(
    fees: Fees,
    limits: Limits,
    *,
    exact: bool = False,
    to_cents: bool = False,
    fractional: bool = False,
    volume_ppm: float = 0.0,
    short: bool = False,
    borrow_ppm: float = 0.0,
    settle: int = 0,
    fill_on: int = at.NEXT_OPEN,
    in_shares: bool = False,
    live: bool = False,
) -> list[float]:
    """One number per rule. ``exact``: dollars unrounded instead of whole units and cents; ``live``: keep all of it."""
    scale = 1.0 / PRICE_SCALE if exact else 1.0
    cents = 0.01 if exact else 1.0
    r = [0.0] * at.RULES
    r[at.UNIT] = 1.0 if exact else float(UNITS_PER_CENT)
    r[at.LOTS] = float(FRACTIONS) if fractional and not exact else 1.0
    r[at.STEP] = 0.0 if exact and fractional else 1.0
    r[at.TICK] = 0.0 if exact else float(fees.tick)
    r[at.ROUND] = 0.0 if exact else 1.0
    r[at.PER_SHARE] = fees.per_share * scale
    r[at.COMMISSION] = float(fees.commission_ppm)
    r[at.MINIMUM] = fees.minimum * cents
    r[at.SELL_PPM] = float(fees.sell_ppm)
    r[at.SELL_MICRO] = float(fees.sell_micro)
    r[at.SELL_CAP] = fees.sell_cap * cents
    r[at.SLIP_PPM] = float(fees.slippage_ppm)
    r[at.SLIP_UNITS] = fees.slippage_units * scale
    r[at.IMPACT_PPM] = float(fees.impact_ppm)
    r[at.VOLUME_SHARE] = volume_ppm
    r[at.SHORT_ALLOWED] = float(short)
    r[at.BORROW_RATE] = borrow_ppm
    r[at.SETTLE] = float(settle)
    r[at.FILL_ON] = float(fill_on)
    r[at.ORDER_BPS] = float(limits.order_bps)
    r[at.POSITION_BPS] = float(limits.position_bps)
    r[at.GROSS_BPS] = float(limits.gross_bps)
    r[at.RESERVE_BPS] = float(limits.reserve_bps)
    r[at.LOSS_BPS] = float(limits.daily_loss_bps)
    r[at.DRAWDOWN_BPS] = float(limits.drawdown_bps)
    r[at.COLLAR_BPS] = float(limits.collar_bps)
    r[at.ORDER_MONEY] = limits.order_cents * cents
    r[at.VOLUME_PPM] = float(limits.volume_ppm)
    r[at.TRIPS_LIMIT] = float(limits.round_trips)
    r[at.LIMIT_ONLY] = float(limits.limit_only)
    r[at.OPEN_LIMIT] = float(limits.open_orders)
    r[at.PER_MINUTE] = float(limits.per_minute)
    r[at.PER_DAY] = float(limits.per_day)
    rates = limits.per_minute < NOTHING_BINDS or limits.per_day < NOTHING_BINDS
    r[at.REMEMBER] = float(rates or limits.duplicate_ns > 0)
    r[at.IN_SHARES] = float(in_shares)
    r[at.DUPLICATE_NS] = float(limits.duplicate_ns)
    r[at.STALE_NS] = float(limits.stale_ns)
    r[at.FUTURE_NS] = float(limits.future_ns)
    r[at.TO_CENTS] = float(to_cents)
    r[at.PEAKS] = float(live or limits.drawdown_bps < NOTHING_BINDS)
    r[at.COUNTS] = float(live or limits.volume_ppm > 0 or limits.round_trips > 0)
    r[at.WISHES] = float(live)
    return r
