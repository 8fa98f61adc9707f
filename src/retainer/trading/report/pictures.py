"""The pictures: drawn with matplotlib, in colours that a red-green blind person tells apart, readable at 400 pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN: Final = "#0b6e4f"
BENCHMARK: Final = "#8a8a8a"
FALL: Final = "#b3541e"
BUY: Final = "#1f6fb4"
SELL: Final = "#d1495b"
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_YEARS: Final = 12
"""Years in the monthly table of a phone's picture: the latest."""
_COLOURS: Final = 192
_LOGARITHMIC: Final = 5.0
"""Highest / lowest value of a curve from which equal distances mean equal percentages."""


def phone_picture(report: Mapping[str, Any], path: Path) -> None:
    """One PNG, 1080 pixels wide: result, equity with benchmark, drawdown, monthly returns, trades on the price."""
    panels = report["panels"][:1]
    title = wrap(report["title"], 50)
    lines = [part for line in report["header"][:6] for part in wrap(line, 68)]
    years = len(_table_years(report["monthly"], _YEARS))
    heights = [2.3, 0.9, 0.2 + 0.2 * (years + 1), *(1.7 for _ in panels)]
    above = 0.16 + 0.2 * len(title) + 0.152 * len(lines) + 0.08
    height = above + sum(heights) + 0.42 * len(heights) + 0.1
    with _figure(4.8, height, heights) as (figure, axes):
        figure.text(0.02, 1 - 0.1 / height, "\n".join(title), va="top", fontsize=10.5, fontweight="bold")
        at = 1 - (0.16 + 0.2 * len(title)) / height
        figure.text(0.02, at, "\n".join(lines), va="top", fontsize=8, color="#333333", linespacing=1.3)
        _equity(axes[0], report)
        _drawdown(axes[1], report)
        _monthly(axes[2], report["monthly"], _YEARS)
        for axis, panel in zip(axes[3:], panels, strict=True):
            _price(axis, panel)
        space = 0.42 * len(heights) / sum(heights)
        figure.subplots_adjust(left=0.155, right=0.975, top=1 - above / height, bottom=0.3 / height, hspace=space)
        _save_png(figure, path, 225)


def page_pictures(report: Mapping[str, Any]) -> dict[str, str]:
    """The pictures of the page as SVG texts, by name: ``equity``, ``exposure``, ``price-SYMBOL``."""
    pictures = {}
    with _figure(10, 5.2, [3, 1.2]) as (figure, axes):
        _equity(axes[0], report)
        _drawdown(axes[1], report)
        pictures["equity"] = _svg(figure)
    with _figure(10, 1.9, [1]) as (figure, axes):
        _exposure(axes[0], report)
        pictures["exposure"] = _svg(figure)
    for panel in report["panels"]:
        with _figure(10, 3.2, [1]) as (figure, axes):
            _price(axes[0], panel)
            pictures[f"price-{panel['symbol']}"] = _svg(figure)
    return pictures


def heat_picture(heat: Mapping[str, Any], path: Path) -> None:
    """A sweep's heat map as PNG: darker is better, the best set is framed."""
    values = np.array([[np.nan if v is None else v for v in row] for row in heat["values"]], dtype=np.float64)
    rows, columns = values.shape
    note = wrap(heat["note"], 92)
    height = min(9.0, max(3.6, 1.9 + 0.42 * rows)) + 0.17 * len(note)
    with _figure(7.2, height, [1]) as (figure, axes):
        axis = axes[0]
        axis.grid(visible=False)
        image = axis.imshow(values, aspect="auto", origin="lower", cmap="cividis_r")
        axis.set_xticks(range(columns), heat["x"], rotation=0 if columns <= 12 else 60)
        axis.set_yticks(range(rows), heat["y"])
        axis.set_xlabel(heat["x_name"])
        axis.set_ylabel(heat["y_name"])
        if rows * columns <= 120:
            _numbers_on(axis, values)
        if np.isfinite(values).any():
            row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
            axis.add_patch(_frame(int(column), int(row)))
        figure.colorbar(image, ax=axis, pad=0.02, label=heat["metric"])
        figure.text(0.02, 1 - 0.08 / height, heat["title"], va="top", fontsize=11, fontweight="bold")
        figure.text(0.02, 1 - 0.34 / height, "\n".join(note), va="top", color="#333333", linespacing=1.3)
        figure.tight_layout(rect=(0, 0, 1, 1 - (0.36 + 0.17 * len(note)) / height))
        _save_png(figure, path, 150)


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=SELL, linewidth=2.5, clip_on=False, zorder=3
    )


def _numbers_on(axis: Axes, values: np.ndarray[Any, Any]) -> None:
    shown = compact if np.nanmax(np.abs(values), initial=0.0) >= 100 else "{:.2f}".format
    least, most = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value > (least + most) / 2
            axis.text(column, row, shown(value), ha="center", va="center", fontsize=8, color="w" if dark else "k")


@contextmanager
def _figure(width: float, height: float, heights: Sequence[float]) -> Iterator[tuple[Figure, list[Axes]]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "retainer", "font.size": 8, "text.parse_math": False}):
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
        axes: list[Axes] = list(grid[:, 0])
        for axis in axes:
            axis.grid(visible=True, alpha=0.25)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
        yield figure, axes


