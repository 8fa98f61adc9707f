"""The service behind a library object: what ``UniversalAgent`` needs of whoever hosts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from retainer.core.capabilities import Capability
from retainer.core.errors import RetainerError
from retainer.core.protocols import Tx, View

T = TypeVar("T")

DEFAULT_HOST = "retainer.app.embed:embedded_host"
"""Dotted name of a factory ``(config, model_type) -> Host``: the same service, on a thread of this process."""

LIBRARY_CHANNEL = "library"
"""Channel of people who talk through a Python object."""


class Host(Protocol):
    """A running service, reached from ordinary synchronous code. Safe to call from any thread."""

    def ask(self, person: str, text: str, *, agent: str = "chat", timeout: float = 120.0) -> str:
        """Put a message of ``person`` into the service and wait for the replies to it.

        ``person`` is a stable id at the channel ``library`` (a phone number, ``local``); the host pairs it on first
        use, because whoever calls this runs inside the process already: authorise before calling. Replies that belong
        to the message are joined by blank lines. Raises :class:`RetainerError` when none arrives within ``timeout``
        seconds.
        """
        ...

    def person_id(self, person: str) -> str:
        """Person id behind a stable id of the channel ``library``; pairs it like :meth:`ask`."""
        ...

    def ask_model(self, prompt: str, *, timeout: float = 120.0) -> str:
        """Words of the chat model, without memory, tools or effects. Raises :class:`RetainerError` without a model."""
        ...

    def capabilities(self) -> Sequence[Capability]:
        """Everything the agents of the service offer."""
        ...

    def write(self, apply: Callable[[Tx], T]) -> T:
        """Run ``apply`` on the writer; durable when it returns."""
        ...

    def view(self) -> View:
        """A read-only view for the calling thread."""
        ...

    def part(self, name: str) -> Any:
        """A room's public object of this service: ``memory``, ``tools``, ``safety``, ``models``.

        Raises :class:`~retainer.core.errors.NotFoundError` for an unknown name.
        """
        ...

    def close(self) -> None:
        """Stop the service, if it was started for this object."""
        ...


HostFactory = Callable[[Mapping[str, Any] | None, str], Host]


def resolve_host(config: Mapping[str, Any] | None, model_type: str, name: str = DEFAULT_HOST) -> Host:
    """Start (or find) the host that the dotted ``name`` makes. Raises :class:`RetainerError` when there is none."""
    module, _, factory = name.partition(":")
    try:
        make = cast("HostFactory", getattr(import_module(module), factory))
    except (ImportError, AttributeError) as error:
        raise RetainerError(f"No host {name} is installed.", hint="Pass host=... to the agent.") from error
    return make(config, model_type)
