"""What the trading agent offers to the other agents and to people, with the phrases that mean it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from retainer.core.capabilities import Answer, Capability, NoArguments
from retainer.core.clock import Clock
from retainer.core.errors import RetainerError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.trading import answers, explaining, standing
from retainer.trading.arguments import (
    COMPANIES,
    DigestArguments,
    HeldArguments,
    PeriodArguments,
    SymbolArguments,
    UnsizedArguments,
    WhyArguments,
)
from retainer.trading.book import Desk
from retainer.trading.ideas import idea_capability
from retainer.trading.learned import train_default
from retainer.trading.order_effects import queue_of
from retainer.trading.order_phrases import order_capabilities
from retainer.trading.questions import QUESTIONS
from retainer.trading.reports import draw, picture_data
from retainer.trading.words import percent

AGENT = "trading"
Run = Callable[[View, Any], Awaitable[Answer]]


def capabilities_of(desk: Desk, clock: Clock, pictures: Path | None) -> tuple[Capability, ...]:
    """All capabilities of the agent for ``desk``. ``pictures``: folder for charts; ``None``: none are drawn."""
    readers = [*_figures(desk), *_standing(desk, clock)]
    readers.append(idea_capability(AGENT, desk.account, _spoken(desk), pictures))
    if pictures is not None:
        readers.append(_chart(desk, pictures))
    return (*readers, *order_capabilities(AGENT, queue_of(desk.account), {"symbols": _spoken(desk)}))


def _read(
    verb: str,
    description: str,
    run: Run,
    examples: tuple[str, ...],
    parameters: type[BaseModel] = NoArguments,
    extra: dict[str, Json] | None = None,
) -> Capability:
    return Capability(
        name=f"{AGENT}.{verb}",
        agent=AGENT,
        description=description,
        parameters=parameters,
        phrases=QUESTIONS[verb],
        examples=examples,
        run=run,
        extra=extra or {},
    )


def _figures(desk: Desk) -> list[Capability]:
    """What was made, traded, held, and what it costs."""
    account = desk.account
    symbols: dict[str, Json] = {"symbols": _spoken(desk)}

    async def performance(view: View, args: PeriodArguments) -> Answer:
        return answers.answer_performance(view, account, args.period)

    async def trades(view: View, args: PeriodArguments) -> Answer:
        return answers.answer_trades(view, account, args.period)

    async def digest(view: View, args: PeriodArguments) -> Answer:
        return standing.answer_digest(view, account, args.period)

    async def why(view: View, args: WhyArguments) -> Answer:
        return explaining.answer_why(view, account, args.symbol, args.side)

    async def positions(view: View, _: NoArguments) -> Answer:
        return answers.answer_positions(view, account)

    async def holding(view: View, args: SymbolArguments) -> Answer:
        return standing.answer_holding(view, desk, args.symbol)

    async def quote(view: View, args: SymbolArguments) -> Answer:
        return explaining.answer_quote(view, account, args.symbol)

    return [
        _read(
            "performance",
            "What the bot made in a period, to the cent",
            performance,
            ("How did the bot do this month?", "How are we doing?", "Profit last week", "P&L", "performance 2006"),
            PeriodArguments,
        ),
        _read(
            "trades",
            "The trades of a period",
            trades,
            ("Show me the trades this month", "What did the bot trade last week?"),
            PeriodArguments,
        ),
        _read(
            "digest",
            "What happened in a period: the result and the trades",
            digest,
            ("What happened today?", "Summary this week"),
            DigestArguments,
        ),
        _read(
            "why",
            "Why something was bought or sold: signal, indicators, risk verdict",
            why,
            ("Why did you buy IBM?", "Why did the bot sell AAPL?", "Why do we hold MSFT?"),
            WhyArguments,
            symbols,
        ),
        _read(
            "positions",
            "What the account holds",
            positions,
            ("What do you own?", "Positions", "How much cash do I have?"),
        ),
        _read(
            "holding",
            "How many shares of one symbol the account holds",
            holding,
            ("How many shares of Apple do I have?", "Do I own IBM?"),
            HeldArguments,
            symbols,
        ),
        _read(
            "quote",
            "The last price of a symbol, dated",
            quote,
            ("Price of AAPL", "How much is IBM?"),
            SymbolArguments,
            symbols,
        ),
    ]


def _standing(desk: Desk, clock: Clock) -> list[Capability]:
    """What waits, what may happen, whether it is safe, what an order lacks."""
    account = desk.account
    symbols: dict[str, Json] = {"symbols": _spoken(desk)}

    async def orders(view: View, _: NoArguments) -> Answer:
        return explaining.answer_orders(view, account)

    async def waiting(view: View, _: NoArguments) -> Answer:
        return standing.answer_waiting(view, account)

    async def unsized(view: View, args: UnsizedArguments) -> Answer:
        size = None if args.quantity is None else f"{args.quantity:f}"
        return standing.answer_unsized(view, desk, args.side, args.symbol, size)

    async def status(view: View, _: NoArguments) -> Answer:
        return explaining.answer_status(view, desk)

    async def mandate(view: View, _: NoArguments) -> Answer:
        return explaining.answer_mandate(view, desk, clock.now())

    async def safety(view: View, _: NoArguments) -> Answer:
        return standing.answer_safety(view, desk, clock.now())

    async def model(_view: View, _: NoArguments) -> Answer:
        return explaining.answer_model(await asyncio.to_thread(train_default))

    return [
        _read("orders", "Orders that wait for the market", orders, ("Open orders",)),
        _read(
            "waiting",
            "Everything that waits: cards for your yes, orders for the market",
            waiting,
            ("What are you waiting for?",),
        ),
        _read(
            "unsized",
            "An order that lacks its size: says what is missing",
            unsized,
            (),
            UnsizedArguments,
            {**symbols, "help": False, "answers": ["{side} {answer} {symbol}", "{side} {quantity} {answer}"]},
        ),
        _read(
            "status",
            "Whether the bot trades, and what the account is worth",
            status,
            ("Trading status", "Is the bot running?"),
        ),
        _read("mandate", "What the bot may do without asking", mandate, ("What may the bot do without asking?",)),
        _read(
            "safety",
            "Is the money safe: the account, its limits, what may happen unasked",
            safety,
            ("Is my money safe?", "Is this real money?", "What are the limits?"),
        ),
        _read(
            "model", "The learned model beside the constant it must beat", model, ("How good is your trading model?",)
        ),
    ]


def _chart(desk: Desk, pictures: Path) -> Capability:
    async def chart(view: View, args: PeriodArguments) -> Answer:
        told = answers.answer_performance(view, desk.account, args.period)
        try:
            period, marks, hold, depth = answers.curve_of(view, desk.account, args.period)
            title = f"{desk.account}: {period.name}"
            data = picture_data(title, [m.at for m in marks], [float(m.equity) for m in marks], hold)
            name = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()[:16]
            path = pictures / f"equity-{name}.png"
            if not path.is_file():
                await draw(data, path)
        except RetainerError as error:
            return Answer(f"{told.text}\n{error}", told.data)
        fall = percent(round_share(depth), sign=False)
        return Answer(f"{told.text}\nDeepest fall on the way: {fall}.", told.data, picture=str(path))

    return _read(
        "chart",
        "The account's curve as a picture, beside buying and holding",
        chart,
        ("Show me a chart of the account", "chart this year"),
        PeriodArguments,
    )


def round_share(depth: float) -> Decimal:
    """A share as a decimal with four places of a percent."""
    return Decimal(repr(depth)).quantize(Decimal("0.000001"))


def _spoken(desk: Desk) -> dict[str, Json]:
    """Names people say -> symbols of this desk; every symbol is its own name."""
    known = {symbol.lower(): symbol for symbol in desk.limits.symbols}
    known |= {name.lower(): symbol for name, symbol in COMPANIES.items() if symbol in desk.limits.symbols}
    return dict(known)
