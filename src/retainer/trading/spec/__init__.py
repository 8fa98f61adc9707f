"""Strategies as data: a spec in TOML or JSON that compiles to the same arrays as a class."""

from __future__ import annotations

from retainer.trading.spec.model import Protection, Sizing, StrategySpec, load_spec
from retainer.trading.spec.strategy import SpecStrategy

__all__ = ["Protection", "Sizing", "SpecStrategy", "StrategySpec", "load_spec"]
