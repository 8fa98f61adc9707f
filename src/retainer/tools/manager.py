"""``ToolManager``: the registry of tools, and the one way to call them with checked arguments."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from retainer.core.capabilities import Answer, Capability
from retainer.core.clock import Clock, SystemClock
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.labels import OWNER, TRUSTED, Label
from retainer.core.protocols import Row, View
from retainer.core.values import Json
from retainer.tools.builtin import builtin_tools
from retainer.tools.tool import capability, check_arguments, is_tool, plain


class ToolManager:
    """Tools by name. Reading ones may be called at once; every other is an effect that the guard must allow.

    >>> tools = ToolManager()
    >>> tools.call("tools.calculate", expression="12% of 300").text
    '12% of 300 = 36'
    """

    def __init__(
        self,
        tools: Iterable[Capability | Callable[..., Any]] = (),
        *,
        agent: str = "tools",
        clock: Clock | None = None,
        timezone: str = "UTC",
        builtins: bool = True,
    ) -> None:
        self.agent = agent
        self._tools: dict[str, Capability] = {}
        for found in builtin_tools(clock or SystemClock(), timezone) if builtins else ():
            self.add(found)
        for each in tools:
            self.add(each)

    def add(self, tool: Capability | Callable[..., Any], *, agent: str | None = None) -> Capability:
        """Register a capability or a typed function. Raises :class:`InvalidInputError` when its name is taken."""
        made = tool if isinstance(tool, Capability) else capability(tool, agent or self.agent)
        if made.name in self._tools:
            raise InvalidInputError(f"There is a tool {made.name} already.", hint="Give one of them another name.")
        self._tools[made.name] = made
        return made

    def add_from(self, owner: object, *, agent: str) -> list[Capability]:
        """Register every method of ``owner`` that was marked with :func:`~retainer.tools.tool.tool`."""
        methods = [getattr(owner, name) for name, _ in inspect.getmembers(type(owner), is_tool)]
        return [self.add(method, agent=agent) for method in methods]

    def get(self, name: str) -> Capability:
        """The tool of this name. Raises :class:`NotFoundError`, naming those there are."""
        found = self._tools.get(name)
        if found is None:
            raise NotFoundError(f"There is no tool {name}.", hint=f"There are: {', '.join(sorted(self._tools))}.")
        return found

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._tools)

    def capabilities(self) -> Sequence[Capability]:
        """All tools in the order they were added; an agent may offer them as its own."""
        return tuple(self._tools.values())

    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of a tool's arguments."""
        return self.get(name).parameters.model_json_schema()

    # --- calling -----------------------------------------------------------------------------------------------------
    async def acall(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        view: View | None = None,
        permit: Permit | None = None,
        **more: Any,
    ) -> Answer:
        """Check the arguments and call the tool.

        A tool that does more than read needs the guard's ``permit`` for exactly this call; without one
        :class:`RefusedError` is raised and nothing happens.
        """
        found = self.get(name)
        given = {**(arguments or {}), **more}
        checked = check_arguments(found, given)
        if found.run is None:
            raise RefusedError(f"{name} is carried out by the agent {found.agent}.", hint="Send it a request.")
        if found.effect_class is not EffectClass.READ:
            self._demand(found, given, permit)
        return await found.run(view or NoRecords(), checked)

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        view: View | None = None,
        permit: Permit | None = None,
        **more: Any,
    ) -> Answer:
        """:meth:`acall` for code without an event loop; inside one it runs on a thread of its own."""
        given = {**(arguments or {}), **more}

        def run() -> Answer:
            return asyncio.run(self.acall(name, given, view=view, permit=permit))

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run()
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(run).result()

    def effect(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str,
        label: Label = OWNER,
        summary: str = "",
    ) -> Effect:
        """The effect of calling a tool, checked, for an agent's ``ctx.send`` or ``ctx.call``; ``key`` names it."""
        found = self.get(name)
        checked = plain(check_arguments(found, arguments or {}).model_dump(mode="json", exclude_unset=True))
        return Effect(
            name=key,
            tool=name,
            args=checked if isinstance(checked, Mapping) else {},
            effect_class=found.effect_class,
            queue=f"tool:{found.agent}",
            label=label,
            summary=summary or found.description,
        )

    def adapters(self) -> dict[str, ToolAdapter]:
        """Adapters for every tool that does more than read, by tool name, for the runtime."""
        return {
            name: ToolAdapter(self, name)
            for name, found in self._tools.items()
            if found.effect_class is not EffectClass.READ and found.run is not None
        }

    def _demand(self, found: Capability, arguments: Mapping[str, Any], permit: Permit | None) -> None:
        wanted = self.effect(found.name, arguments, key="call")
        if permit is None or not permit.covers(wanted):
            raise RefusedError(
                f"{found.name} does more than read ({found.effect_class.value}), so the guard must allow it first.",
                hint="Send it as an effect through an agent.",
            )


class ToolAdapter:
    """Carries out the effects of one tool. What a tool does outside cannot be looked up, so it is never repeated."""

    repeat = RepeatClass.NONE

    def __init__(self, manager: ToolManager, name: str) -> None:
        self._manager = manager
        self._name = name
        found = manager.get(name)
        self.effect_class = found.effect_class
        if found.label != TRUSTED:
            self.label = found.label

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """Call the tool; its text and data are the result."""
        answer = await self._manager.acall(self._name, effect.args, permit=permit)
        return {"text": answer.text, "data": answer.data}


class NoRecords:
    """The view of a library user without a database: there are no records."""

    def query(self, _sql: str, _params: Sequence[Any] = ()) -> list[Row]:
        return []

    def one(self, _sql: str, _params: Sequence[Any] = ()) -> Row | None:
        return None
