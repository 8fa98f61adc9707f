"""TA-Lib's indicators by name: what each takes, gives, and needs before its first value.

Nothing is computed here; :mod:`retainer.trading.technical` does that. TA-Lib describes its own functions, so this
module knows only what it does not say: how a result grows when prices are counted in ticks instead of dollars.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from retainer.core.errors import InvalidInputError

SERIES: Final = ("open", "high", "low", "close", "volume")
"""What an indicator may be computed on."""
AVERAGES: Final = ("sma", "ema", "wma", "dema", "tema", "trima", "kama", "mama", "t3")
"""Kinds of average by TA-Lib's number: ``MA(20, matype=ema)``."""


def _words(text: str) -> list[str]:
    return text.split()


_SPEC: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(?:\(([^()]*)\))?\s*")
_PRICES: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    dict.fromkeys(
        _words(
            "HT_PHASOR ADD CUMSUM MAX MIN MINMAX SUB SUM AC AO APO DPO ERI MACD MACDEXT MACDFIX MINUS_DM MOM PLUS_DM"
            " QSTICK WAD ACCBANDS BBANDS DEMA DONCHIAN EMA HMA HT_TRENDLINE KAMA KC MA MAMA MAVP MIDPOINT MIDPRICE RMA"
            " SAR SAREXT SMA T3 TEMA TRIMA VWMA WMA ZLEMA AVGDEV AVGPRICE HA MEDPRICE TYPPRICE WCLPRICE LINEARREG"
            " LINEARREG_INTERCEPT LINEARREG_SLOPE PERCENTILE STDDEV TSF ADR ATR TRANGE EFI MARKETFI VWAP"
        ),
        (1,),
    )
    | {"SUPERTREND": (1, 0), "MULT": (2,), "VAR": (2,)}
)
"""Power of the price in each output (one value stands for all outputs); not listed: 0, a pure number."""
_ON_DOLLARS: Final = frozenset(
    _words("ACOS ASIN ATAN CEIL COS COSH EXP FLOOR LN LOG10 SIN SINH SQRT TAN TANH LINEARREG_ANGLE")
)
"""Not a power of the price at all: always computed on dollars."""
_ALSO_RECURSIVE: Final = frozenset(
    _words(
        "AD ADOSC ADXR APO CUMSUM CVI DEMA EFI ERI KC KDJ MACD MACDEXT MACDFIX MASSI MAXINDEX MININDEX MINMAXINDEX NVI"
        " OBV PPO PVI PVO PVT SAR SAREXT SMI STOCHRSI SUPERTREND TEMA TRIX TSI VWAP WAD ZLEMA"
    )
)
"""Depend on where history begins though TA-Lib does not count them as unstable; found by beginning later."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an indicator: a whole number, a number, or the name of an average."""

    name: str
    default: float

    @property
    def kind(self) -> str:
        """``average``, ``whole`` or ``number``."""
        return "average" if self.name.endswith("matype") else "whole" if isinstance(self.default, int) else "number"

    def read(self, text: str, spec: str) -> float:
        """The value that ``text`` means. Raises :class:`InvalidInputError` naming indicator and parameter."""
        word = text.strip().lower()
        if self.kind == "average" and word in AVERAGES:
            return AVERAGES.index(word)
        try:
            value = float(word) if self.kind == "number" else int(word)
        except ValueError:
            wanted = {"average": "an average such as ema", "whole": "a whole number", "number": "a number"}[self.kind]
            raise InvalidInputError(f"{spec}: {self.name} is {text.strip()!r}, not {wanted}.") from None
        if not -1e9 < value < 1e9:
            raise InvalidInputError(f"{spec}: {self.name} is {text.strip()}, far out of range.")
        return value


@dataclass(frozen=True, slots=True)
class Catalogued:
    """What TA-Lib says about one of its functions."""

    name: str
    title: str
    group: str
    inputs: tuple[str, ...]
    """Series in the order of the call."""
    replaceable: bool
    """Whether it has one input, which another series may replace: ``SMA(volume, 20)``."""
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    recursive: bool
    """Whether every earlier bar has some weight, so that values depend (less and less) on where history begins."""

    @property
    def powers(self) -> tuple[int, ...]:
        """Power of the price in each output."""
        known = _PRICES.get(self.name, (0,))
        return known if len(known) == len(self.outputs) else known * len(self.outputs)

    @property
    def on_dollars(self) -> bool:
        """Whether it must be computed on dollars, never on ticks."""
        return self.name in _ON_DOLLARS


