"""Pictures for phones, drawn in a process of their own: the account's curve, a backtest, a sweep's heat map.

Matplotlib stays out of the service: the child draws one picture and ends, so the service's memory does not grow.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from retainer.core.errors import RetainerError
from retainer.core.values import canonical

_LIMIT_S = 60.0


def picture_data(title: str, at: list[datetime], equity: list[float], hold: list[float]) -> dict[str, Any]:
    """What the child is given: plain JSON. ``hold`` may hold NaN where it is not known."""
    return {
        "kind": "account",
        "title": title,
        "at": [moment.isoformat() for moment in at],
        "equity": equity,
        "hold": [None if value != value else value for value in hold],  # noqa: PLR0124  NaN differs from itself
    }


async def draw(data: Mapping[str, Any], path: Path) -> Path:
    """Draw ``data`` into the PNG ``path``. Raises :class:`RetainerError` when it fails.

    ``data`` is plain JSON: :func:`picture_data`, or what :mod:`retainer.trading.report.content` makes of a backtest or
    a sweep; its ``kind`` says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "retainer.trading.reports",
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, complaint = await child.communicate(canonical(dict(data)))
    except TimeoutError as error:
        child.kill()
        await child.wait()
        raise RetainerError("The picture took too long to draw.") from error
    if child.returncode != 0:
        last = (complaint.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise RetainerError(f"The picture could not be drawn: {last[:200]}")
    return path


def draw_here(data: Mapping[str, Any], path: Path) -> None:
    """Draw in this process, whatever kind of picture ``data`` is."""
    from retainer.trading.report.pictures import heat_picture, phone_picture

    kinds = {"account": _account_picture, "backtest": phone_picture, "heat": heat_picture}
    kinds[data["kind"]](data, path)


def _account_picture(data: Mapping[str, Any], path: Path) -> None:
    """900 x 600 pixels, readable on a phone."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    times: Any = [datetime.fromisoformat(moment) for moment in data["at"]]
    hold = [float("nan") if value is None else float(value) for value in data["hold"]]
    figure = Figure(figsize=(6, 4), dpi=150)
    axes = figure.subplots()
    axes.plot(times, data["equity"], color="#0b6e4f", linewidth=2, label="this account")
    if any(value == value for value in hold):  # noqa: PLR0124  NaN differs from itself
        axes.plot(times, hold, color="#8a8a8a", linewidth=1.2, label="buy and hold")
    axes.set_title(str(data["title"]), loc="left", fontsize=11)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.0f}"))
    axes.grid(visible=True, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.autofmt_xdate(rotation=30)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Child process: data on standard input, path as the one argument."""
    draw_here(json.load(sys.stdin), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
