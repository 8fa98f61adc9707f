"""Testing an idea in the conversation: a sentence becomes a strategy, is tested, and answered with a picture.

The prices are those the account has seen, with the history before them where the machine has it; nothing later than the
account's own clock is ever used, so a replay stays a replay.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from retainer.core.capabilities import Answer, Capability
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.trading.bars import PRICE_FIELDS, Bars, close_of, market_date
from retainer.trading.words import listed

if TYPE_CHECKING:
    from retainer.trading.backtest import BacktestResult
    from retainer.trading.phrases import Idea

PHRASES: Final = (
    "(test|backtest|back-test|simulate|try|evaluate) [out] [the idea|an idea|a strategy|the strategy] [of] {idea}",
    "what (if|would have happened if|happens if) (i|we|you|the bot) [had|would have] {idea}",
    "how would (it|i|we) have (gone|done) [if (i|we) had|by|with] {idea}",
    "would it have (paid|worked) (to|if (i|we) had) {idea}",
)
EXAMPLES: Final = (
    "Test buying AAPL when RSI(2) is under 10 and price is above the 200-day average, sell when RSI is over 70",
    "What if I had bought IBM when the price closed above its 50-day average, and sold when it closed below it?",
    "Backtest buy and hold of IBM since 2005",
)
_COLUMNS: Final = ("close_time", "volume", *PRICE_FIELDS, "factor")


class IdeaArguments(BaseModel):
    """An idea as one sentence, or its parts where somebody told them apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    names: ClassVar[Mapping[str, str]] = {}
    """Spoken name -> symbol of this desk."""

    symbol: str | None = Field(default=None, max_length=15)
    buy_when: str | None = Field(default=None, max_length=200)
    sell_when: str | None = Field(default=None, max_length=200)
    period: str | None = Field(default=None, max_length=60)
    idea: str | None = Field(default=None, max_length=600)

    @model_validator(mode="after")
    def _understood(self) -> IdeaArguments:
        """Words that are no idea are no arguments, so that small talk is not taken for one."""
        try:
            self.read()
        except RetainerError as error:
            raise ValueError(str(error)) from error
        return self

    def read(self) -> Idea:
        """The idea. Raises :class:`InvalidInputError` showing the words that were not understood."""
        from retainer.trading.phrases import idea_of, read_idea

        if self.symbol and self.buy_when and (self.sell_when or not self.idea):
            try:
                return idea_of(
                    [self.symbol], self.buy_when, self.sell_when or "", names=self.names, period=self.period or ""
                )
            except InvalidInputError:
                if not self.idea:
                    raise
        if not self.idea:
            raise InvalidInputError("No idea was named.", hint=EXAMPLES[0])
        return read_idea(self.idea, self.names, asked=False)


def arguments_for(names: Mapping[str, str]) -> type[IdeaArguments]:
    """The arguments of a desk whose symbols people call by ``names`` (small letters)."""
    return type("IdeaArguments", (IdeaArguments,), {"names": dict(names), "__module__": __name__})


def idea_capability(agent: str, account: str, symbols: Mapping[str, Json], pictures: Path | None) -> Capability:
    """The capability ``<agent>.test``. ``symbols``: spoken name -> symbol; ``pictures``: folder for charts, or none.

    What was tried is counted in ``trials.db`` beside that folder, together with what the commands tried.
    """
    names = {spoken: str(symbol) for spoken, symbol in symbols.items()}

    async def run(view: View, args: IdeaArguments) -> Answer:
        return await answer_idea(view, account, args.read(), pictures)

    return Capability(
        name=f"{agent}.test",
        agent=agent,
        description="Test a trading idea on past prices: what to buy, when, and when to sell; nothing is traded",
        parameters=arguments_for(names),
        phrases=PHRASES,
        examples=EXAMPLES,
        run=run,
        slow=True,
        extra={"symbols": dict(symbols)},
    )


async def answer_idea(view: View, account: str, idea: Idea, pictures: Path | None) -> Answer:
    """The idea tested on the account's prices, in words, with a picture where there is a folder for one."""
    from retainer.trading.answers import read_market
    from retainer.trading.report.content import report_of
    from retainer.trading.reports import draw

    kept = None if pictures is None else pictures.parent / "market"
    market = with_history(read_market(view, account), idea.strategy.symbols, kept)
    trials = None if pictures is None else pictures.parent / "trials.db"
    result = await asyncio.to_thread(tested, idea, market, trials)
    text = "\n".join([*result.header(), *_read_as(idea)])
    if pictures is None:
        return Answer(text, result.to_json())
    try:
        data = report_of(result, market).to_json()
        name = hashlib.sha256(repr(sorted(result.to_json().items())).encode()).hexdigest()[:16]
        path = pictures / f"test-{name}.png"
        if not path.is_file():
            await draw(data, path)
    except RetainerError as error:
        return Answer(f"{text}\n{error}", result.to_json())
    return Answer(text, result.to_json(), picture=str(path))


def _read_as(idea: Idea) -> list[str]:
    """How the words were read, where they were not a strategy's own name."""
    if idea.spec is None:
        return []
    return ["Nothing was traded. If that is not what you meant, say it again in other words."]


def tested(idea: Idea, market: Mapping[str, Bars], trials: Path | None) -> BacktestResult:
    """The backtest of ``idea``, counted in the file ``trials``.

    Raises :class:`~retainer.core.errors.RetainerError` when the prices do not reach.
    """
    from retainer.trading.backtest import backtest
    from retainer.trading.honesty import TrialStore

    if missing := [symbol for symbol in idea.strategy.symbols if symbol not in market]:
        raise InvalidInputError(
            f"There are no prices of {listed(missing)} here.", hint=f"There are prices of {listed(sorted(market))}."
        )
    start, end = _span(idea, market)
    if trials is None:
        return backtest(idea.strategy, market, start=start, end=end, compiled=False)
    with TrialStore(trials) as store:
        return backtest(idea.strategy, market, start=start, end=end, trials=store, compiled=False)


def _span(idea: Idea, market: Mapping[str, Bars]) -> tuple[int | None, int | None]:
    start, end = idea.start, idea.end
    if idea.years is not None:
        last = max(market_date(int(market[symbol].close_time[-1])) for symbol in idea.strategy.symbols)
        start = date(last.year - idea.years, last.month, min(last.day, 28))
    return None if start is None else close_of(start), None if end is None else close_of(end)


def with_history(seen: Mapping[str, Bars], symbols: tuple[str, ...], kept: Path | None = None) -> dict[str, Bars]:
    """Bars the account has seen, preceded by those before its first one where the machine has the same series.

    A series is the same when it has the account's first bar with the same close; nothing after the account's last bar
    is taken. ``kept``: folder of imported bars; the sample bars are known without one.
    """
    from retainer.trading.data.market import load_market

    found = dict(seen)
    for symbol in symbols:
        if symbol not in seen:
            continue
        try:
            known = load_market([symbol], folder=kept).bars[symbol]
        except (RetainerError, KeyError):
            continue
        found[symbol] = _preceded(known, seen[symbol])
    return found


def _preceded(known: Bars, seen: Bars) -> Bars:
    row = known.index_of(int(seen.close_time[0]))
    if not row or known.close[row] != seen.close[0] or known.factor[row] != seen.factor[0]:
        return seen
    before = known.upto(row)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(before, name), getattr(seen, name)]) for name in _COLUMNS}
    return Bars(symbol=seen.symbol, **arrays)
