"""Reports into files. A file appears whole or not at all; what was there before stays until the new one is ready."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retainer.core.errors import InvalidInputError
from retainer.trading.bars import Market
from retainer.trading.report.content import heat_of, report_of, walk_report_of
from retainer.trading.report.html import write_page
from retainer.trading.report.pictures import heat_picture, phone_picture

if TYPE_CHECKING:
    from retainer.trading.backtest import BacktestResult
    from retainer.trading.sweep import SweepResult
    from retainer.trading.walkforward import WalkForwardResult


def save_page(
    result: BacktestResult | WalkForwardResult, market: Market, path: Path | str, *, notes: Sequence[str] = ()
) -> Path:
    """The report as one HTML file that needs nothing else. ``notes``: things to know about the data.

    Raises :class:`InvalidInputError` when the file cannot be written.
    """
    return _placed(Path(path), ".html", write_page, _content(result, market, notes))


def save_picture(
    result: BacktestResult | WalkForwardResult, market: Market, path: Path | str, *, notes: Sequence[str] = ()
) -> Path:
    """The report as one PNG for a phone. Raises :class:`InvalidInputError` when the file cannot be written."""
    return _placed(Path(path), ".png", phone_picture, _content(result, market, notes))


def save_heat(found: SweepResult, path: Path | str, *, x: str = "", y: str = "", metric: str = "") -> Path:
    """A sweep's heat map as PNG: of its first two parameters and its objective, unless others are named.

    Raises :class:`InvalidInputError` when fewer than two parameters were varied or the file cannot be written.
    """
    if len(found.names) < 2:
        raise InvalidInputError("A heat map needs two parameters.", hint="Vary two.")
    across, up, what = x or found.names[0], y or found.names[1], metric or found.objective
    title = f"{what} of {found.name} on {', '.join(found.symbols)}"
    return _placed(Path(path), ".png", heat_picture, heat_of(found.heat(across, up, what), title, found.sentence()))


def _content(result: BacktestResult | WalkForwardResult, market: Market, notes: Sequence[str]) -> dict[str, Any]:
    from retainer.trading.walkforward import WalkForwardResult

    if isinstance(result, WalkForwardResult):
        return walk_report_of(result, market, notes=notes).to_json()
    return report_of(result, market, notes=notes).to_json()


def _placed(path: Path, suffix: str, make: Callable[[Any, Path], None], content: Any) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".retainer-", suffix=suffix)
        os.close(number)
        draft = Path(name)
        try:
            make(content, draft)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path
