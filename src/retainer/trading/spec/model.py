"""A strategy as data: what to buy and sell when, how much, protected how. TOML or JSON; every error names its field."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.values import Json
from retainer.trading.bars import check_symbol
from retainer.trading.catalogue import parse_indicator
from retainer.trading.spec.expressions import SERIES, Node, parse_condition

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_RESERVED = frozenset({"and", "or", "not", "crosses", "above", "below", *SERIES})
_MOST_FILE = 200_000


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Conditions = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sizing(_Part):
    """How much of each symbol is held."""

    weight: float = Field(default=0.0, ge=0, le=1, description="Share of the account per symbol; 0 splits it evenly.")
    volatility: float | None = Field(
        default=None, gt=0, le=2, description="Yearly volatility wanted (0.15 is 15 %); holds less when it swings more."
    )
    window: int = Field(default=21, ge=5, le=500, description="Bars over which volatility is measured.")
    per_year: int = Field(default=252, ge=1, le=200_000, description="Bars in a year: 252 for daily ones.")


class Protection(_Part):
    """When a position is given up whatever the conditions say; shares of the entry's price (0.05 is 5 %)."""

    loss: Share | None = Field(default=None, description="Stop this far below the entry.")
    profit: float | None = Field(default=None, gt=0, le=10, description="Take the profit this far above the entry.")
    trailing: Share | None = Field(default=None, description="Stop this far below the highest price since the entry.")
    bars: int | None = Field(default=None, ge=1, le=100_000, description="Leave after so many bars.")

    @model_validator(mode="after")
    def _one_stop(self) -> Self:
        if self.loss is not None and self.trailing is not None:
            raise ValueError("loss and trailing cannot both be given: the trailing stop takes the stop's place")
        return self


class StrategySpec(_Part):
    """A strategy in words that compile: conditions over named indicators, sizing, protection."""

    name: str = Field(default="idea", pattern=r"^[a-z][a-z0-9-]{0,47}$", description="Small letters, digits, dashes.")
    about: str = Field(default="", max_length=500, description="One line for people.")
    symbols: tuple[str, ...] = Field(min_length=1, max_length=500)
    indicators: dict[str, str] = Field(default_factory=dict, description='Names for indicators: rsi = "RSI(2)".')
    buy_when: Conditions = Field(min_length=1, description="All of these must hold to buy.")
    sell_when: Conditions = Field(default=(), description="Any of these is enough to sell.")
    size: Sizing = Sizing()
    stops: Protection = Protection()

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a symbol twice")
        return tuple(check_symbol(symbol) for symbol in value)

    @field_validator("indicators")
    @classmethod
    def _indicators(cls, value: dict[str, str]) -> dict[str, str]:
        for name, spec in value.items():
            if not _NAME.fullmatch(name) or name in _RESERVED:
                raise ValueError(f"{name!r} cannot be a name; small letters, digits and _, and none of the bars' own")
            try:
                parse_indicator(spec)
            except InvalidInputError as error:
                raise ValueError(f"{name}: {error}") from error
        return value

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        self.conditions()
        if not self.sell_when and self.stops == Protection():
            raise ValueError("sell_when: nothing ever ends a position; give a condition, a stop, or stops.bars")
        return self

    def conditions(self) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The parsed conditions to buy and to sell."""
        return self._parsed("buy_when", self.buy_when), self._parsed("sell_when", self.sell_when)

    def _parsed(self, field: str, texts: tuple[str, ...]) -> tuple[Node, ...]:
        many = len(texts) > 1
        return tuple(
            parse_condition(text, f"{field}[{index}]" if many else field, self.indicators)
            for index, text in enumerate(texts)
        )

    def to_json(self) -> dict[str, Json]:
        """Plain JSON that :func:`load_spec` reads back as an equal spec; defaults are left out."""
        dumped: dict[str, Json] = self.model_dump(mode="json", exclude_defaults=True)
        return dumped

    def to_toml(self) -> str:
        """TOML that :func:`load_spec` reads back as an equal spec."""
        data = self.to_json()
        lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, Mapping)]
        for key, value in data.items():
            if isinstance(value, Mapping):
                lines += ["", f"[{key}]", *(f"{name} = {json.dumps(item)}" for name, item in value.items())]
        return "\n".join(lines) + "\n"


def load_spec(source: Path | str | Mapping[str, Any]) -> StrategySpec:
    """A spec from a file (``.toml`` or ``.json``), from its text, or from a mapping.

    Raises :class:`NotFoundError` for a missing file and :class:`InvalidInputError` naming the field that does not fit.
    """
    if isinstance(source, Mapping):
        return _validated(source, "The strategy")
    if isinstance(source, Path):
        return _validated(
            _decoded(_text_of(source), json_first=source.suffix == ".json", what=source.name), source.name
        )
    return _validated(_decoded(source, json_first=source.lstrip().startswith("{"), what="The strategy"), "The strategy")


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > _MOST_FILE:
        raise InvalidInputError(f"{path} is too large for a strategy: {len(data):,} bytes.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is no text: byte {error.start} is not UTF-8.") from error


def _decoded(text: str, *, json_first: bool, what: str) -> Any:
    try:
        return json.loads(text) if json_first else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{what} is not {'JSON' if json_first else 'TOML'}: {error}.") from error


def _validated(data: Any, what: str) -> StrategySpec:
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"{what} holds {type(data).__name__}, not fields.", hint='buy_when = "RSI(2) < 10"')
    try:
        return StrategySpec.model_validate(dict(data))
    except ValidationError as error:
        said = "; ".join(_sentence(item) for item in error.errors())
        raise InvalidInputError(f"{what} does not fit. {said}.") from error


def _sentence(item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    words = str(item["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{where}: {words}" if where else words
