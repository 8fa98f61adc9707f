"""The test that alone may swap models: does the challenger really beat the champion, however often one looks?

An e-process by betting. Per prediction ``d`` is the champion's log-loss minus the challenger's, scaled into [-1, 1].
Under the null hypothesis (the challenger is no better: the mean of ``d`` given the past is at most 0) the wealth of one
who bets a fixed share ``b`` on ``d`` each time, ``prod(1 + b * d)``, is a supermartingale, and so is the mean over
several shares. By Ville's inequality it ever reaches ``w`` with probability at most ``1 / w``, at every look at once
(Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from retainer.core.errors import InvalidInputError
from retainer.core.values import JsonObject

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Shares of the wealth that are bet; fixed beforehand."""
CLIP = 0.35
"""Probabilities are clipped to [CLIP, 1 - CLIP] in the gate, so one prediction cannot decide it."""
SCALE = math.log((1 - CLIP) / CLIP)
"""Greatest possible log-loss difference after clipping, in nats."""


class Verdict(StrEnum):
    """What the gate says."""

    WAIT = "wait"
    """Not proven so far; the champion stays."""
    PROMOTE = "promote"
    DEMOTE = "demote"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """Written down before the first prediction is scored, and never changed for a gate that is open."""

    promote_at: float = 20.0
    """Evidence that puts the challenger in use: false with probability at most 1 / 20."""
    demote_at: float = 5.0
    """Evidence that takes a promoted model out of use again: the bar is lower, going back is the safe side."""
    trial: int = 1
    """Which candidate of its family this is; the k-th needs ``k (k + 1) / 2`` times the evidence of the first."""

    @property
    def needed(self) -> float:
        """Evidence for promotion. Over all candidates a family ever has, a false one has at most twice the chance
        of the first alone: the sum of ``2 / (k (k + 1))`` is 2."""
        return self.promote_at * max(1, self.trial) * (max(1, self.trial) + 1) / 2

    def to_json(self) -> JsonObject:
        """As the registry keeps them."""
        return {"promote_at": self.promote_at, "demote_at": self.demote_at, "trial": self.trial}


@dataclass(frozen=True, slots=True)
class EProcess:
    """Wealth of the bettors so far. Immutable: :meth:`update` returns the next one, so replay gives the same bytes."""

    logs: tuple[float, ...] = field(default_factory=lambda: (0.0,) * len(BETS))
    """Logarithm of each bettor's wealth."""
    peak: float = 0.0
    """Greatest logarithm of the mean wealth so far."""
    count: int = 0

    def update(self, difference: float) -> EProcess:
        """After one scaled difference in [-1, 1]. Raises :class:`InvalidInputError` outside of it, and for NaN."""
        if not -1.0 <= difference <= 1.0:
            raise InvalidInputError(
                f"A scaled loss difference must lie in [-1, 1], not {difference}.", hint="Divide it by its bound."
            )
        logs = tuple(log + math.log1p(bet * difference) for log, bet in zip(self.logs, BETS, strict=True))
        return EProcess(logs, max(self.peak, _log_mean(logs)), self.count + 1)

    @property
    def evidence(self) -> float:
        """Mean wealth now; 1 at the start."""
        return _exp(_log_mean(self.logs))

    @property
    def best(self) -> float:
        """Greatest evidence so far: what the promise is about."""
        return _exp(self.peak)

    def to_json(self) -> JsonObject:
        """As the registry keeps it."""
        return {"logs": list(self.logs), "peak": self.peak, "count": self.count}


@dataclass(frozen=True, slots=True)
class Gate:
    """One challenger against one champion. Feed every prediction in order; look as often as you like."""

    rules: GateRules = field(default_factory=GateRules)
    forward: EProcess = field(default_factory=EProcess)
    """Evidence that the challenger is better."""

    def score(self, outcome: bool, champion: float, challenger: float) -> Gate:
        """After one prediction: ``champion`` and ``challenger`` gave ``outcome`` these probabilities."""
        return replace(self, forward=self.forward.update(loss_difference(outcome, champion, challenger)))

    @property
    def verdict(self) -> Verdict:
        """*promote* once the evidence was there; it does not lapse."""
        return Verdict.PROMOTE if self.forward.best >= self.rules.needed else Verdict.WAIT


@dataclass(frozen=True, slots=True)
class Watch:
    """A model in use against the one it replaced, from its promotion on. Demotion needs nobody's leave."""

    rules: GateRules = field(default_factory=GateRules)
    backward: EProcess = field(default_factory=EProcess)
    """Evidence that the previous model is better."""

    def score(self, outcome: bool, champion: float, previous: float) -> Watch:
        """After one prediction of both."""
        return replace(self, backward=self.backward.update(loss_difference(outcome, champion, previous)))

    @property
    def verdict(self) -> Verdict:
        """*demote* once the previous model has proved better."""
        return Verdict.DEMOTE if self.backward.best >= self.rules.demote_at else Verdict.WAIT


def loss_difference(outcome: bool, first: float, second: float) -> float:
    """Log-loss of ``first`` minus that of ``second``, clipped and scaled to [-1, 1]; above 0: ``second`` was better.

    Raises :class:`InvalidInputError` for what is no probability.
    """
    difference = (_loss(outcome, first) - _loss(outcome, second)) / SCALE
    return max(-1.0, min(1.0, difference))


def run(pairs: Iterable[tuple[bool, float, float]], rules: GateRules | None = None) -> Gate:
    """A gate over a whole stream of (outcome, champion, challenger)."""
    gate = Gate(rules or GateRules())
    for outcome, champion, challenger in pairs:
        gate = gate.score(outcome, champion, challenger)
    return gate


def _loss(outcome: bool, probability: float) -> float:
    if not 0.0 <= probability <= 1.0:
        raise InvalidInputError(f"{probability} is no probability.", hint="Pass a number from 0 to 1.")
    clipped = min(1 - CLIP, max(CLIP, probability))
    return -math.log(clipped if outcome else 1 - clipped)


def _log_mean(logs: tuple[float, ...]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
