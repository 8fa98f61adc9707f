"""What the capabilities of the trading agent take: checked when it arrives, explained in words when it does not fit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from retainer.trading.periods import parse_period

_LARGEST = 10**15
"""Beyond this a number is a slip of the finger and no order at all."""
COMPANIES = {"APPLE": "AAPL", "GOOGLE": "GOOG", "ALPHABET": "GOOG", "MICROSOFT": "MSFT"}
"""Names people say for symbols of the shipped market."""


def _symbol(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = value.strip().lstrip("$").upper()
    return COMPANIES.get(plain, plain)


def _number(value: Any) -> Any:
    return value.replace(",", "").lstrip("$") if isinstance(value, str) else value


def _count(value: Any) -> Any:
    """A number of shares: with a dollar sign it would be another thing."""
    return value.replace(",", "") if isinstance(value, str) else value


Symbol = Annotated[str, BeforeValidator(_symbol), Field(pattern=r"^[A-Z][A-Z0-9.\-]{0,9}$")]
"""A ticker symbol in capitals; a company's name is turned into its symbol."""


class SymbolArguments(BaseModel):
    """One symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol


class HeldArguments(BaseModel):
    """One symbol by a name or symbol that is known here; other words may be anything a person owns."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol = Field(json_schema_extra={"slot": "known"})


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


class DigestArguments(PeriodArguments):
    """A period; today when none is named."""

    period: str = Field(default="today", max_length=40)


class OrderArguments(BaseModel):
    """An order as a person words it: so many shares, so many dollars' worth, or a part of what is held.

    What cannot be traded (nothing, half a share, a short sale) is taken too, because it deserves an answer;
    :func:`retainer.trading.wishes.read_wish` gives it. Without a limit or a stop the order is for the market.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    side: Literal["buy", "sell", "short"] = Field(
        json_schema_extra={"spoken": {"purchase": "buy", "invest": "buy", "short sell": "short", "sell short": "short"}}
    )
    symbol: Symbol
    quantity: Annotated[Decimal, BeforeValidator(_count)] | None = Field(
        default=None, ge=-_LARGEST, le=_LARGEST, description="number of shares"
    )
    amount: Annotated[Decimal, BeforeValidator(_number)] | None = Field(
        default=None,
        ge=0,
        le=_LARGEST,
        description="dollars to spend or to get, only if dollars are named instead of shares",
        json_schema_extra={"slot": "money"},
    )
    part: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,3}/[0-9]{1,3}$",
        description="part of what is held, only if named: 1/2",
        json_schema_extra={"slot": "part"},
    )
    limit: Annotated[Decimal, BeforeValidator(_number)] | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="limit price, only if named",
        json_schema_extra={
            "slot": "price",
            "cues": ["at", "limit", "under", "below", "most", "least", "above", "over", "price"],
        },
    )
    stop: Annotated[Decimal, BeforeValidator(_number)] | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="stop price, only if named",
        json_schema_extra={"slot": "price", "cues": ["stop", "falls", "drops"]},
    )

    @field_validator("part")
    @classmethod
    def _defined(cls, value: str | None) -> str | None:
        if value is not None and int(value.partition("/")[2]) == 0:
            raise ValueError("nothing can be divided by zero")
        return value


class UnsizedArguments(BaseModel):
    """An order that does not say how much, or of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    side: Literal["buy", "sell", "short"] = Field(json_schema_extra={"spoken": {"purchase": "buy"}})
    symbol: Symbol | None = Field(default=None, json_schema_extra={"slot": "known"})
    quantity: Annotated[Decimal, BeforeValidator(_count)] | None = Field(default=None, gt=0, le=_LARGEST)


class CancelArguments(BaseModel):
    """Which of one's own resting orders to cancel; with neither field, the only one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol | None = Field(default=None, json_schema_extra={"slot": "known"})
    which: Literal["all"] | None = Field(default=None, json_schema_extra={"spoken": {"every": "all", "both": "all"}})


class SellAllArguments(BaseModel):
    """Everything, or all of one symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    symbol: Symbol | None = Field(default=None, json_schema_extra={"slot": "known"})


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
