"""A tool is a typed function: found by name, called with checked arguments, and never past the guard."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from retainer import ToolManager
from retainer.agent.grammar import Grammar
from retainer.core.capabilities import Answer, NoArguments
from retainer.core.clock import ManualClock
from retainer.core.effects import EffectClass, EffectState, Permit, RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.labels import UNTRUSTED
from retainer.core.protocols import View
from retainer.tools.tool import tool

CLOCK = ManualClock(datetime(2026, 11, 20, 18, 5, tzinfo=UTC))


class House:
    def __init__(self) -> None:
        self.lit: list[str] = []

    @tool(phrases=("is the light on in the {room}",))
    def light(self, room: str) -> dict[str, bool]:
        """Whether a light is on."""
        return {"on": room in self.lit}

    @tool(effect_class=EffectClass.WRITE_OWN, sinks=("room",), label=UNTRUSTED, scope="propose")
    async def switch(self, room: str, times: int = 1) -> str:
        """Switch a light."""
        self.lit += [room] * times
        return f"on: {room}"

    def not_a_tool(self) -> str:
        return ""


def test_methods_become_capabilities() -> None:
    tools = ToolManager(builtins=False)
    tools.add_from(House(), agent="home")
    assert tools.names() == ["home.light", "home.switch"]
    switch = tools.get("home.switch")
    assert (switch.effect_class, switch.label, switch.scope) == (EffectClass.WRITE_OWN, UNTRUSTED, "propose")
    assert tools.get("home.light").description == "Whether a light is on."
    assert tools.schema("home.switch")["required"] == ["room"]
    assert tools.call("home.light", room="hall").data == {"on": False}


def test_wrong_arguments_name_the_tool_and_the_field() -> None:
    tools = ToolManager(builtins=False)
    tools.add_from(House(), agent="home")
    with pytest.raises(
        InvalidInputError, match=r"home\.light cannot be called so: room: Field required.*It takes: room"
    ):
        tools.call("home.light")
    with pytest.raises(InvalidInputError, match=r"colour: Extra inputs"):
        tools.call("home.light", room="hall", colour="red")
    with pytest.raises(NotFoundError, match=r"no tool home\.door"):
        tools.call("home.door")


def test_what_acts_needs_a_permit_for_exactly_this_call() -> None:
    house, tools = House(), ToolManager(builtins=False)
    tools.add_from(house, agent="home")
    with pytest.raises(RefusedError, match="guard must allow"):
        tools.call("home.switch", room="hall")
    other = tools.effect("home.switch", {"room": "attic"}, key="x")
    with pytest.raises(RefusedError):
        tools.call("home.switch", room="hall", permit=Permit("x", other.digest))
    assert house.lit == []


async def test_an_effect_is_carried_out_through_its_adapter() -> None:
    house, tools = House(), ToolManager(builtins=False)
    tools.add_from(house, agent="home")
    effect = tools.effect("home.switch", {"room": "hall", "times": 2}, key="on")
    assert effect.args == {"room": "hall", "times": 2}
    stored = StoredEffect(
        name=effect.name,
        tool=effect.tool,
        args=effect.args,
        effect_class=effect.effect_class,
        queue=effect.queue,
        key="e1:on",
        event_seq=1,
        lane="home",
        agent="home",
        state=EffectState.SENDING,
        repeat=RepeatClass.NONE,
        created_at=CLOCK.now(),
    )
    adapters = tools.adapters()
    assert list(adapters) == ["home.switch"]
    result = await adapters["home.switch"].execute(stored, Permit("e1:on", stored.digest))
    assert (result, house.lit) == ({"text": "on: hall", "data": None}, ["hall", "hall"])


async def test_calls_work_inside_a_running_loop_too() -> None:
    assert ToolManager(clock=CLOCK).call("tools.calculate", expression="2 + 2").text == "2 + 2 = 4"
    assert (await ToolManager(clock=CLOCK).acall("tools.date")).text == "Today is Friday, 20 November 2026 (UTC)."


def test_a_view_is_handed_in_and_is_no_argument() -> None:
    def rows(view: View, least: int = 0) -> str:
        """Counts."""
        return str(len(view.query("SELECT 1")) + least)

    tools = ToolManager([rows], builtins=False, agent="x")
    assert tools.schema("x.rows")["properties"].keys() == {"least"}
    assert tools.call("x.rows", least=2).text == "2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lambda room: room, "does not say of which type room is"),
        (lambda: lambda *rooms: rooms, "cannot be named"),
        (lambda: lambda: "", "says nothing about itself"),
    ],
)
def test_a_function_that_cannot_be_a_tool_says_why(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ToolManager([make()])


def test_two_tools_of_one_name_are_refused() -> None:
    def light() -> str:
        """Light."""
        return "on"

    with pytest.raises(InvalidInputError, match=r"tools\.light already"):
        ToolManager([light, light])


def test_results_are_json_or_an_error() -> None:
    def good() -> dict[str, object]:
        """Good."""
        return {"price": Decimal("1.50"), "at": CLOCK.now(), "tags": {"a"}}

    def bad() -> object:
        """Bad."""
        return object()

    tools = ToolManager([good, bad], builtins=False)
    assert tools.call("tools.good").data == {"price": "1.50", "at": "2026-11-20T18:05:00+00:00", "tags": ["a"]}
    with pytest.raises(InvalidInputError, match="not JSON"):
        tools.call("tools.bad")


def test_the_time_here_and_elsewhere() -> None:
    tools = ToolManager(clock=CLOCK, timezone="Europe/Oslo")
    assert tools.call("tools.time").text == "It is 19:05 on Friday, 20 November 2026 (Europe/Oslo)."
    assert "03:05 on Saturday, 21 November 2026 (Asia/Tokyo)" in tools.call("tools.time", zone="tokyo").text
    assert "13:05" in tools.call("tools.time", zone="New York?").text
    with pytest.raises(InvalidInputError, match=r"know no time zone .Atlantis"):
        tools.call("tools.time", zone="Atlantis")
    with pytest.raises(InvalidInputError, match="time zone"):
        tools.call("tools.time", zone="../../etc/passwd")


def test_every_builtin_is_a_reading_capability_with_phrases() -> None:
    found = ToolManager(clock=CLOCK).capabilities()
    assert [c.name for c in found] == ["tools.time", "tools.date", "tools.calculate"]
    assert all(c.effect_class is EffectClass.READ and c.phrases and c.examples and c.run for c in found)
    assert found[1].parameters().model_dump() == NoArguments().model_dump()
    assert isinstance(ToolManager().call("tools.date"), Answer)


@pytest.mark.parametrize(
    ("said", "expression"),
    [("what is 2 * (3+4)", "2 * (3+4)"), ("(1 + 2) * 3", "(1 + 2) * 3"), ("what's 12% of 300?", "12% of 300")],
)
def test_a_sum_typed_in_the_chat_keeps_its_brackets(said: str, expression: str) -> None:
    match = Grammar(ToolManager().capabilities()).match(said)
    assert match is not None
    assert match.args == {"expression": expression}
