"""What was done lately through the public face: sliding windows in memory, as facts for the policy.

A running service counts its rows instead (:mod:`retainer.safety.facts`), so that a restart forgets nothing.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

from retainer.core.clock import Clock
from retainer.core.effects import Effect, EffectClass
from retainer.safety.facts import account_of
from retainer.safety.limits import Limits, Rate
from retainer.safety.policy import Facts

_HOUR = timedelta(hours=1)


class Counts:
    """Actions and approval requests per person, orders per account."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.lock = threading.RLock()
        """Held by whoever looks, decides and counts in one go."""
        self._clock = clock
        self._effects = Rate(limits.effects_per_hour, _HOUR)
        self._asked = {
            True: Rate(limits.own_approvals_per_hour, _HOUR),
            False: Rate(limits.approvals_per_hour, _HOUR),
        }
        """By whether the person's clean words led to the request."""
        self._minute = Rate(limits.approved_orders_per_minute, timedelta(minutes=1))
        self._day = Rate(limits.approved_orders_per_day, timedelta(days=1))

    def facts(self, person: str, effect: Effect, base: Facts, *, clean: bool, known: bool) -> Facts:
        """``base`` with what was counted for ``person`` and for the account of an order.

        ``known``: the request for it was made and counted already, so that no other one stands in its way.
        """
        now, asked, account = self._clock.now(), self._asked[clean], account_of(effect)
        return replace(
            base,
            effects_hour=self._effects.count(person, now),
            effects_free_at=self._effects.free_at(person, now),
            approvals_hour=0 if known else asked.count(person, now),
            approvals_free_at=asked.free_at(person, now),
            orders_minute=self._minute.count(account, now),
            orders_day=self._day.count(_today(account, now), now),
            now=now,
        )

    def asked(self, person: str, *, clean: bool) -> None:
        """A request for a yes was made."""
        self._asked[clean].hit(person, self._clock.now())

    def allowed(self, person: str, effect: Effect) -> None:
        """A call runs."""
        now = self._clock.now()
        if effect.effect_class is EffectClass.MONEY:
            self._minute.hit(account_of(effect), now)
            self._day.hit(_today(account_of(effect), now), now)
        else:
            self._effects.hit(person, now)


def _today(account: str, now: datetime) -> str:
    return f"{account} {now:%Y-%m-%d}"
