"""What people compare: the price, averages, RSI, bands, highs and lows, in the words they use for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retainer.core.errors import InvalidInputError
from retainer.trading.catalogue import parse_indicator
from retainer.trading.phrases.scanner import Scanner

UNIT: Final = r"(?P<unit>days?|d|bars?|periods?|sessions?|weeks?|w|months?)"
_BARS: Final = {"w": 5, "m": 21}
_KINDS: Final = {"simple": "SMA", "exponential": "EMA", "weighted": "WMA", "sma": "SMA", "ema": "EMA", "wma": "WMA"}
_ARTICLE: Final = r"(?:(?:the|its|their|an?|today's|previous) )?"
_NUMBER: Final = (
    r"(?P<dollar>\$)?(?P<sign>-)?(?P<n>\d[\d,]*(?:\.\d+)?)(?P<percent> ?%| percent)?(?P<usd> (?:dollars|usd))?"
    r"(?![-\s]*(?:days?|bars?|weeks?|months?|d|periods?|sessions?)\b|[-\s]+(?:sma|ema|wma|ma|rsi|atr)\b)"
)
"""A number that is not the length of something."""
_AVERAGE: Final = r"(?:moving[- ])?(?:average|avg|mean)(?: price)?"


@dataclass(frozen=True, slots=True)
class Value:
    """A number of every bar, as an expression of the spec language."""

    text: str
    subject: str = ""
    """``price``, ``volume``, ``macd``, ``rsi 2`` ...: what *its* and a second mention refer to."""
    number: bool = False
    dollars: bool = False
    said_it: bool = False
    """Whether it was called *it*: what that means depends on what was compared before."""


def bars_in(count: str, unit: str | None) -> int:
    """Bars in so many days, weeks (5) or months (21)."""
    return int(count) * _BARS.get((unit or "d")[0], 1)


def read_value(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    """The value right here, if there is one.

    ``before``: what it is compared with; ``remembered``: periods said earlier in the sentence (RSI(2), then *RSI*).
    """
    for reader in (_plain_number, _rsi, _average, _band, _extreme, _macd, _earlier, _series, _named):
        at = scanner.at
        found = reader(scanner, before, remembered)
        if found is not None:
            return found
        scanner.at = at
    return None


def _plain_number(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before, remembered
    match = scanner.take(_NUMBER)
    if match is None:
        return None
    text = f"{match['sign'] or ''}{match['n'].replace(',', '')}{'%' if match['percent'] else ''}"
    return Value(text, number=True, dollars=bool(match["dollar"] or match["usd"]))


def _rsi(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before
    match = scanner.take(
        _ARTICLE + rf"(?:(?P<n>\d+)(?:[- ]?{UNIT})?[- ]+rsi|rsi ?\( ?(?P<m>\d+) ?\)|rsi[- ](?P<k>\d+)|rsi)"
    )
    if match is None:
        return None
    said = match["n"] or match["m"] or match["k"]
    period = str(bars_in(said, match["unit"])) if said else remembered.get("rsi", "14")
    remembered["rsi"] = period
    return Value(f"RSI({period})", "rsi")


def _average(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del remembered
    match = scanner.take(
        _ARTICLE + rf"(?:(?P<n>\d+)(?:[- ]?{UNIT})?[- ]+(?P<kind>simple|exponential|weighted)?[- ]?"
        rf"(?:{_AVERAGE}|(?P<short>sma|ema|wma|ma))"
        rf"|(?P<short2>sma|ema|wma|ma) ?\(? ?(?P<m>\d+) ?\)?)(?P<of> of (?:the |its )?volume)?"
    )
    if match is None:
        match = scanner.take(
            rf"{_ARTICLE}(?P<kind>)(?P<short>)(?P<short2>)(?P<m>){_AVERAGE} of the (?:last|past) (?P<n>\d+) {UNIT}"
            r"(?P<of> volume)?"
        )
    if match is None:
        return None
    kind = _KINDS.get(match["kind"] or match["short"] or match["short2"] or "simple", "SMA")
    period = bars_in(match["n"], match["unit"]) if match["n"] else int(match["m"])
    volume = bool(match["of"]) or (before is not None and before.subject == "volume")
    return Value(f"{kind}(volume, {period})" if volume else f"{kind}({period})", "average")


def _band(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before
    match = scanner.take(
        _ARTICLE + r"(?P<side>upper|lower|middle|top|bottom) (?:bollinger[- ])?band"
        r"(?: ?\( ?(?P<n>\d+)(?: ?, ?(?P<w>\d+(?:\.\d+)?))? ?\))?"
    )
    if match is None:
        return None
    side = {"top": "upper", "bottom": "lower"}.get(match["side"], match["side"])
    period = match["n"] or remembered.get("band", "20")
    remembered["band"] = period
    return Value(f"BBANDS({period}, {match['w'] or '2'}).{side}band", "band")


def _extreme(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before, remembered
    match = scanner.take(_ARTICLE + rf"(?:new )?(?P<n>\d+)[- ]?{UNIT}[- ]+(?P<side>highs?|lows?)") or scanner.take(
        rf"{_ARTICLE}(?P<side>highest(?: high| close)?|lowest(?: low| close)?|high|low) "
        rf"(?:of|in|over|for) the (?:last|past|previous) (?P<n>\d+) {UNIT}"
    )
    if match is None:
        return None
    count = 252 if match["n"] == "52" and (match["unit"] or "").startswith("w") else bars_in(match["n"], match["unit"])
    high = match["side"].startswith("high")
    return Value(f"MAX(high, {count})[1]" if high else f"MIN(low, {count})[1]", "high" if high else "low")


def _macd(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del remembered
    if before is not None and before.subject == "macd" and scanner.take(_ARTICLE + r"(?:macd )?signal(?: line)?"):
        return Value("MACD.macdsignal", "signal")
    if scanner.take(_ARTICLE + r"macd histogram"):
        return Value("MACD.macdhist", "macd")
    return Value("MACD.macd", "macd") if scanner.take(_ARTICLE + r"macd(?: line)?") else None


def _earlier(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before, remembered
    match = scanner.take(
        r"(?:yesterday's|the previous (?:day's|bar's)|the day before's|the prior day's) "
        r"(?P<what>open|high|low|close|volume)"
    )
    return Value(f"{match['what']}[1]", match["what"]) if match is not None else None


def _series(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    del before, remembered
    if scanner.take("(?:it|they)"):
        return Value("close", "price", said_it=True)
    if scanner.take(_ARTICLE + r"(?:adjusted )?(?:closing price|share price|stock price|price|close|stock|shares)"):
        return Value("close", "price")
    match = scanner.take(_ARTICLE + r"(?:trading )?(?P<what>volume|open|high|low)")
    return Value(match["what"], match["what"]) if match is not None else None


def _named(scanner: Scanner, before: Value | None, remembered: dict[str, str]) -> Value | None:
    """Any other indicator of TA-Lib by its own name: ``ADX(14)``, ``CCI(20)``, ``14-day ATR``."""
    del before
    match = scanner.take(_ARTICLE + r"(?P<spec>[a-z][a-z0-9_]{1,15} ?\([a-z0-9_., =]*\)(?:\.[a-z]+)?)") or scanner.take(
        _ARTICLE + rf"(?:(?P<n>\d+)[- ]?{UNIT}[- ]+)?(?P<spec>[a-z][a-z0-9_]{{1,15}})"
    )
    if match is None:
        return None
    groups = match.groupdict()
    spec = match["spec"].replace(" ", "")
    if groups.get("n"):
        spec = f"{spec}({bars_in(groups['n'], groups['unit'])})"
    head, bracket, tail = spec.partition(")")
    name, output = (f"{head})", tail.removeprefix(".")) if bracket else (spec, "")
    if "(" not in name and name in remembered:
        name = remembered[name]
    try:
        indicator = parse_indicator(name.upper())
    except InvalidInputError:
        return None
    remembered[indicator.about.name.lower()] = indicator.spec
    outputs = indicator.about.outputs
    if len(outputs) > 1 and output not in outputs:
        return None
    return Value(f"{indicator.spec}.{output}" if len(outputs) > 1 else indicator.spec, indicator.about.name.lower())
