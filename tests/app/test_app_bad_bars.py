"""Bad market data through the command: row (from 0) and field are named, exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.app.test_app_bad_input import spoken

HEAD = "date,open,high,low,close,volume\n"
GOOD = "2024-01-02,10,11,9,10,100\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD + GOOD + "2024-01-03,10,11,9,nan,100\n", ["row 1", "close"]),
        (HEAD + GOOD + "2024-01-03,10,inf,9,10,100\n", ["row 1", "high"]),
        (HEAD + GOOD + "2024-01-03,0,11,0,10,100\n", ["row 1", "open"]),
        (HEAD + GOOD + "2024-01-03,10,11,-9,10,100\n", ["row 1", "low"]),
        (HEAD + GOOD + "2024-01-03,10,9,11,10,100\n", ["row 1", "high"]),
        (HEAD + GOOD + "2024-01-03,ten,11,9,10,100\n", ["row 1", "open"]),
        (HEAD + GOOD + "2024-01-03,10,11,9,10,-5\n", ["row 1", "volume"]),
        (HEAD + GOOD + GOOD, ["row 1"]),
        (HEAD + "2024-01-03,10,11,9,10,100\n" + GOOD, ["row 1"]),
        (HEAD + GOOD + "someday,10,11,9,10,100\n", ["row 1", "someday"]),
        (HEAD, ["has no rows"]),
        ("", ["X.csv"]),
        ("date,open,high,low\n2024-01-02,10,11,9\n", ["close"]),
        (HEAD + "2024-01-02 16:00,10,11,9,10,1\n2024-01-03 16:00,10,11,9,10,1\n", ["zone"]),
    ],
)
def test_a_file_that_cannot_be_is_refused_whole(tmp_path: Path, text: str, named: list[str]) -> None:
    folder, file = tmp_path / "data", tmp_path / "X.csv"
    file.write_text(text)
    code, out, said = spoken(folder, ["data", "import", str(file)], None)
    assert (code, out) == (2, ""), said
    assert said.startswith("retainer: ")
    assert "Traceback" not in said
    for words in named:
        assert words in said
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".parquet", ".npz"}]


@pytest.mark.parametrize("command", ["backtest", "sweep", "walkforward"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sma-crosss", "--symbols", "AAPL"], "sma-crosss"),
        (["sma-cross", "--symbols", "NOPE"], "NOPE"),
        (["sma-cross", "--symbols", "AAPL", "--set", "fast=nan"], "fast"),
        (["sma-cross", "--symbols", "AAPL", "--set", "fast=0"], "fast"),
        (["sma-cross", "--symbols", "AAPL", "--start", "2024-13-01"], "--start"),
        (["sma-cross", "--symbols", "AAPL", "--interval", "7min"], "7min"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_every_command(
    tmp_path: Path, command: str, arguments: list[str], named: str
) -> None:
    code, out, said = spoken(tmp_path / "data", [command, *arguments], None)
    assert (code, out) == (2, ""), said
    assert named in said
    assert "Traceback" not in said
    assert not (tmp_path / "data" / "trials.db").exists()