def _save_png(figure: Figure, path: Path, dpi: int) -> None:
    """As a PNG of few colours: a quarter of the bytes, and nobody sees it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    few = image.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, format="PNG", compress_level=6)


def _svg(figure: Figure) -> str:
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _times(texts: Sequence[str]) -> Any:
    return [datetime.fromisoformat(text) for text in texts]


def _percent(axis: Axes, digits: int = 0) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}%}"))


def _equity(axis: Axes, report: Mapping[str, Any]) -> None:
    at = _times(report["at"])
    axis.plot(at, report["benchmark"], color=BENCHMARK, linewidth=1.2, label="buy and hold")
    axis.plot(at, report["equity"], color=OWN, linewidth=1.8, label="strategy")
    _scaled(axis, [*report["benchmark"], *report["equity"]], "$")
    axis.legend(framealpha=0.75, edgecolor="none", loc="best", ncols=2)
    _dated(axis)


def _dated(axis: Axes) -> None:
    """Few dates, each as short as can be: nothing overlaps on a phone."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    short = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_formatter(short)
    axis.margins(x=0.01)


def _scaled(axis: Axes, values: Sequence[float], unit: str) -> None:
    """A logarithmic scale where a plain one would hide most of the curve; few, round, short labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(values) > 0 and max(values) / min(values) > _LOGARITHMIC:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.annotate("logarithmic scale", (0.99, 0.03), xycoords="axes fraction", ha="right", color="#777777")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{unit}{compact(value)}"))


def compact(value: float) -> str:
    """``950``, ``12.5k``, ``2M``: short enough for an axis, to four digits."""
    for size, mark in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (10 if mark == "k" else 1):
            return f"{value / size:.4g}{mark}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _drawdown(axis: Axes, report: Mapping[str, Any]) -> None:
    at = _times(report["at"])
    fall = [-value for value in report["drawdown"]]
    axis.fill_between(at, fall, 0.0, color=FALL, alpha=0.35, linewidth=0)
    axis.plot(at, fall, color=FALL, linewidth=0.8)
    axis.set_title("drawdown: below the highest value so far", loc="left", fontsize=8, color="#555555", pad=3)
    _dated(axis)
    _percent(axis)


def _exposure(axis: Axes, report: Mapping[str, Any]) -> None:
    axis.fill_between(_times(report["at"]), report["exposure"], 0.0, color=BUY, alpha=0.3, linewidth=0, step="post")
    axis.set_title("exposure: share of the account in the market", loc="left", fontsize=8, color="#555555", pad=3)
    _dated(axis)
    axis.set_ylim(bottom=0)
    _percent(axis)


def _price(axis: Axes, panel: Mapping[str, Any]) -> None:
    count = len(panel["bought"]) + len(panel["sold"])
    size = 6.0 if count <= 60 else 4.0 if count <= 150 else 2.5
    axis.plot(_times(panel["at"]), panel["close"], color="#333333", linewidth=0.9)
    axis.plot(_times(panel["bought_at"]), panel["bought"], "^", color=BUY, markersize=size, label="bought")
    axis.plot(_times(panel["sold_at"]), panel["sold"], "v", color=SELL, markersize=size, label="sold")
    axis.set_title(panel["title"], loc="left", fontsize=8, color="#555555", pad=3)
    _dated(axis)
    _scaled(axis, panel["close"], "$")
    axis.legend(framealpha=0.75, edgecolor="none", loc="best", ncols=2)


def _table_years(monthly: Mapping[str, Mapping[str, float]], limit: int) -> list[str]:
    return sorted(monthly, key=int)[-limit:]


def _monthly(axis: Axes, monthly: Mapping[str, Mapping[str, float]], limit: int) -> None:
    axis.axis("off")
    years = _table_years(monthly, limit)
    if not years:
        return
    cells, colours = [], []
    for year in years:
        values = [monthly[year].get(str(month)) for month in (*range(1, 13), 0)]
        cells.append(["" if value is None else f"{value * 100:.1f}" for value in values])
        colours.append([shade(value) for value in values])
    table = axis.table(
        cellText=cells,
        cellColours=colours,
        rowLabels=years,
        colLabels=[*MONTHS, "Year"],
        bbox=[0.0, 0.0, 1.0, 1.0],  # type: ignore[arg-type]  # a plain box is what the documentation shows
        cellLoc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(6)
    for cell in table.get_celld().values():
        cell.set_linewidth(0.3)
        cell.set_edgecolor("#dddddd")
    axis.set_title("return of each month, percent", loc="left", fontsize=8, color="#555555", pad=3)


def shade(value: float | None) -> str:
    """Background of a return: blue for a gain, orange for a loss, stronger for more; white for none."""
    if value is None:
        return "#ffffff"
    strength = min(1.0, abs(value) / 0.10) * 0.55
    base = (31, 111, 180) if value > 0 else (209, 123, 40)
    return "#" + "".join(f"{round(255 - (255 - part) * strength):02x}" for part in base)
