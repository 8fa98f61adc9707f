"""The home agent of ``examples``: one folder and a few lines of configuration, and the chat agent knows its phrases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.app.running import REPOSITORY, Chat, Service, chatting

HOME = REPOSITORY / "examples" / "home"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that was told of the home agent by its configuration file, as the example's README says."""
    folder = tmp_path_factory.mktemp("home") / "data"
    folder.mkdir(mode=0o700)
    readme = (HOME / "README.md").read_text()
    block = readme.partition("```toml\n")[2].partition("```")[0]
    assert block.count("\n") <= 6
    (folder / "retainer.toml").write_text(block.replace('"examples/home"', f'"{HOME}"'))
    with Service(folder, {"RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "3600"}) as running:
        yield running


@pytest.fixture(scope="module")
def chat(home: Service) -> Iterator[Chat]:
    with chatting(home) as opened:
        yield opened


def test_the_chat_agent_uses_it_and_nothing_of_the_house_was_edited(home: Service, chat: Chat) -> None:
    chat.say("which lights are on?", "All lights are off|On: ")
    chat.say("turn on the kitchen light", "The kitchen light is on")
    chat.say("please switch the hall light on", "The hall light is on")
    chat.say("which lights are on?", "On: hall, kitchen")
    chat.say("switch off the kitchen light", "The kitchen light is off")
    chat.say("which lights are on?", r"On: hall\.")
    assert home.query("SELECT room, is_on FROM home_light ORDER BY room") == [
        {"room": "hall", "is_on": 1},
        {"room": "kitchen", "is_on": 0},
    ]
    for source in (REPOSITORY / "src").rglob("*.py"):
        assert "home_agent" not in source.read_text()


def test_a_room_it_does_not_know_is_answered_with_those_it_knows(chat: Chat) -> None:
    chat.say("turn on the attic light", "kitchen")


def test_it_is_in_the_help_and_in_the_records(home: Service, chat: Chat) -> None:
    chat.say("help", r"turn on the kitchen light")
    chat.say("turn on the kitchen light", "The kitchen light is on")
    events = home.json("log", "-n", "100")
    requests = [event for event in events if event["lane"] == "home"]
    assert {event["state"] for event in requests} == {"done"}
    assert home.json("status")["dead"] == 0


def test_the_lights_are_as_they_were_after_a_restart(home: Service, chat: Chat) -> None:
    chat.say("turn on the bedroom light", "The bedroom light is on")
    assert home.end() == 0
    home.start()
    with chatting(home) as again:
        again.say("which lights are on?", r"On: bedroom")
        again.say("turn off the bedroom light", "The bedroom light is off")


def test_without_it_in_the_configuration_the_service_goes_on_without_it(home: Service) -> None:
    assert home.end() == 0
    (home.folder / "retainer.toml").rename(home.folder / "kept.toml")
    home.start()
    with chatting(home) as again:
        again.say("help", "Stop and go")
