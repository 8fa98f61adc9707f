"""The catalogue names every file by its content and may be added to."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.models.catalogue import load_catalogue, packaged_catalogue
from retainer.models.progress import Meter, Progress, size_words, time_words
from retainer.models.settings import ModelSettings

MORE = """
[roles.weather]
kind = "predict"
provider = "some.module:train"

[[model]]
id = "mine"
alias = "small"
kind = "chat"
title = "Mine"
licence = "MIT"
bytes = 5
sha256 = "{sha}"
min_ram_mib = 10
context = 512
source = [{{kind = "file", path = "/somewhere/mine.gguf"}}]
"""


def test_the_packaged_entries_are_complete() -> None:
    catalogue = packaged_catalogue()
    assert {entry.alias for entry in catalogue.model} == {"default", "small"}
    for entry in catalogue.model:
        assert entry.licence == "Apache-2.0"
        assert entry.source
    assert set(catalogue.roles) == {"chat", "trading", "analysis"}


def test_a_users_file_adds_and_takes_over_an_alias(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text(MORE.format(sha="a" * 64))
    catalogue = load_catalogue(file)
    assert catalogue.find("small").id == "mine"
    assert catalogue.find("smollm2-135m-instruct-q4_1").alias == ""
    assert "weather" in catalogue.roles
    assert "chat" in catalogue.roles


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="gpt") as caught:
        packaged_catalogue().find("gpt")
    assert "small (smollm2" in caught.value.hint


@pytest.mark.parametrize("text", ["[[model]", "[[model]]\nid = 'x'", MORE.format(sha="zz"), "\udcff"])
def test_a_wrong_file_names_itself_and_the_field(tmp_path: Path, text: str) -> None:
    file = tmp_path / "more.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInputError, match=r"more\.toml"):
        load_catalogue(file)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_catalogue(tmp_path / "absent.toml")


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError):
        ModelSettings.model_validate({"modle": "small"})
    assert ModelSettings.from_environment({"RETAINER_MODEL": "none"}).model == "none"
    assert ModelSettings.from_environment({}).model == "default"
    assert "hunter2" not in repr(ModelSettings.model_validate({"api_key": "hunter2"}))


def test_progress_speaks_plainly() -> None:
    progress = Progress("m", "fetching", 480_000_000, 1_117_320_768, 12_300_000)
    assert progress.words() == "fetching 43 % of 1.12 GB, 12.3 MB/s, 52 s left"
    assert Progress("m", "fetching", 0, 1000).words() == "fetching 0 % of 1.00 kB"
    assert Progress("m", "verifying", 5, 5).words() == "verifying"
    assert [size_words(n) for n in (5, 98_362_432)] == ["5 B", "98.4 MB"]
    assert [time_words(s) for s in (3, 200, 5000)] == ["3 s", "3 min", "1 h 23 min"]


def test_a_meter_reports_a_few_times_a_second_at_most() -> None:
    seen: list[Progress] = []
    meter = Meter("m", 1000, seen.append)
    for done in range(1000):
        meter.show("fetching", done)
    meter.show("done", 1000, force=True)
    assert len(seen) <= 3
    assert seen[-1].done == 1000
