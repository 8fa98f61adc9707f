"""Reports: what a page and a picture show is the result, whole, readable, and safe to open anywhere."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retainer.core.errors import InvalidInputError
from retainer.trading.backtest import BacktestResult, backtest
from retainer.trading.bars import Bars, close_of
from retainer.trading.honesty import Checks
from retainer.trading.honesty.trials import MemoryTrials
from retainer.trading.report import content
from retainer.trading.report.content import heat_of, report_of, thin, walk_report_of
from retainer.trading.report.html import page_of
from retainer.trading.report.pictures import compact, shade
from retainer.trading.report.saving import save_heat, save_page, save_picture
from retainer.trading.strategies import make_strategy
from retainer.trading.sweep import SweepResult, sweep
from retainer.trading.walkforward import WalkForwardResult, walk_forward

HOSTILE = "<script>alert('x')</script> & \"$a_b$\" </title>"
QUICK = Checks(resamples=100)


def walk(symbol: str, seed: int, count: int = 700, split_at: int | None = None) -> Bars:
    """A seeded random walk of daily bars; a split two for one at ``split_at``."""
    rng = np.random.default_rng(seed)
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0.0006, 0.012, count))), 2)
    factor = np.ones(count)
    if split_at is not None:
        close[:split_at] = np.round(close[:split_at] * 2, 2)
        factor[:split_at] = 0.5
    opened = np.round(close * (1 + rng.normal(0, 0.003, count)), 2)
    day = date(2010, 1, 4)
    days: list[date] = []
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return Bars(
        symbol=symbol,
        close_time=np.array([close_of(each) for each in days]),
        open=opened,
        high=np.maximum(opened, close) + 0.05,
        low=np.minimum(opened, close) - 0.05,
        close=close,
        volume=np.full(count, 1_000_000),
        factor=factor,
    )


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return {"ABC": walk("ABC", 1), "XYZ": walk("XYZ", 2, split_at=400)}


@pytest.fixture(scope="module")
def result(market: dict[str, Bars]) -> BacktestResult:
    strategy = make_strategy("sma-cross", {"fast": 5, "slow": 20}, symbols=("ABC", "XYZ"))
    return backtest(strategy, market, trials=MemoryTrials(), checks=QUICK, compiled=False)


@pytest.fixture(scope="module")
def swept(market: dict[str, Bars]) -> SweepResult:
    grid = {"fast": [5, 10], "slow": [20, 40, 60]}
    one = {"ABC": market["ABC"]}
    return sweep("sma-cross", one, grid, symbols=("ABC",), trials=MemoryTrials(), compiled=False)


@pytest.fixture(scope="module")
def walked(market: dict[str, Bars]) -> WalkForwardResult:
    one = {"ABC": market["ABC"]}
    strategy = make_strategy("sma-cross", symbols=("ABC",))
    grid = {"fast": [5, 10], "slow": [20, 40]}
    return walk_forward(strategy, one, grid, train=200, test=150, trials=MemoryTrials(), checks=QUICK, compiled=False)


class Page(HTMLParser):
    """What a browser would make of a page: tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def colours(path: Path) -> int:
    """How many different colours a picture has."""
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(1 << 24)
    assert found is not None
    return len(found)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# --- content ----------------------------------------------------------------------------------------------------------
def test_the_content_is_the_results_own_figures(result: BacktestResult, market: dict[str, Bars]) -> None:
    report = report_of(result, market, notes=["ABC: 2 sessions without a bar"])
    assert report.equity == result.equity.tolist()
    assert report.benchmark == result.benchmark_equity.tolist()
    assert report.drawdown == result.drawdown.tolist()
    assert report.exposure == result.exposure.tolist()
    assert report.at[0].startswith(result.start.isoformat())
    assert report.trades_total == len(result.trades) > 10
    assert [trade["profit"] for trade in report.trades] == [trade.profit for trade in result.trades]
    shown = {label: (own, held) for label, own, held in report.statistics}
    for label, own in result.statistics.rows():
        assert shown[label] == (own, dict(result.benchmark_statistics.rows())[label])
    assert shown["Costs"][0] == f"${result.costs.total:,.2f}"
    assert report.notes == ["ABC: 2 sessions without a bar"]
    assert report.honesty == result.honesty.lines()


