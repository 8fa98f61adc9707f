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
from retainer.core.effects import EffectClass
from retainer.core.errors import RetainerError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.trading import answers, explaining
from retainer.trading.arguments import (
    COMPANIES,
    OrderArguments,
    PeriodArguments,
    SellAllArguments,
    StopArguments,
    SymbolArguments,
    WhyArguments,
)
from retainer.trading.book import Desk
from retainer.trading.learned import train_default
from retainer.trading.order_effects import queue_of
from retainer.trading.reports import draw, picture_data
from retainer.trading.words import percent

AGENT = "trading"
_BOT = "(the bot|the trader|the account|it|trading)"
_OF = "[shares of|share of|units of|of]"
Run = Callable[[View, Any], Awaitable[Answer]]


def capabilities_of(desk: Desk, clock: Clock, pictures: Path | None) -> tuple[Capability, ...]:
    """All capabilities of the agent for ``desk``. ``pictures``: folder for charts; ``None``: none are drawn."""
    readers = _reads(desk, clock)
    if pictures is not None:
        readers.append(_chart(desk, pictures))
    return (*readers, *_orders(desk), _stop(desk))


def _read(
    verb: str,
    description: str,
    run: Run,
    phrases: tuple[str, ...],
    examples: tuple[str, ...],
    parameters: type[BaseModel] = NoArguments,
    extra: dict[str, Json] | None = None,
) -> Capability:
    return Capability(
        name=f"{AGENT}.{verb}",
        agent=AGENT,
        description=description,
        parameters=parameters,
        phrases=phrases,
        examples=examples,
        run=run,
        extra=extra or {},
    )