@dataclass(frozen=True, slots=True)
class Indicator:
    """An indicator with its parameters: ``RSI(14)``, ``BBANDS(20, 2.5)``, ``SMA(volume, 20)``."""

    spec: str
    """As it was written."""
    about: Catalogued
    inputs: tuple[str, ...]
    parameters: tuple[tuple[str, float], ...]
    """Those given, by name; the others keep TA-Lib's defaults."""

    @property
    def warmup(self) -> int:
        """Bars before the first value: row ``warmup`` is the first valid one."""
        return _lookback(self.about.name, self.parameters, self.spec)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the results: the spec itself, or ``spec.output`` where there are several."""
        outputs = self.about.outputs
        return (self.spec,) if len(outputs) == 1 else tuple(f"{self.spec}.{name}" for name in outputs)


def known_names() -> tuple[str, ...]:
    """Every indicator there is, in alphabetical order."""
    return tuple(sorted(name for names in _groups().values() for name in names if name != "MAVP"))


@lru_cache(maxsize=1)
def _groups() -> Mapping[str, list[str]]:
    talib: Any = importlib.import_module("talib")
    groups: Mapping[str, list[str]] = talib.get_function_groups()
    return groups


@lru_cache(maxsize=512)
def catalogued(name: str) -> Catalogued:
    """What is known of the indicator ``name`` (any case). Raises :class:`InvalidInputError`, suggesting near names."""
    plain = name.upper()
    if plain not in known_names():
        near = get_close_matches(plain, known_names(), n=3)
        hint = f"Did you mean {', '.join(near)}?" if near else "For example SMA(20), RSI(14), MACD, ATR(14)."
        raise InvalidInputError(f"TA-Lib knows no {plain[:40]}.", hint=hint)
    abstract: Any = importlib.import_module("talib.abstract")
    info = abstract.Function(plain).info
    inputs: list[str] = []
    for value in info["input_names"].values():
        inputs.extend([value] if isinstance(value, str) else value)
    return Catalogued(
        name=plain,
        title=str(info["display_name"]),
        group=str(info["group"]),
        inputs=tuple(inputs),
        replaceable=tuple(info["input_names"]) == ("price",),
        parameters=tuple(Parameter(str(key), value) for key, value in info["parameters"].items()),
        outputs=tuple(info["output_names"]),
        recursive=plain in _ALSO_RECURSIVE or any("unstable" in str(flag) for flag in info["function_flags"] or ()),
    )


@lru_cache(maxsize=4096)
def parse_indicator(spec: str) -> Indicator:
    """The indicator that ``spec`` names: ``NAME``, ``NAME(20)``, ``NAME(20, nbdevup=2.5)``, ``NAME(volume, 20)``.

    Numbers in order are the parameters in TA-Lib's order; for ``BBANDS(20, 2.5)`` both bands take the one width.
    Raises :class:`InvalidInputError` naming the part that does not fit.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InvalidInputError(f"{spec[:40]!r} is not an indicator.", hint="Write it like SMA(20) or MACD(12,26,9).")
    shown = spec.strip()
    about = catalogued(match[1])
    parts = [part.strip() for part in match[2].split(",")] if match[2] and match[2].strip() else []
    inputs = about.inputs
    if parts and parts[0].lower() in SERIES:
        if not about.replaceable:
            raise InvalidInputError(f"{shown}: {about.name} is computed on {', '.join(about.inputs)}, nothing else.")
        inputs = (parts.pop(0).lower(),)
    given = _given(about, parts, shown)
    if about.name == "BBANDS" and "nbdevup" in given and "nbdevdn" not in given:
        given["nbdevdn"] = given["nbdevup"]
    found = Indicator(shown, about, inputs, tuple(given.items()))
    if found.warmup < 0:
        raise InvalidInputError(f"{shown}: its parameters do not fit together.")
    return found


def _given(about: Catalogued, parts: list[str], spec: str) -> dict[str, float]:
    known = {parameter.name: parameter for parameter in about.parameters}
    short = {"period": "timeperiod", "fast": "fastperiod", "slow": "slowperiod", "signal": "signalperiod"}
    given: dict[str, float] = {}
    for at, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if equals:
            name = key.strip().lower()
            name = name if name in known else short.get(name, name)
        elif at < len(about.parameters) and len(given) == at:
            name, value = about.parameters[at].name, part
        else:
            name = part
        if name not in known or name in given:
            takes = ", ".join(known) or "no parameters"
            raise InvalidInputError(f"{spec}: {about.name} does not take {part!r} there; it takes {takes}.")
        given[name] = known[name].read(value, spec)
    return given


@lru_cache(maxsize=4096)
def _lookback(name: str, parameters: tuple[tuple[str, float], ...], spec: str) -> int:
    abstract: Any = importlib.import_module("talib.abstract")
    try:
        return int(abstract.Function(name, **dict(parameters)).lookback)
    except Exception as error:
        shown = ", ".join(f"{key}={value:g}" for key, value in parameters)
        raise InvalidInputError(
            f"{spec}: TA-Lib does not accept {shown} ({error}).", hint="Check its periods."
        ) from error
