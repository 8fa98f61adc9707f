"""The real bars: pinned, verified, refused when damaged, and what they say about splits and dividends."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.trading import samples
from retainer.trading.actions import Action, actions
from retainer.trading.bars import Bars, market_date
from retainer.trading.units import to_units


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return samples.load_samples()


def test_four_symbols_with_all_their_days(market: dict[str, Bars]) -> None:
    assert {s: len(b) for s, b in market.items()} == {"AAPL": 3270, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}
    for bars in market.values():
        assert market_date(int(bars.close_time[-1])) == date(2013, 3, 1)
        assert bars.factor[-1] == 1.0


def test_the_rows_equal_the_file_s(market: dict[str, Bars]) -> None:
    lines = gzip.decompress(samples.sample_path().read_bytes()).decode().splitlines()
    rows = [line.split(",") for line in lines if line.startswith("IBM,")]
    bars = market["IBM"]
    for number in (0, 1_000, 3_269):
        row, bar = rows[number], bars.bar(number)
        assert [bar.open, bar.high, bar.low, bar.close] == [to_units(value) for value in row[2:6]]
        assert (market_date(bar.close_time).isoformat(), bar.volume) == (row[1], int(row[6]))


def test_the_splits_and_only_they_are_found(market: dict[str, Bars]) -> None:
    found = {s: [(a.day, a.action) for a in actions(b) if a.action.is_split] for s, b in market.items()}
    two = Action(new=2, old=1)
    assert found == {
        "AAPL": [(date(2000, 6, 21), two), (date(2005, 2, 28), two)],
        "GOOG": [],
        "IBM": [],
        "MSFT": [(date(2003, 2, 18), two)],
    }


def test_the_special_dividend_of_2004_is_cash(market: dict[str, Bars]) -> None:
    [special] = [a for a in actions(market["MSFT"]) if a.day == date(2004, 11, 15)]
    assert special.action == Action(dividend=303)
    quarterly = [a.action.dividend for a in actions(market["IBM"])]
    assert (len(quarterly), min(quarterly), max(quarterly)) == (52, 13, 86)


def test_adjusted_closes_are_continuous_over_the_split(market: dict[str, Bars]) -> None:
    bars = market["AAPL"]
    returns = np.abs(np.diff(np.log(bars.adjusted())))
    assert np.sort(returns)[-2] < 0.2  # but for 29 September 2000, when it lost half
    assert np.abs(np.diff(np.log(bars.close))).max() > 0.69


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAINER_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError, match="not on this machine") as caught:
        samples.load_samples()
    assert "retainer fetch" in caught.value.hint
    with pytest.raises(NotFoundError, match="no FB"):
        samples.load_samples(("FB",))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    damaged = bytearray(samples.sample_path().read_bytes())
    damaged[1_000] ^= 1
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(damaged)
    with pytest.raises(InvalidInputError, match="digest"):
        samples.load_samples(path=path)


def test_another_layout_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="columns"):
        samples.parse_samples(io.StringIO("a,b\n1,2\n"), ("IBM",))


def test_a_wheel_without_the_pinned_file_is_not_used(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"not a zip")
    with pytest.raises(RetainerError, match="damaged"):
        samples.take_member(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(RetainerError, match="lacks"):
        samples.take_member(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(samples.MEMBER, b"forged")
    with pytest.raises(RetainerError, match="not the pinned file"):
        samples.take_member(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(samples.MEMBER, samples.sample_path().read_bytes())
    assert samples.take_member(wheel) == samples.sample_path().read_bytes()


def test_without_the_registry_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAINER_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said: list[str] = []
    with pytest.raises(RetainerError, match="could not be downloaded") as caught:
        samples.fetch_samples(said.append)
    assert "retainer fetch" in caught.value.hint
    assert said == ["sample bars: downloading 13 MB"]
    assert [p.name for p in (tmp_path / "data").iterdir()] == []


def test_fetching_repairs_a_damaged_file_from_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = samples.sample_path().read_bytes()
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / "bokeh_sampledata-2026.1-py3-none-any.whl", "w") as archive:
        archive.writestr(samples.MEMBER, good)
        info = "bokeh_sampledata-2026.1.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: bokeh_sampledata\nVersion: 2026.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("RETAINER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    samples.sample_path().parent.mkdir(parents=True)
    samples.sample_path().write_bytes(b"damaged")
    assert samples.fetch_samples().read_bytes() == good
    assert [p.name for p in samples.data_folder().iterdir()] == [samples.FILE_NAME]
    said: list[str] = []
    samples.fetch_samples(said.append)
    assert said == ["sample bars: already there"]