def test_months_multiply_to_their_year_and_years_to_the_whole(result: BacktestResult, market: dict[str, Bars]) -> None:
    monthly = report_of(result, market).monthly
    total = 1.0
    for months in monthly.values():
        year = math.prod(1 + value for month, value in months.items() if month != "0")
        assert year == pytest.approx(1 + months["0"])
        total *= year
    assert total == pytest.approx(result.run.final / result.run.start_cash)


def test_the_sentence_is_told_once_and_names_period_costs_trades_and_benchmark(
    result: BacktestResult, market: dict[str, Bars]
) -> None:
    report = report_of(result, market)
    assert report.title not in report.sentence
    for part in (f"${result.costs.total:,.2f} of costs", f"{len(result.trades)} trades", "buying and holding", "2010"):
        assert part in report.sentence


def test_fills_are_drawn_at_adjusted_prices_across_a_split(result: BacktestResult, market: dict[str, Bars]) -> None:
    panel = next(each for each in report_of(result, market).panels if each.symbol == "XYZ")
    close = dict(zip(panel.at, panel.close, strict=True))
    assert len(panel.bought) > 3
    for at, price in [*zip(panel.bought_at, panel.bought, strict=True), *zip(panel.sold_at, panel.sold, strict=True)]:
        assert price == pytest.approx(close[at], rel=0.1)
    assert panel.close[-1] == market["XYZ"].close[-1]


def test_a_long_curve_is_thinned_and_keeps_its_extremes() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=100_000))
    rows = thin(values, 1_200)
    assert rows.size <= 1_202
    assert rows[0] == 0
    assert rows[-1] == values.size - 1
    assert values[rows].min() == values.min()
    assert values[rows].max() == values.max()
    assert thin(values[:1_200], 1_200).tolist() == list(range(1_200))


