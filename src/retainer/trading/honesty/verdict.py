"""All checks of one result together, and what they come to in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from retainer.core.values import Json
from retainer.trading.honesty.bootstrap import Interval
from retainer.trading.honesty.deflated import Deflated
from retainer.trading.honesty.findings import Finding
from retainer.trading.honesty.warmup import WarmUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Honesty:
    """What the checks found about one result."""

    findings: tuple[Finding, ...]
    warmup: WarmUp
    deflated: Deflated
    intervals: Mapping[str, Interval] = field(default_factory=lambda: MappingProxyType({}))
    """``sharpe`` and ``annual_return``, and ``excess`` over buying and holding."""

    @property
    def lookahead(self) -> tuple[Finding, ...]:
        """The findings that are looks into the future."""
        return tuple(finding for finding in self.findings if finding.kind == "future")

    @property
    def clean(self) -> bool:
        """Whether nothing speaks against the result; notes do not."""
        return all(finding.note for finding in self.findings)

    @property
    def trials(self) -> int:
        """Variants tried on this data so far, this one included."""
        return self.deflated.trials

    @property
    def verdict(self) -> str:
        """One sentence: whether the result may be believed at all."""
        against = [finding for finding in self.findings if not finding.note]
        if any(finding.kind == "future" for finding in against):
            return "Do not believe it: it looks into the future."
        if against:
            return f"Do not believe it: {against[0].words}"
        return "No look into the future was found."

    def luck(self) -> str:
        """The deflated Sharpe ratio in a sentence."""
        tried = "the first variant" if self.trials == 1 else f"one of {self.trials:,} variants"
        probability = self.deflated.probability
        if math.isnan(probability):
            return f"It is {tried} tried on this data; it traded too little to tell skill from luck."
        return (
            f"It is {tried} tried on this data; the chance that it is better than luck, measured against earning "
            f"nothing and not against holding, is {_chance(probability)}."
        )

    def lines(self) -> list[str]:
        """Every check in a line or more, for a report."""
        said = [self.verdict]
        said += [finding.words for finding in self.findings]
        said += [self.warmup.words, self.luck()]
        for name, label in (
            ("sharpe", "Sharpe ratio"),
            ("annual_return", "Return per year"),
            ("excess", "Ahead of buying and holding"),
        ):
            interval = self.intervals.get(name)
            if interval is not None and math.isfinite(interval.low):
                said.append(f"{label}: {interval.level:.0%} of resampled histories lie {_range(name, interval)}.")
        return said

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return {
            "clean": self.clean,
            "verdict": self.verdict,
            "findings": [finding.to_json() for finding in self.findings],
            "warmup": self.warmup.to_json(),
            "trials": self.trials,
            "deflated": self.deflated.to_json(),
            "intervals": {name: interval.to_json() for name, interval in self.intervals.items()},
        }


def _chance(probability: float) -> str:
    if probability >= 0.995:
        return "above 99 %"
    return "below 1 %" if probability < 0.005 else f"{probability:.0%}".replace("%", " %")


def _range(name: str, interval: Interval) -> str:
    if name == "sharpe":
        return f"between {interval.low:.2f} and {interval.high:.2f}"
    return f"between {interval.low:+.1%} and {interval.high:+.1%}"
