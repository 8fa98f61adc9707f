"""The strategy of a live account by what is configured: a classic, a strategy spec, or a class of one's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading.rules import Rule
from retainer.trading.spec import SpecStrategy, load_spec
from retainer.trading.strategies import make_strategy
from retainer.trading.strategy import SmaTrend

WHERE: Final = "trading.strategy"


def choose(
    use: str,
    symbols: tuple[str, ...],
    *,
    parameters: Mapping[str, Any] | None = None,
    weight: float | None = None,
    folder: Path | None = None,
) -> Rule:
    """The strategy that ``use`` names, for ``symbols``.

    ``use``: a classic's name, a file of a spec, or ``module:Class`` of a :class:`~retainer.trading.rules.Rule`; file
    and module are looked for in ``folder``. ``weight`` is the share of the account for each symbol held; ``None``: as
    the strategy has it. Raises :class:`RetainerError` that says which setting does not fit.
    """
    values = dict(parameters or {})
    try:
        if use == SmaTrend.name:
            raise InvalidInputError("sma-trend takes no parameters.", hint=f"Set {WHERE}.fast and {WHERE}.slow.")
        if use.lower().endswith((".toml", ".json")):
            return _spec(use, symbols, values, weight, folder)
        if ":" in use:
            kind = _own(use, folder)
            return _made(kind, use, {"symbols": symbols, **_weighed(values, weight)})
        return make_strategy(use, _weighed(values, weight), symbols=symbols)
    except RetainerError as error:
        raise type(error)(f"{WHERE}: {error.message}", hint=error.hint) from error


def _weighed(values: Mapping[str, Any], weight: float | None) -> dict[str, Any]:
    return dict(values) if weight is None else {"weight": weight, **values}


def _spec(
    use: str, symbols: tuple[str, ...], values: Mapping[str, Any], weight: float | None, folder: Path | None
) -> Rule:
    if values:
        raise InvalidInputError("a strategy spec takes no parameters.", hint="Write them into the file.")
    rule = SpecStrategy.of(load_spec((folder or Path()) / Path(use).expanduser()))
    if foreign := sorted(set(rule.symbols) - set(symbols)):
        raise InvalidInputError(
            f"{use} trades {foreign[0]}, which the account does not.", hint=f"trading.symbols: {', '.join(symbols)}."
        )
    return rule if weight is None else replace(rule, weight=weight)


def _own(use: str, folder: Path | None) -> type[Rule]:
    module, _, name = use.partition(":")
    if folder is not None:
        place = folder.expanduser().resolve()
        if not place.is_dir():
            raise NotFoundError(f"folder {place} is not there.", hint="Correct the path.")
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
    try:
        kind: Any = getattr(import_module(module), name)
    except Exception as error:
        raise NotFoundError(
            f"{use!r} cannot be loaded: {type(error).__name__}: {error}.",
            hint=f"Write module:Class, and the folder that holds the module as {WHERE}.folder.",
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Rule)):
        raise InvalidInputError(f"{use!r} is no strategy.", hint="It must be a class derived from Rule.")
    return kind


def _made(kind: type[Rule], use: str, values: Mapping[str, Any]) -> Rule:
    try:
        return kind(**values)
    except TypeError as error:
        known = ", ".join(item.name for item in kind.parameters()) or "none"
        raise InvalidInputError(f"{use} cannot be made: {error}.", hint=f"Its parameters: {known}.") from error
