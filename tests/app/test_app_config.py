"""Configuration: what wins over what, errors that name the place, and a page that cannot go stale."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.app.running import REPOSITORY, retainer

from retainer.app.config import CONFIG_NAME, load_settings
from retainer.app.configdocs import configuration_page, field_texts
from retainer.core.errors import InvalidInputError
from retainer.models.settings import ModelSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder and no other variable."""
    import os

    for name in [name for name in os.environ if name.startswith("RETAINER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RETAINER_DATA", str(tmp_path))
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / CONFIG_NAME).write_text(text)


def test_nothing_has_to_be_configured(folder: Path) -> None:
    settings = load_settings()
    assert settings.data == folder
    assert settings.trading.account == "paper"
    assert settings.chosen_models().model == "default"


def test_the_file_wins_over_defaults_the_environment_over_the_file_arguments_over_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 'model = "small"\n[trading.replay]\nseconds_per_bar = 5\n[trading]\nnotify = true\n')
    assert load_settings().trading.replay.seconds_per_bar == 5
    assert load_settings().trading.replay.live_from.year == 2007
    monkeypatch.setenv("RETAINER_TRADING__REPLAY__SECONDS_PER_BAR", "7")
    monkeypatch.setenv("RETAINER_MODEL", "none")
    both = load_settings()
    assert both.trading.replay.seconds_per_bar == 7
    assert both.trading.notify
    assert both.chosen_models().model == "none"
    assert load_settings(model="default").chosen_models().model == "default"


def test_an_empty_variable_counts_as_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'model = "small"\n')
    monkeypatch.setenv("RETAINER_MODEL", "")
    monkeypatch.setenv("RETAINER_LOG__LEVEL", "")
    assert load_settings().model == "small"


def test_another_file_may_be_named_and_may_name_the_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.toml").write_text(f'data = "{elsewhere}/data"\n')
    monkeypatch.setenv("RETAINER_CONFIG", str(elsewhere / "mine.toml"))
    assert load_settings().data == folder
    monkeypatch.delenv("RETAINER_DATA")
    assert load_settings().data == elsewhere / "data"
    monkeypatch.setenv("RETAINER_CONFIG", str(elsewhere / "none.toml"))
    with pytest.raises(InvalidInputError, match="RETAINER_CONFIG"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[trading\n", ["not valid TOML", "line 1"]),
        ('[trading]\nsymbol = ["IBM"]\n', ["trading.symbol: there is no such setting", "trading.symbols?"]),
        ('[trading.replay]\nseconds_per_bar = "slow"\n', ["trading.replay.seconds_per_bar", "number", "'slow'"]),
        ("[trading.replay]\nseconds_per_bar = 0\n", ["seconds_per_bar", "greater than or equal to 0.05"]),
        ("trading = 5\n", ["trading: this is a table of settings"]),
        (
            "[trading.strategy]\nfast = 50\nslow = 20\n",
            ["trading.strategy", "fast (50) must be smaller than slow (20)"],
        ),
        ("[treding]\ncash = 1\n", ["treding: there is no such setting", "Did you mean trading?"]),
        ("[agents.home]\npath = '.'\n", ["agents.home.entry", "required"]),
        ('[trading]\naccount = "Paper 1!"\n', ["trading.account", "pattern"]),
    ],
)
def test_a_wrong_file_is_named_with_the_field_and_what_was_expected(folder: Path, text: str, words: list[str]) -> None:
    write(folder, text)
    with pytest.raises(InvalidInputError) as caught:
        load_settings()
    assert str(folder / CONFIG_NAME) in caught.value.message
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_no_text_or_no_file_is_named(folder: Path) -> None:
    (folder / CONFIG_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RETAINER_TRADNG__CASH", "5", ["RETAINER_TRADNG__CASH", "Did you mean RETAINER_TRADING__CASH"]),
        ("RETAINER_MODLE", "small", ["RETAINER_MODLE", "Did you mean RETAINER_MODEL?"]),
        ("RETAINER_TRADING__CSH", "5", ["RETAINER_TRADING__CSH", "no such setting", "trading.cash"]),
        ("RETAINER_TRADING__CASH", "lots", ["RETAINER_TRADING__CASH", "decimal", "'lots'"]),
        ("RETAINER_LOG", "DEBUG", ["RETAINER_LOG", "RETAINER_LOG__<NAME>"]),
        ("RETAINER_LOG", "5", ["RETAINER_LOG", "table"]),
        ("RETAINER_CHAT__TIMEZONE", "Mars/Base", ["RETAINER_CHAT__TIMEZONE", "Europe/Oslo"]),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError) as caught:
        load_settings()
    for word in words:
        assert word in str(caught.value)


def test_a_secret_in_a_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "123456:" + "A" * 35
    monkeypatch.setenv("RETAINER_TELEGRAM__TOKEN", token)
    with pytest.raises(InvalidInputError) as caught:
        load_settings()
    assert "RETAINER_TELEGRAM__TOKEN" in str(caught.value)
    assert token not in str(caught.value)


def test_other_variables_of_ours_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAINER_SECRET_TELEGRAM", "x")
    monkeypatch.setenv("RETAINER_CACHE", "/nowhere")
    load_settings()


def test_the_command_says_it_in_two_lines_and_leaves_with_2(folder: Path) -> None:
    write(folder, "[trading]\ncash = 'lots'\n")
    done = retainer(folder, "up")
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("retainer: ")
    assert second.startswith("  -> ")
    assert not (folder / "retainer.db").exists()


def test_the_page_about_configuration_is_current() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert page == configuration_page(), "make it again: python -m retainer.app.configdocs > docs/configuration.md"


def test_every_setting_on_the_page_has_a_meaning() -> None:
    rows = [line for line in configuration_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert not [row for row in rows if row.endswith("|  |")]
    assert "base_url" in field_texts(ModelSettings)
