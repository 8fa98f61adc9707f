"""The personality file, the settings, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from retainer.chat.personality import ChatPersonality
from retainer.chat.settings import ChatSettings
from retainer.core.errors import InvalidInputError


def test_the_packaged_personality_makes_a_prompt_without_a_clock(tmp_path: Path) -> None:
    who = ChatPersonality.load(tmp_path / "absent.toml")
    assert who == ChatPersonality.load()
    prompt = who.system_prompt()
    assert prompt.startswith("You are Retainer")
    assert prompt == ChatPersonality.load().system_prompt()
    assert len(prompt) < 1200


def test_facts_and_wishes_come_after_what_never_changes(tmp_path: Path) -> None:
    who = ChatPersonality.load()
    prompt = who.system_prompt(facts=["Your name is Anna."], wishes=["answer shorter"])
    assert prompt.startswith(who.system_prompt())
    assert "Anna" in prompt


@pytest.mark.parametrize(
    ("text", "words"),
    [("name = ", "not valid TOML"), ('nane = "x"', "nane"), ('name = ""', "name"), ("rules = 3", "rules")],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "personality.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=words):
        ChatPersonality.load(path)


def test_binary_and_huge_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "personality.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        ChatPersonality.load(path)
    path.write_bytes(b"#" * 20_000)
    with pytest.raises(InvalidInputError, match="larger"):
        ChatPersonality.load(path)


def test_settings_know_their_zone_and_refuse_unknown_fields() -> None:
    assert ChatSettings(timezone="Europe/Oslo").zone().key == "Europe/Oslo"
    assert ChatSettings().zone().key
    with pytest.raises(ValidationError, match="not a time zone"):
        ChatSettings(timezone="Mars/Base")
    with pytest.raises(ValidationError):
        ChatSettings.model_validate({"tone": "loud"})


def test_heavy_packages_stay_out_of_start_up() -> None:
    code = (
        "import sys, retainer.chat.agent, retainer.agent.universal\n"
        "heavy = {'dateparser', 'tzlocal', 'pandas', 'numpy', 'prompt_toolkit', 'telegram', 'xllamacpp'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
