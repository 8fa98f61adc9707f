"""What the honesty checks report, and how thoroughly they look."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from retainer.core.errors import InvalidInputError
from retainer.core.values import Json

Kind = Literal["future", "unrepeatable", "level", "memorised", "origin", "fills", "costs", "calendar", "unchecked"]
"""*future*: the past changes when later bars are added. *unrepeatable*: two evaluations differ. *level*: decides on the
level of adjusted prices, which later splits and dividends rewrite. *memorised*: does not react to the bars it is given.
*origin*: carries values whose date of knowledge nobody declared. *fills*: filled at the close that decided. *costs*:
trading was free. *calendar*: depends on dates alone. *unchecked*: the strategy failed on a shorter history.
"""
NOTES: frozenset[Kind] = frozenset({"calendar"})
"""Kinds that are worth saying and no reason to distrust the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that makes a result better than it would have been."""

    kind: Kind
    words: str
    """A sentence for people: what, where, how much."""
    symbol: str = ""
    what: str = ""
    """``target``, ``indicator fast``, ``stop``; empty for findings about the whole run."""
    row: int = -1

    @property
    def note(self) -> bool:
        """Whether it is only worth saying."""
        return self.kind in NOTES

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return dict(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """How thoroughly a backtest is checked. Nothing can be switched off; only the effort can be changed."""

    cuts: int = 16
    """Places at which the history is cut off to see whether the past changes."""
    resamples: int = 1_000
    """Resampled histories behind the intervals."""
    level: float = 0.9
    """Probability that the intervals are meant to have."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 5 <= self.cuts <= 10_000:
            raise InvalidInputError(f"cuts is {self.cuts}.", hint="From 5 to 10000.")
        if not 100 <= self.resamples <= 1_000_000:
            raise InvalidInputError(f"resamples is {self.resamples}.", hint="From 100 to 1000000.")
        if not 0.5 <= self.level < 1:
            raise InvalidInputError(f"level is {self.level}.", hint="From 0.5 to below 1.")