def _reads(desk: Desk, clock: Clock) -> list[Capability]:
    account = desk.account

    async def performance(view: View, args: PeriodArguments) -> Answer:
        return answers.answer_performance(view, account, args.period)

    async def trades(view: View, args: PeriodArguments) -> Answer:
        return answers.answer_trades(view, account, args.period)

    async def why(view: View, args: WhyArguments) -> Answer:
        return explaining.answer_why(view, account, args.symbol, args.side)

    async def positions(view: View, _: NoArguments) -> Answer:
        return answers.answer_positions(view, account)

    async def orders(view: View, _: NoArguments) -> Answer:
        return explaining.answer_orders(view, account)

    async def quote(view: View, args: SymbolArguments) -> Answer:
        return explaining.answer_quote(view, account, args.symbol)

    async def status(view: View, _: NoArguments) -> Answer:
        return explaining.answer_status(view, desk)

    async def mandate(view: View, _: NoArguments) -> Answer:
        return explaining.answer_mandate(view, desk, clock.now())

    async def model(_view: View, _: NoArguments) -> Answer:
        return explaining.answer_model(await asyncio.to_thread(train_default))

    symbols: dict[str, Json] = {"symbols": _spoken(desk)}
    return [
        _read(
            "model",
            "The learned model beside the constant it must beat",
            model,
            (
                "how good is (the|your) [learned|trading] model",
                "(does|can) (the|your) [trading] model (work|predict anything|beat the constant)",
                "(show|show me) [the] [learned|trading] model",
            ),
            ("How good is your trading model?",),
        ),
        _read(
            "performance",
            "What the bot made in a period, to the cent",
            performance,
            (
                f"how (did|is|has) {_BOT} (do|doing|done|perform|performed|go|going) [{{period}}]",
                "how (did|are|have) (we|you) (do|doing|done) {period}",
                "how (did|are|have) we (do|doing|done)",
                "how did you do",
                "how much (did|have) (we|you|i|the bot) (make|made|earn|earned|lose|lost|win) [{period}]",
                "(profit|profits|p&l|pnl|performance|returns|result|results|gains) [of the bot|for the bot] [{period}]",
                "(whats|what is|what was|show|show me|give me) [the|my|our] "
                "(profit|p&l|pnl|performance|return|result|results) [{period}]",
                "are we (up|down|making money) [{period}]",
                "(did|have) (we|you|i|the bot) (make|made|earn|earned|lose|lost) [any] money [{period}]",
                "how (was|were) (the bot|trading|it|we) {period}",
                "what (did|has) (the bot|trading) (make|made|earn|earned|done) [{period}]",
            ),
            ("How did the bot do this month?", "How are we doing?", "Profit last week", "P&L", "performance 2006"),
            PeriodArguments,
        ),
        _read(
            "trades",
            "The trades of a period",
            trades,
            (
                "trades [{period}]",
                "(show|show me|list|give me) [the|my|all|our] trades [{period}]",
                "what did (you|the bot|we) (trade|do|buy and sell) {period}",
                "(whats|what is|what are|what were) the (last|latest|recent) trades",
                "(last|latest|recent) trades",
            ),
            ("Show me the trades this month", "What did the bot trade last week?"),
            PeriodArguments,
        ),
        _read(
            "why",
            "Why something was bought or sold: signal, indicators, risk verdict",
            why,
            (
                "why did (you|we|the bot|it) {side} [the|those|these] {symbol}",
                "why (have|has) (you|we|the bot|it) (bought|sold|traded) {symbol}",
                "why (was|were) {symbol} (bought|sold|traded)",
                "why (do|does) (you|we|the bot|it|i) (hold|own|have) {symbol}",
                "(why|reason for|reasons for|explain) [the] {side} of {symbol}",
                "(why|reason for|explain) [the] {symbol} (trade|order|position)",
                "why (didnt|did not|havent) (you|we|the bot|it) (buy|bought|sell|sold|trade|traded) {symbol}",
            ),
            ("Why did you buy IBM?", "Why did the bot sell AAPL?", "Why do we hold MSFT?"),
            WhyArguments,
            symbols,
        ),
        _read(
            "positions",
            "What the account holds",
            positions,
            (
                "(positions|portfolio|holdings|balance|equity|cash|account)",
                "(show|show me|list|whats|what is|what are) [the|my|our|your] "
                "(positions|position|portfolio|holdings|balance|equity|cash|account)",
                "what (do|does) (you|we|i|the bot|it) (own|hold|have)",
                "what (stocks|shares|positions) (do|does) (you|we|i|the bot|it) (own|hold|have)",
                "how much (cash|money) [do (i|we) have|is left|left]",
                "how much (is the account worth|am i worth|do i have|do we have)",
            ),
            ("What do you own?", "Positions", "How much cash do I have?"),
        ),
        _read(
            "orders",
            "Orders that wait for the market",
            orders,
            (
                "[open|pending|waiting|resting] orders",
                "(show|show me|list|what are|whats) [the|my|our] [open|pending|waiting|resting] orders",
                "(what|anything) (is|are|orders are) (waiting|pending|open|on order)",
            ),
            ("Open orders",),
        ),
        _read(
            "quote",
            "The last price of a symbol, dated",
            quote,
            (
                "(price|quote|last price) (of|for) {symbol}",
                "(whats|what is|show|give me|show me) the (price|quote|last price) (of|for) {symbol}",
                "{symbol} (price|quote)",
                "how much (is|does) {symbol} [cost|worth|now|at]",
                "(where|whats|what) is {symbol} trading [at|now]",
                "quote {symbol}",
            ),
            ("Price of AAPL", "How much is IBM?"),
            SymbolArguments,
            symbols,
        ),
        _read(
            "status",
            "Whether the bot trades, and what the account is worth",
            status,
            (
                "(trading|bot|trader|account) status",
                "(is|are) (the bot|you|it) (trading|running|stopped|paused)",
                "status of the (bot|trader|account)",
                "(whats|what is) the bot doing",
            ),
            ("Trading status", "Is the bot running?"),
        ),
        _read(
            "mandate",
            "What the bot may do without asking",
            mandate,
            (
                "[show|show me] [the|my|your] mandate",
                "(whats|what is) (the|your) mandate",
                "what (may|can) (you|the bot|it) (do|trade|buy) (unasked|alone|without asking|by itself|by yourself)",
            ),
            ("What may the bot do without asking?",),
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
        (
            "(chart|graph|picture|plot|curve|equity curve) [{period}]",
            "(show|show me|send|send me|draw|plot|give me) (a|the|my) "
            "(chart|graph|picture|plot|curve|equity curve|performance chart) [{period}]",
            "(show|show me|send me|give me) (a|the) (chart|picture|graph) (of|for) (the account|performance|the bot)",
        ),
        ("Show me a chart of the account", "chart this year"),
        PeriodArguments,
    )


def round_share(depth: float) -> Decimal:
    """A share as a decimal with four places of a percent."""
    return Decimal(repr(depth)).quantize(Decimal("0.000001"))


def _orders(desk: Desk) -> tuple[Capability, ...]:
    lane = queue_of(desk.account)
    return (
        Capability(
            name=f"{AGENT}.order",
            agent=AGENT,
            description="Buy or sell shares; you approve it first",
            parameters=OrderArguments,
            effect_class=EffectClass.MONEY,
            phrases=(
                f"{{side}} {{quantity}} {_OF} {{symbol}} [shares|share|stock] [now|at market]",
                f"{{side}} {{quantity}} {_OF} {{symbol}} (at|for|limit|at limit) {{limit}}",
                f"i (want to|would like to|wanna) {{side}} {{quantity}} {_OF} {{symbol}} [shares|stock]",
                f"(place|make) an order to {{side}} {{quantity}} {_OF} {{symbol}}",
            ),
            examples=("Buy 5 AAPL", "Sell 10 shares of IBM", "Buy 3 MSFT at 27.50"),
            lane=lane,
            scope="propose",
            extra={"symbols": _spoken(desk)},
        ),
        Capability(
            name=f"{AGENT}.sell_all",
            agent=AGENT,
            description="Sell every position, or all of one symbol; you approve it first",
            parameters=SellAllArguments,
            effect_class=EffectClass.MONEY,
            phrases=(
                "sell (everything|all|it all|all of it|all positions|all my positions|the lot|all stocks|all shares)",
                "(close|liquidate|exit) (everything|all|all positions|my positions|all my positions)",
                "sell (all|all my|all the|all of|all of my|my) {symbol} [shares|stock|position]",
                "(close|exit) [the|my] {symbol} position",
            ),
            examples=("Sell everything", "Sell all my IBM"),
            lane=lane,
            scope="propose",
            extra={"symbols": _spoken(desk)},
        ),
    )


def _stop(desk: Desk) -> Capability:
    return Capability(
        name=f"{AGENT}.stop",
        agent=AGENT,
        description="Cancels resting orders that could add risk; sent when somebody says stop",
        parameters=StopArguments,
        effect_class=EffectClass.WRITE_OWN,
        lane=queue_of(desk.account),
        urgent=True,
    )


def _spoken(desk: Desk) -> dict[str, Json]:
    """Names people say -> symbols of this desk; every symbol is its own name."""
    known = {symbol.lower(): symbol for symbol in desk.limits.symbols}
    known |= {name.lower(): symbol for name, symbol in COMPANIES.items() if symbol in desk.limits.symbols}
    return dict(known)
