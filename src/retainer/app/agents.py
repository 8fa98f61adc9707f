"""Further agents, named in the configuration: a folder, a class, its settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from retainer.app.config import Settings, config_file
from retainer.core.effects import RepeatClass
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Adapter, Agent, Migration, TransactionalAdapter
from retainer.runtime.migrate import FURTHER

RESERVED = frozenset({"chat", "trading", "phone"})


def load_agents(settings: Settings) -> list[Agent]:
    """Make every agent of ``[agents.<name>]``. Raises :class:`InvalidInputError` naming the entry that is wrong."""
    return [_load(settings, name) for name in sorted(settings.agents)]


def agent_migrations(agents: Sequence[Agent]) -> tuple[Migration, ...]:
    """The tables that these agents bring along (attribute ``migrations``), named so that a database which has those of
    an agent that is no longer configured is known for what it is."""
    return tuple(
        replace(step, name=f"{FURTHER}{agent.name}/{step.name}")
        for agent in agents
        for step in getattr(agent, "migrations", ())
    )


def agent_adapters(agents: Sequence[Agent]) -> Mapping[str, Adapter | TransactionalAdapter]:
    """What these agents bring to carry out their own effects with (method ``adapters``), by tool.

    Raises :class:`InvalidInputError` for a tool that is not named ``<agent>.<verb>``, or has no repeat class.
    """
    found: dict[str, Adapter | TransactionalAdapter] = {}
    for agent in agents:
        for tool, adapter in getattr(agent, "adapters", dict)().items():
            if not tool.startswith(f"{agent.name}."):
                raise InvalidInputError(
                    f"agents.{agent.name}: its tool {tool!r} is not its own.", hint=f"Name it {agent.name}.<verb>."
                )
            if not isinstance(getattr(adapter, "repeat", None), RepeatClass):
                raise InvalidInputError(
                    f"agents.{agent.name}: {tool} does not say what repeating it does.",
                    hint="Give its adapter the attribute `repeat`, a RepeatClass.",
                )
            found[tool] = adapter
    return found


def _load(settings: Settings, name: str) -> Agent:
    entry = settings.agents[name]
    where = f"agents.{name}"
    if name in RESERVED:
        raise InvalidInputError(f"{where}: this name is taken.", hint="Choose another one.")
    module_name, _, attribute = entry.entry.partition(":")
    if not module_name or not attribute:
        raise InvalidInputError(f"{where}.entry is {entry.entry!r}.", hint="Write it as module:Class.")
    if entry.path is not None:
        folder = (config_file().parent / entry.path.expanduser()).resolve()
        if not folder.is_dir():
            raise InvalidInputError(f"{where}.path: {folder} is not a folder.", hint="Correct the path.")
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        factory: Any = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"{where}.entry {entry.entry!r} cannot be loaded: {error}.",
            hint=f"Check the name, and that {where}.path is the folder that holds the module.",
        ) from error
    try:
        agent = cast("Agent", factory(**entry.settings))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{where}.settings do not fit {attribute}: {error}.", hint="Compare them with what the class takes."
        ) from error
    if agent.name != name:
        raise InvalidInputError(f"{where}: the agent calls itself {agent.name!r}.", hint="Use that name in the file.")
    return agent
