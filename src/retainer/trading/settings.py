"""Settings of the trading agent. Every default works without a configuration file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retainer.trading.limits import Fees, Limits
from retainer.trading.samples import SYMBOLS
from retainer.trading.strategy import SmaTrend, Strategy
from retainer.trading.units import BPS, NS, to_cents, to_units

Share = Annotated[Decimal, Field(gt=0, le=1, decimal_places=4)]
"""A share of the account's equity: 0.25 is a quarter."""
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=4)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StrategySettings(_Settings):
    """What the account trades by. The shipped one holds a symbol while its fast average is above its slow one."""

    use: str = Field(
        default=SmaTrend.name,
        min_length=1,
        description="`sma-trend`, a name that `retainer strategies` lists, a strategy spec (`.toml` or `.json`), or "
        "`module:Class` for a class of yours.",
    )
    folder: Path | None = Field(
        default=None, description="Where the spec or the module is; relative to the configuration file."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters by name, of a strategy from the list or a class of yours."
    )
    fast: int = Field(default=20, ge=2, le=999, description="Days of the fast average of `sma-trend`.")
    slow: int = Field(default=100, ge=3, le=1_000, description="Days of the slow average of `sma-trend`.")
    weight: Share = Field(
        default=Decimal("0.20"),
        description="Share of the account for each symbol it holds; four symbols leave a fifth in cash for you. A "
        "spec says its own unless this is set.",
    )

    @model_validator(mode="after")
    def _order(self) -> StrategySettings:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be smaller than slow ({self.slow})")
        return self

    def make(self, symbols: tuple[str, ...]) -> Strategy:
        """The strategy. Raises :class:`~retainer.core.errors.RetainerError` naming what does not fit."""
        if self.use == SmaTrend.name and not self.parameters:
            return SmaTrend(fast=self.fast, slow=self.slow, weight=float(self.weight), symbols=symbols)
        from retainer.trading.choosing import choose

        weight = float(self.weight) if not self.is_spec or "weight" in self.model_fields_set else None
        return choose(self.use, symbols, parameters=self.parameters, weight=weight, folder=self.folder)

    @property
    def is_spec(self) -> bool:
        """Whether :attr:`use` names the file of a strategy spec."""
        return self.use.lower().endswith((".toml", ".json"))


class RiskLimits(_Settings):
    """What no order may break, whoever wants it. Sells that reduce a position are never held back by size or loss."""

    order: Share = Field(default=Decimal("0.30"), description="Largest value of one buy.")
    position: Share = Field(default=Decimal("0.40"), description="Largest value of one symbol.")
    gross: Share = Field(default=Decimal("1"), description="Largest value of all positions; 1 means no borrowed money.")
    reserve: Share = Field(
        default=Decimal("0.01"), description="Share of cash that the strategy's sizing leaves unused."
    )
    daily_loss: Share = Field(default=Decimal("0.03"), description="Loss since yesterday's close that stops buying.")
    drawdown: Share = Field(
        default=Decimal("0.20"), description="Fall from the highest equity of 90 days that stops buying."
    )
    collar: Share = Field(
        default=Decimal("0.05"), description="How far a limit may be on the wrong side of the last price."
    )
    orders_per_minute: int = Field(default=5, ge=1, le=1_000, description="Buys in a minute of the account's clock.")
    orders_per_day: int = Field(default=50, ge=1, le=100_000, description="Buys in 24 hours of the account's clock.")
    open_orders: int = Field(default=10, ge=1, le=1_000, description="Orders resting at once.")
    duplicate_seconds: int = Field(
        default=60, ge=0, le=86_400, description="The same order again within this is refused."
    )
    stale_days: int = Field(
        default=7, ge=1, le=60, description="Age of the last price beyond which nothing is traded on it."
    )

    def to_limits(self, symbols: tuple[str, ...]) -> Limits:
        """As the kernels take them."""
        return Limits(
            symbols=symbols,
            order_bps=int(self.order * BPS),
            position_bps=int(self.position * BPS),
            gross_bps=int(self.gross * BPS),
            reserve_bps=int(self.reserve * BPS),
            daily_loss_bps=int(self.daily_loss * BPS),
            drawdown_bps=int(self.drawdown * BPS),
            collar_bps=int(self.collar * BPS),
            per_minute=self.orders_per_minute,
            per_day=self.orders_per_day,
            open_orders=self.open_orders,
            duplicate_ns=self.duplicate_seconds * NS,
            stale_ns=self.stale_days * 86_400 * NS,
        )


class FeeSettings(_Settings):
    """What a paper fill costs: no commission (as retail brokers have it) and half a spread of one basis point."""

    per_share: Dollars = Field(default=Decimal(0), description="Commission per share, dollars.")
    percent: Decimal = Field(
        default=Decimal(0), ge=0, le=10, decimal_places=4, description="Commission, percent of the value."
    )
    minimum: Dollars = Field(default=Decimal(0), description="Least commission per fill, dollars.")
    sell_percent: Decimal = Field(
        default=Decimal(0), ge=0, le=10, decimal_places=4, description="Regulatory fees on sells, percent of the value."
    )
    slippage_bps: Decimal = Field(
        default=Decimal(1),
        ge=0,
        le=1_000,
        decimal_places=2,
        description="Basis points that market and stop fills are worse by.",
    )

    def to_fees(self) -> Fees:
        """As the kernels take them."""
        return Fees(
            per_share=to_units(self.per_share),
            commission_ppm=int(self.percent * 10_000),
            minimum=to_cents(self.minimum),
            sell_ppm=int(self.sell_percent * 10_000),
            slippage_ppm=int(self.slippage_bps * 100),
        )


class ReplaySettings(_Settings):
    """How the sample bars are replayed: fast up to ``live_from``, then one session per ``seconds_per_bar``."""

    start: date = Field(default=date(2005, 1, 3), description="First session on which the account trades.")
    live_from: date = Field(default=date(2007, 1, 16), description="First session replayed at the slow pace.")
    seconds_per_bar: float = Field(default=10.0, ge=0.05, le=86_400, description="Seconds between two sessions.")

    @model_validator(mode="after")
    def _order(self) -> ReplaySettings:
        if self.live_from < self.start:
            raise ValueError(f"live_from ({self.live_from}) must not be before start ({self.start})")
        return self


class TradingSettings(_Settings):
    """Everything about trading that can be configured."""

    account: str = Field(default="paper", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="Name of the account.")
    cash: Annotated[Decimal, Field(gt=0, le=1_000_000_000, decimal_places=2)] = Field(
        default=Decimal(100_000), description="Dollars the paper account starts with."
    )
    symbols: tuple[str, ...] = Field(default=SYMBOLS, min_length=1, description="What may be traded.")
    strategy: StrategySettings = StrategySettings()
    limits: RiskLimits = RiskLimits()
    fees: FeeSettings = FeeSettings()
    replay: ReplaySettings = ReplaySettings()
    notify: bool = Field(default=False, description="Tell the owner about the strategy's own fills, too.")

    def make_strategy(self) -> Strategy:
        """The configured strategy. Raises :class:`~retainer.core.errors.RetainerError` naming what does not fit."""
        return self.strategy.make(self.symbols)

    def to_limits(self) -> Limits:
        """The limits with the symbols that may be traded."""
        return self.limits.to_limits(self.symbols)

    def to_fees(self) -> Fees:
        """The fees of paper fills."""
        return self.fees.to_fees()
