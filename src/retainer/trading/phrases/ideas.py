"""Ideas in a sentence: *test buying AAPL when RSI(2) is under 10, sell when it is over 70, since 2005*, as a spec.

The grammar knows the common sentences and says which words it does not know; it never guesses. Nothing of what was said
is dropped: a sentence is understood whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from retainer.core.errors import InvalidInputError
from retainer.trading.phrases.conditions import ConditionReader, Exits
from retainer.trading.phrases.scanner import Scanner, plain
from retainer.trading.rules import Rule
from retainer.trading.spec import SpecStrategy, StrategySpec, load_spec
from retainer.trading.strategies import CATALOGUE, make_strategy

_ASK: Final = (
    r"(?:please |can you |could you |lets |let's |i want to |i would like to )*"
    r"(?:(?:back[- ]?test|test|simulate|evaluate|check)(?: out)?"
    r"(?: (?:the idea|an idea|a strategy|the strategy))?(?: of| that)?:?"
    r"|what (?:if|would have happened if|happens if) (?:i|we|you|the bot)(?: had| would have)?"
    r"|(?:how|what) would (?:it|i|we) have (?:gone|done|made|earned)(?: (?:if (?:i|we)(?: had)?|by|with))?"
    r"|would it have (?:paid|worked) (?:to|if (?:i|we)(?: had)?)"
    r"|try)"
)
_BUY: Final = r"(?:to )?(?:buying|buys?|bought|going long(?: on)?|go long|long|holding|hold|held|owning|owned)"
_WHEN: Final = r"(?:only )?(?:when(?:ever)?|if|every time|each time|once|as soon as|on days when|any time)"
_SELL: Final = (
    r"(?:to )?(?:selling|sells?|sold|exit(?:ing|ed)?|get(?:ting)? out|got out|clos(?:e|ing)(?: the position)?|"
    r"leav(?:e|ing)|go(?:ing)? (?:flat|to cash))(?: (?:it|them|again|everything|all))*"
)
_NUMBER: Final = r"(?P<n>\d+(?:\.\d+)?) ?(?:%|percent)"
_YEAR: Final = r"(?:19|20)\d{2}"
_DATE: Final = rf"(?:{_YEAR}-\d{{2}}-\d{{2}}|{_YEAR})"
_CLASSICS: Final[Mapping[str, str]] = {
    r"buy(?:ing)?[- ]and[- ]hold(?:ing)?": "buy-and-hold",
    r"(?:the )?(?:sma|moving average) cross(?:over|ing)?": "sma-cross",
    r"(?:the )?ema cross(?:over|ing)?": "ema-cross",
    r"(?:the )?macd cross(?:over|ing)?": "macd-cross",
    r"(?:the )?rsi[- ](?:mean[- ])?reversion": "rsi-reversion",
    r"(?:the )?bollinger(?: bands?| reversion)?": "bollinger",
    r"(?:the )?(?:donchian(?: channel| breakout)?|turtles?)": "donchian",
    r"(?:the )?breakout": "breakout",
    r"(?:the )?momentum rotation": "momentum-rotation",
    r"(?:the )?volatility target(?:ing)?": "volatility-target",
}


@dataclass(frozen=True, slots=True)
class Idea:
    """A sentence as a strategy, and the period it asks for."""

    strategy: Rule
    spec: StrategySpec | None = None
    """What a rule in words became; ``None`` for a classic named by its name."""
    start: date | None = None
    end: date | None = None
    years: int | None = None
    """The last so many years, on the clock of whoever asks."""
    said: str = ""


@dataclass(slots=True)
class _Draft:
    symbols: tuple[str, ...] = ()
    buy: str | None = None
    sell: str | None = None
    classic: str | None = None
    weight: float = 0.0
    start: date | None = None
    end: date | None = None
    years: int | None = None
    exits: Exits = field(default_factory=Exits)


def read_idea(text: str, symbols: Mapping[str, str], *, asked: bool = True) -> Idea:
    """The idea in ``text``.

    ``symbols``: spoken name (small letters) -> symbol. ``asked``: whether the sentence must begin with *test* or the
    like. Raises :class:`InvalidInputError` showing the words that were not understood, or what is missing.
    """
    scanner = Scanner(plain(text))
    if not scanner.take(_ASK) and asked:
        raise scanner.lost("Begin with “test”: test buying AAPL when ..., sell when ...")
    draft = _Draft()
    reader = _IdeaReader(scanner, symbols, draft)
    reader.read()
    return _idea(draft, plain(text))


def idea_of(
    symbols: Sequence[str], buy_when: str, sell_when: str, *, names: Mapping[str, str] | None = None, period: str = ""
) -> Idea:
    """An idea whose parts were told apart already; each part is read by the same grammar, and errors name it."""
    draft = _Draft(symbols=tuple((names or {}).get(symbol.lower(), symbol.upper()) for symbol in symbols))
    remembered: dict[str, str] = {}
    for name, part in (("buy_when", buy_when), ("sell_when", sell_when)):
        scanner = Scanner(plain(part))
        scanner.take(rf"(?:{_BUY}|{_SELL})")
        scanner.take(_WHEN)
        reader = ConditionReader(scanner, remembered)
        try:
            found = reader.conditions(exits=draft.exits if name == "sell_when" else None)
            if not scanner.done:
                raise scanner.lost()
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}: {error}") from error
        setattr(draft, name.split("_")[0], found)
    if period:
        scanner = Scanner(plain(period))
        reader_ = _IdeaReader(scanner, names or {}, draft)
        if not reader_.period() or not scanner.done:
            raise InvalidInputError(f"period: I do not know “{period[:40]}”.", hint="For example: since 2005.")
    return _idea(draft, f"{buy_when}; {sell_when}")


def _idea(draft: _Draft, said: str) -> Idea:
    if not draft.symbols:
        raise InvalidInputError("What should be bought is not said.", hint="For example: test buying AAPL when ...")
    strategy, spec = _classic(draft) if draft.classic else _ruled(draft)
    return Idea(strategy, spec, draft.start, draft.end, draft.years, said)


def _classic(draft: _Draft) -> tuple[Rule, None]:
    parameters = {"weight": draft.weight} if draft.weight else {}
    return make_strategy(draft.classic or "", parameters, symbols=draft.symbols), None


def _ruled(draft: _Draft) -> tuple[Rule, StrategySpec]:
    if draft.buy is None:
        raise InvalidInputError("When to buy is not said.", hint="For example: ... when RSI(2) is under 10.")
    stops: dict[str, Any] = {"bars": draft.exits.bars}
    for name in ("loss", "profit", "trailing"):
        value = getattr(draft.exits, name)
        stops[name] = None if value is None else float(value) / 100.0
    if draft.sell is None and not any(value is not None for value in stops.values()):
        raise InvalidInputError("When to sell is not said.", hint="For example: ..., sell when RSI is over 70.")
    fields: dict[str, Any] = {
        "symbols": draft.symbols,
        "buy_when": draft.buy,
        "stops": {key: value for key, value in stops.items() if value is not None},
        "size": {"weight": draft.weight},
    }
    if draft.sell is not None:
        fields["sell_when"] = draft.sell
    spec = load_spec(fields)
    return SpecStrategy.of(spec), spec


@dataclass(slots=True)
class _IdeaReader:
    scanner: Scanner
    symbols: Mapping[str, str]
    draft: _Draft
    conditions: ConditionReader = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = ConditionReader(self.scanner)

    def read(self) -> None:
        """Every clause to the end of the sentence."""
        self._classic()
        while not self.scanner.done:
            self.scanner.take(r"[,;.:]+")
            begin = self.scanner.at
            self.scanner.take(r"(?:and )?(?:then )?(?:i |we |the bot )?(?:would |had )?")
            if self._clause():
                continue
            self.scanner.at = begin
            if not self._clause():
                raise self.scanner.lost()

    def _clause(self) -> bool:
        return any(
            clause()
            for clause in (self._stop, self._profit, self._sell, self._buy, self._size, self.period, self._when)
        )

    def _classic(self) -> None:
        for pattern, name in _CLASSICS.items():
            begin = self.scanner.at
            if self.scanner.take(rf"(?:an? )?{pattern}(?: strategy| rule| system)?(?: (?:on|of|with|for|in))"):
                found = self._symbols()
                if found and self.draft.classic is None:
                    self.draft.classic, self.draft.symbols = name, found
                    return
            self.scanner.at = begin
        for name in CATALOGUE:
            begin = self.scanner.at
            if self.scanner.take(rf"(?:the )?{re.escape(name)}(?: strategy)? (?:on|of|with|for)") and (
                found := self._symbols()
            ):
                self.draft.classic, self.draft.symbols = name, found
                return
            self.scanner.at = begin

    def _buy(self) -> bool:
        if self.draft.classic is not None or self.draft.symbols or not self.scanner.take(_BUY):
            return False
        self.scanner.take(r"(?:some |the )?(?:shares|stock) (?:of|in)")
        self.draft.symbols = self._symbols()
        if not self.draft.symbols:
            raise self.scanner.lost("Name a symbol that is known here.")
        if self.draft.buy is None and self.scanner.take(_WHEN):
            self.draft.buy = self.conditions.conditions()
        elif self.draft.buy is None and self.scanner.take(r"(?:while|as long as)"):
            self._while()
        return True

    def _while(self) -> None:
        """*holding it while*: bought when it becomes true, sold when it no longer is."""
        condition = self.conditions.conditions()
        self.draft.buy, self.draft.sell = condition, f"not ({condition})"

    def _when(self) -> bool:
        """*when RSI(2) is under 10, buy AAPL*: the condition first."""
        if self.draft.buy is not None or self.draft.classic is not None or not self.scanner.take(_WHEN):
            return False
        self.draft.buy = self.conditions.conditions()
        return True

    def _sell(self) -> bool:
        if self.draft.classic is not None or self.draft.sell is not None or not self.scanner.take(_SELL):
            return False
        self.scanner.take(_WHEN)
        self.draft.sell = self.conditions.conditions(exits=self.draft.exits)
        return True

    def _stop(self) -> bool:
        head = r"(?:with |using |and )*(?:an? |the )?"
        match = (
            self.scanner.take(rf"{head}(?P<trail>trailing )?stop(?:[- ]loss)?(?: of| at)?(?: an?)? {_NUMBER}")
            or self.scanner.take(rf"{head}{_NUMBER} (?P<trail>trailing )?stop(?:[- ]loss)?")
            or self.scanner.take(rf"{head}(?:stop|stopped) out (?:at )?(?P<trail>)(?:an? )?{_NUMBER}(?: loss)?")
        )
        if match is None:
            return False
        setattr(self.draft.exits, "trailing" if match["trail"] else "loss", match["n"])
        return True

    def _profit(self) -> bool:
        head = r"(?:with |and )*(?:an? |the )?"
        match = self.scanner.take(
            rf"{head}(?:take[- ]profits?|profit target|target|taking profits?)(?: of| at)?(?: an?)? {_NUMBER}"
        ) or self.scanner.take(rf"{head}{_NUMBER} (?:take[- ]profit|profit target)")
        if match is None:
            return False
        self.draft.exits.profit = match["n"]
        return True

    def _size(self) -> bool:
        match = self.scanner.take(
            rf"(?:with|using|putting|for) (?:(?P<half>half)|{_NUMBER})(?: of)?"
            r"(?: (?:the|my) (?:account|money|cash|capital))"
        )
        if match is None:
            return False
        self.draft.weight = 0.5 if match["half"] else float(match["n"]) / 100.0
        return True

    def period(self) -> bool:
        """``since 2005``, ``from 2005 to 2010``, ``over the last 5 years``, ``in 2008``."""
        take = self.scanner.take
        if match := take(rf"(?:from|between) (?P<a>{_DATE}) (?:to|until|till|and|-|through) (?P<b>{_DATE})"):
            self.draft.start, self.draft.end = _first(match["a"]), _last(match["b"])
        elif match := take(rf"(?:since|from|starting(?: in)?|after) (?P<a>{_DATE})"):
            self.draft.start = _first(match["a"])
        elif match := take(rf"(?:until|till|up to|before) (?P<b>{_DATE})"):
            self.draft.end = _last(match["b"])
        elif match := take(rf"(?:in|during|for|over) (?P<a>{_YEAR})"):
            self.draft.start, self.draft.end = _first(match["a"]), _last(match["a"])
        elif match := take(r"(?:over|in|for|during) the (?:last|past) (?P<n>\d{1,2}) years?"):
            self.draft.years = int(match["n"])
        else:
            return False
        return True

    def _symbols(self) -> tuple[str, ...]:
        """One or more known names, joined by commas and *and*."""
        found: list[str] = []
        names = sorted(self.symbols, key=len, reverse=True)
        while True:
            begin = self.scanner.at
            if found and self.scanner.take(r"(?:, ?and |, |and |or |& )") is None:
                break
            match = next((m for name in names if (m := self.scanner.take(rf"\$?{re.escape(name.lower())}"))), None)
            if match is None:
                self.scanner.at = begin
                break
            found.append(self.symbols[match[0].lstrip("$")])
        return tuple(dict.fromkeys(found))


def _first(text: str) -> date:
    return _day(text if "-" in text else f"{text}-01-01")


def _last(text: str) -> date:
    return _day(text if "-" in text else f"{text}-12-31")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{text} is not a date.", hint="Write it like 2005-03-01.") from error
