"""The fate of an order effect is known: accepted by the broker, refused, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from retainer.core.events import Event
from retainer.core.protocols import Context
from retainer.trading.book import Book, Desk, open_book
from retainer.trading.brokers.paper import TOOL
from retainer.trading.handlers.say import say
from retainer.trading.records import write
from retainer.trading.units import datetime_to_ns
from retainer.trading.words import listed


async def on_outcome(desk: Desk, ctx: Context, event: Event) -> None:
    """Take in what was accepted, close what was refused, block the symbol of what nobody can know."""
    body = event.body
    if body.get("tool") != TOOL:
        return
    args = _mapping(body.get("args"))
    legs = [_mapping(leg) for leg in _sequence(args.get("legs"))] or [args]
    state, reason = str(body.get("state")), str(body.get("reason") or "")
    book = open_book(ctx.view, desk, datetime_to_ns(event.occurred_at))
    if book.before is not None:
        book = _settle(book, legs, state, reason)
        ctx.apply(lambda tx: write(tx, event.seq, book.change()))
    say(ctx, event.reply_to, outcome_words(legs, state, reason))


def _settle(book: Book, legs: list[Mapping[str, Any]], state: str, reason: str) -> Book:
    if state == "done":
        return book
    ended = {str(leg.get("client_order_id")): (state, reason) for leg in legs}
    changed = replace(book, ended={**book.ended, **ended})
    if state != "unknown":
        return changed
    blocked = tuple(sorted({*book.state.blocked, *(str(leg.get("symbol")) for leg in legs)}))
    return replace(changed, state=replace(book.state, blocked=blocked))


def outcome_words(legs: list[Mapping[str, Any]], state: str, reason: str) -> str:
    """What the person who asked for the order is told."""
    what = listed(f"{leg.get('side')} {int(leg.get('quantity') or 0):,} {leg.get('symbol')}" for leg in legs)
    if state == "done":
        market = all(leg.get("type", "market") == "market" for leg in legs)
        when = "It fills at the next open" if market else "It fills when the market reaches its price"
        return f"Accepted: {what}. {when}, by the market's rules; I tell you when it is done."
    if state == "unknown":
        return (
            f"Nobody can say whether this order arrived: {what}. I count it as filled, place nothing more in it and "
            f"never repeat it. Please look at the broker. {reason}".strip()
        )
    return f"Not placed: {what}. {_sentence(reason)}".strip()


def _sentence(reason: str) -> str:
    text = reason.strip()
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
