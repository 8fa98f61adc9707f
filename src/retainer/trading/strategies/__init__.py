"""The classics: strategies that textbooks name, each a class read in a minute, each with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.trading.rules import Rule
from retainer.trading.strategies.allocation import BuyAndHold, MomentumRotation, VolatilityTarget
from retainer.trading.strategies.reversion import BollingerReversion, RsiReversion
from retainer.trading.strategies.trend import Breakout, Donchian, EmaCross, MacdCross, SmaCross

__all__ = [
    "CATALOGUE",
    "BollingerReversion",
    "Breakout",
    "BuyAndHold",
    "Donchian",
    "EmaCross",
    "MacdCross",
    "MomentumRotation",
    "RsiReversion",
    "SmaCross",
    "VolatilityTarget",
    "make_strategy",
    "strategy_class",
]

CATALOGUE: Final[Mapping[str, type[Rule]]] = MappingProxyType(
    {
        "buy-and-hold": BuyAndHold,
        "sma-cross": SmaCross,
        "ema-cross": EmaCross,
        "macd-cross": MacdCross,
        "rsi-reversion": RsiReversion,
        "bollinger": BollingerReversion,
        "donchian": Donchian,
        "breakout": Breakout,
        "momentum-rotation": MomentumRotation,
        "volatility-target": VolatilityTarget,
    }
)
"""The classics by name."""


def strategy_class(name: str) -> type[Rule]:
    """The classic called ``name``. Raises :class:`NotFoundError`, suggesting near names."""
    found = CATALOGUE.get(name)
    if found is None:
        near = get_close_matches(name, CATALOGUE, n=3)
        raise NotFoundError(
            f"There is no strategy {name[:40]!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(CATALOGUE)}.",
        )
    return found


def make_strategy(name: str, parameters: Mapping[str, Any] | None = None, *, symbols: Sequence[str]) -> Rule:
    """The classic called ``name`` for ``symbols``.

    Raises :class:`NotFoundError` for a name and :class:`InvalidInputError` naming a parameter that does not fit.
    """
    values = dict(parameters or {})
    kind = strategy_class(name)
    known = {item.name for item in kind.parameters()} | {"weight"}
    if unknown := sorted(set(values) - known):
        raise InvalidInputError(
            f"{name} has no parameter {unknown[0]}.", hint=f"It has: {', '.join(sorted(known)) or 'none'}."
        )
    return kind(symbols=tuple(symbols), **values)
