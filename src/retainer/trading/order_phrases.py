"""How people word orders: the capabilities that ask for one, and the phrases that mean them.

Only what is written here is an order. Phrases name a size in words a person used: shares, dollars or a part of what is
held; a limit or a stop is never assumed.
"""

from __future__ import annotations

from collections.abc import Mapping

from retainer.core.capabilities import Capability
from retainer.core.effects import EffectClass
from retainer.core.values import Json
from retainer.trading.arguments import CancelArguments, OrderArguments, SellAllArguments, StopArguments

_SIZED = "{side} {quantity} [of|shares of|share of] [my] {symbol} [shares|share|stock]"
_BARE = "{quantity} [of|shares of] {symbol} [shares]"
_WORTH = "{side} {amount} [worth] [of] [my] {symbol} [shares|stock]"
_PART = "{side} {part} [of] [my|the] {symbol} [shares|stock|position]"
_NOW = "[now|today|at market|at the market]"
_LIMIT = (
    "(at|limit|limit at|at limit|with a limit of|at most|for at most|at a limit of) {limit} [each|or better|a share]"
)
_STOP = "(stop|stop at|stop loss|at stop|with a stop at|with a stop of|with a stop loss at) {stop}"
_FALLS = "if it (falls|drops) (to|below)"
_RISES = "if it (rises|goes) (to|above)"


def _order_phrases() -> tuple[str, ...]:
    return (
        f"{_SIZED} {_NOW}",
        f"(i wanna|place an order to|make an order to|order) {{side}} {_BARE}",
        "{side} {quantity} more [of|shares of] {symbol} [shares]",
        f"{_WORTH} {_NOW}",
        f"{_PART} {_NOW}",
        "invest {amount} (in|into) {symbol}",
        f"{{side}} {_BARE} {_LIMIT}",
        f"limit {{side}} {_BARE} at {{limit}}",
        f"{_WORTH} at {{limit}}",
        f"{_PART} at {{limit}}",
        f"{{side}} {_BARE} for {{amount}}",
        f"{{side}} {{quantity}} [of] [my] {{symbol}} [shares] {_STOP}",
        f"{_PART} {_STOP}",
        f"buy {_BARE} {_FALLS} {{limit}}",
        f"sell {_BARE} {_RISES} {{limit}}",
        f"sell {_BARE} {_FALLS} {{stop}}",
        f"buy {_BARE} {_RISES} {{stop}}",
    )


def order_capabilities(agent: str, lane: str, symbols: Mapping[str, Json]) -> tuple[Capability, ...]:
    """Order, sell everything, cancel, stop. ``symbols``: names people say -> symbols."""
    return (
        Capability(
            name=f"{agent}.order",
            agent=agent,
            description="Buy or sell shares; you approve it first",
            parameters=OrderArguments,
            effect_class=EffectClass.MONEY,
            phrases=_order_phrases(),
            examples=(
                "Buy 5 AAPL",
                "Sell half my IBM",
                "Buy $1000 of GOOG",
                "Buy 3 MSFT at 27.50",
                "Sell 10 shares of IBM",
                "Sell 3 IBM stop 80",
            ),
            lane=lane,
            scope="propose",
            extra=dict(symbols),
        ),
        Capability(
            name=f"{agent}.sell_all",
            agent=agent,
            description="Sell every position, or all of one symbol; you approve it first",
            parameters=SellAllArguments,
            effect_class=EffectClass.MONEY,
            phrases=(
                "sell (everything|all|it all|all of it|all positions|all my positions|the lot|all stocks|all shares"
                "|all my shares|all my stocks|everything i have|everything i own|everything we have|everything now"
                "|my portfolio|my whole portfolio|every position)",
                "(close|liquidate|exit) (everything|all|it all|all positions|my positions|all my positions"
                "|every position|my portfolio)",
                "(get|cash) (me out of everything|out of everything|out everything)",
                "sell (all|all my|all the|all of|all of my|my|the rest of my) {symbol} [shares|stock|position]",
                "sell (all|all my|all of my|my) shares of {symbol}",
                "(close|exit|liquidate) [the|my] {symbol} [position]",
                "(get|sell) (me out of|out of) {symbol}",
            ),
            examples=("Sell everything", "Sell all my IBM"),
            lane=lane,
            scope="propose",
            extra=dict(symbols),
        ),
        Capability(
            name=f"{agent}.cancel",
            agent=agent,
            description="Cancel an order of yours that waits for the market",
            parameters=CancelArguments,
            effect_class=EffectClass.MONEY,
            phrases=(
                "(cancel|withdraw|undo) [my|the|that|this] [last|open|waiting] order",
                "(cancel|withdraw) (all|all my|all the|all of my|both|both my|my|the) [open|waiting] orders",
                "cancel [my|the|that] {symbol} order[s]",
                "cancel [my|the|that] order[s] (for|on|in) {symbol}",
            ),
            examples=("Cancel my order", "Cancel the IBM order", "Cancel all my orders"),
            lane=lane,
            scope="trade",
            extra=dict(symbols),
        ),
        Capability(
            name=f"{agent}.stop",
            agent=agent,
            description="Cancels resting orders that could add risk; sent when somebody says stop",
            parameters=StopArguments,
            effect_class=EffectClass.WRITE_OWN,
            lane=lane,
            urgent=True,
        ),
    )