def test_only_the_last_fills_and_trades_of_many_are_shown_and_the_rest_is_counted(
    result: BacktestResult, market: dict[str, Bars], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MARKS", 4)
    monkeypatch.setattr(content, "TRADES", 5)
    report = report_of(result, market)
    panel = report.panels[0]
    own = result.run.fills[result.run.fills["symbol"] == result.run.symbols.index(panel.symbol)]
    assert len(panel.bought) + len(panel.sold) == 4
    assert panel.title.endswith(f"the last 4 of {own.size} fills")
    assert min(panel.at) == min([*panel.bought_at, *panel.sold_at])
    assert len(report.trades) == 5
    assert f"Trades (the last 5 of {len(result.trades)})" in page_of(report.to_json())


def test_a_walk_forward_shows_every_choice(walked: WalkForwardResult, market: dict[str, Bars]) -> None:
    report = walk_report_of(walked, market)
    assert report.title.startswith("Walk-forward: ")
    assert len(report.folds) == len(walked.folds) >= 3
    assert report.folds[0][2] == ", ".join(f"{k} {v}" for k, v in walked.folds[0].parameters.items())
    assert report.equity == walked.result.equity.tolist()
    assert "Chosen on the past, tested on what followed" in page_of(report.to_json())


# --- the page ---------------------------------------------------------------------------------------------------------
def test_the_page_is_one_file_that_loads_nothing(
    result: BacktestResult, market: dict[str, Bars], tmp_path: Path
) -> None:
    text = save_page(result, market, tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "object", "embed", "image", "base", "form"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"href", "src", "xlink:href"}:
                assert (value or "").startswith("#"), (tag, name, value)
    outside = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text
    assert [tag for tag, _ in page.tags].count("svg") == 2 + len(result.symbols)


def test_the_page_says_the_results_figures(result: BacktestResult, market: dict[str, Bars]) -> None:
    page = Page(page_of(report_of(result, market).to_json()))
    for label, own in result.statistics.rows():
        assert f"{label} {own}" in page.text
    for line in result.honesty.lines():
        assert line in page.text
    for trade in result.trades:
        assert f"{trade.profit:+,.2f}" in page.text
    assert f"Trades ({len(result.trades)})" in page.text


def test_names_from_outside_stay_text(result: BacktestResult, market: dict[str, Bars], tmp_path: Path) -> None:
    hostile = replace(result, title=HOSTILE, name=HOSTILE, source=HOSTILE, parameters={HOSTILE: HOSTILE})
    page = Page(save_page(hostile, market, tmp_path / "x.html", notes=[HOSTILE]).read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 4
    assert size_of(save_picture(hostile, market, tmp_path / "x.png"))[0] == 1_080


def test_a_result_without_a_trade_has_a_report_too(market: dict[str, Bars], tmp_path: Path) -> None:
    strategy = make_strategy("rsi-reversion", {"enter": 1, "leave": 99}, symbols=("ABC",))
    calm = {"ABC": replace(walk("ABC", 5, 260))}
    none = backtest(strategy, calm, trials=MemoryTrials(), checks=QUICK, compiled=False)
    assert not none.trades
    assert "None." in save_page(none, calm, tmp_path / "none.html").read_text(encoding="utf-8")
    assert colours(save_picture(none, calm, tmp_path / "none.png")) > 10


# --- pictures ---------------------------------------------------------------------------------------------------------
def test_the_phones_picture_is_1080_wide_not_blank_and_small(
    result: BacktestResult, market: dict[str, Bars], tmp_path: Path
) -> None:
    path = save_picture(result, market, tmp_path / "phone.png")
    width, height = size_of(path)
    assert width == 1_080
    assert 1_500 < height < 2_800
    assert colours(path) > 20
    assert path.stat().st_size < 200_000


def test_the_heat_map_frames_the_best_set_and_says_how_many_were_tried(swept: SweepResult, tmp_path: Path) -> None:
    path = save_heat(swept, tmp_path / "heat.png")
    assert size_of(path)[0] == 1_080
    assert colours(path) > 20
    heat = heat_of(swept.heat("fast", "slow"), "title", swept.sentence())
    assert heat["x"] == ["5", "10"]
    assert heat["y"] == ["20", "40", "60"]
    best = swept.sets[swept.best]
    place = heat["y"].index(f"{best['slow']:g}"), heat["x"].index(f"{best['fast']:g}")
    assert heat["values"][place[0]][place[1]] == max(value for row in heat["values"] for value in row)
    assert "6 sets" in heat["note"]


def test_a_heat_map_with_gaps_is_drawn_and_one_without_two_parameters_refused(
    swept: SweepResult, market: dict[str, Bars], tmp_path: Path
) -> None:
    gaps = replace(swept, figures={**swept.figures, "sharpe": np.full(6, np.nan)})
    assert colours(save_heat(gaps, tmp_path / "gaps.png")) > 5
    alone = sweep(
        "sma-cross", {"ABC": market["ABC"]}, {"fast": [5, 10]}, symbols=("ABC",), trials=MemoryTrials(), compiled=False
    )
    with pytest.raises(InvalidInputError, match="two parameters"):
        save_heat(alone, tmp_path / "alone.png")
    assert not (tmp_path / "alone.png").exists()


def test_a_picture_that_fails_leaves_what_was_there(
    result: BacktestResult, market: dict[str, Bars], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retainer.trading.report.saving.write_page", full)
    with pytest.raises(InvalidInputError, match="No space left"):
        save_page(result, market, path)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "the old one"


def test_the_child_process_draws_the_same_content(swept: SweepResult, tmp_path: Path) -> None:
    heat = heat_of(swept.heat("fast", "slow"), "sharpe of sma-cross on ABC", swept.sentence())
    path = tmp_path / "child.png"
    done = subprocess.run(
        [sys.executable, "-m", "retainer.trading.reports", str(path)],
        input=json.dumps(heat),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert size_of(path)[0] == 1_080


@pytest.mark.parametrize(
    ("value", "text"),
    [(950, "950"), (9_500, "9,500"), (12_500, "12.5k"), (2e6, "2M"), (0.5, "0.5"), (3e9, "3B"), (-20_000, "-20k")],
)
def test_labels_of_an_axis_are_short(value: float, text: str) -> None:
    assert compact(value) == text


def test_a_gain_is_blue_a_loss_orange_and_more_is_stronger() -> None:
    def parts(value: float | None) -> tuple[Any, ...]:
        text = shade(value)
        return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))

    assert parts(None) == parts(0.0) == (255, 255, 255)
    assert parts(0.05)[2] > parts(0.05)[0]
    assert parts(-0.05)[0] > parts(-0.05)[2]
    assert parts(0.08)[0] < parts(0.02)[0]
