"""What the capabilities of the trading agent take: checked when it arrives, explained in words when it does not fit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from retainer.trading.periods import parse_period
from retainer.trading.units import MAX_QUANTITY

COMPANIES = {"APPLE": "AAPL", "GOOGLE": "GOOG", "ALPHABET": "GOOG", "MICROSOFT": "MSFT"}
"""Names people say for symbols of the shipped market."""


def _symbol(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = value.strip().lstrip("$").upper()
    return COMPANIES.get(plain, plain)


def _number(value: Any) -> Any:
    return value.replace(",", "").lstrip("$") if isinstance(value, str) else value


Symbol = Annotated[str, BeforeValidator(_symbol), Field(pattern=r"^[A-Z][A-Z0-9.\-]{0,9}$")]
"""A ticker symbol in capitals; a company's name is turned into its symbol."""


class SymbolArguments(BaseModel):
    """One symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol


class WhyArguments(BaseModel):
    """A symbol and, if it matters, which side."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol
    side: Literal["buy", "sell"] | None = None


class PeriodArguments(BaseModel):
    """A period in a person's words: ``this month``, ``2012``, ``last 30 days``. Empty: since the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    period: str = Field(default="all", max_length=40)

    @field_validator("period")
    @classmethod
    def _known(cls, value: str) -> str:
        """Words that name no period are no arguments, so that small talk is not taken for a question about money."""
        parse_period(value, date(2012, 6, 15), date(2000, 1, 3))
        return value


class OrderArguments(BaseModel):
    """An order a person wants: whole shares, at the market unless a limit is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    side: Literal["buy", "sell"]
    quantity: Annotated[Decimal, BeforeValidator(_number)] = Field(gt=0, le=MAX_QUANTITY)
    symbol: Symbol
    limit: Annotated[Decimal, BeforeValidator(_number)] | None = Field(default=None, gt=0, le=1_000_000)

    @field_validator("quantity")
    @classmethod
    def _whole(cls, value: Decimal) -> Decimal:
        if value != value.to_integral_value():
            raise ValueError("this account trades whole shares")
        return value.to_integral_value()


class SellAllArguments(BaseModel):
    """Everything, or all of one symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol | None = None


class StopArguments(BaseModel):
    """``all``: protective orders are cancelled too."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    all: bool = False


def explain_arguments(error: ValidationError) -> str:
    """A validation error as a sentence for a person: which part, what is wrong, what was given."""
    parts = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "the request"
        given = item.get("input")
        shown = f" (you said {str(given)[:30]!r})" if isinstance(given, str | int | float | Decimal) else ""
        parts.append(f"{name}: {item['msg'].removeprefix('Value error, ').lower()}{shown}")
    return f"I cannot use that: {'; '.join(parts)}."
