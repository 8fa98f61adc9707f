"""What an order says of itself: whether it adds exposure, only protects, or only cancels. What it does not say counts
against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retainer.core.effects import Effect
from retainer.core.values import Json


def legs(effect: Effect) -> Sequence[Mapping[str, Json]]:
    """The orders that an effect sends together; an order by itself is one. What is no order at all is an empty one."""
    given = effect.args.get("legs")
    if given is None:
        return (effect.args,)
    found = given if isinstance(given, list | tuple) and given else ({},)
    return [leg if isinstance(leg, Mapping) else {} for leg in found]


def increases_exposure(effect: Effect) -> bool:
    """Whether an order can add exposure; one that does not say counts as one that does, and so does any of its legs."""
    return any(part.get("increases_exposure") is not False for part in (effect.args, *legs(effect)))


def protective(effect: Effect) -> bool:
    """Whether an order only guards a position: it says so, each of its legs too, and adds no exposure."""
    said = all(part.get("protective") is True for part in (effect.args, *legs(effect)))
    return said and not increases_exposure(effect)


def cancels(effect: Effect) -> bool:
    """A cancellation of an order that does not protect: it can only lower exposure. It orders nothing itself."""
    args = effect.args
    plain = args.get("action") == "cancel" and "quantity" not in args and "legs" not in args
    return plain and not args.get("protective") and not increases_exposure(effect)
