"""A far side that can be asked by key and never answers: its queue goes on after a bounded number of tries."""

from __future__ import annotations

from dataclasses import replace

from tests.runtime.conftest import House, LookupWire, message, order

from retainer.core.effects import StoredEffect
from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.core.values import Json


class Mute(LookupWire):
    """Takes the first order without a word, and answers no question about it."""

    async def lookup(self, effect: StoredEffect) -> Json:
        self.lookups += 1
        raise TimeoutError


async def test_a_lookup_that_is_never_answered_ends_as_unknown_and_lets_the_next_order_through(house: House) -> None:
    broker = Mute()
    broker.fails, broker.happened_before_failing = [TimeoutError()], True
    house.runtime.add_adapter("paper.order", broker)

    async def two_orders(ctx: Context, event: Event) -> None:
        if event.kind == "message":
            ctx.send(order("first"))
            ctx.send(replace(order("second"), summary="buy 7 IBM"))

    await house.on(two_orders)
    await house.runtime.receive(message("buy"))
    await house.settle()
    states = house.states()
    assert (states["e1:first"], states["e1:second"]) == ("unknown", "done")
    assert 0 < broker.lookups <= 12
    assert [key for key, _ in broker.done] == ["e1:first", "e1:second"], "nothing was repeated"
    assert any("I do not know whether this happened" in str(text) for text in house.terminal.texts)
