"""Running a *read* capability inside a turn: its answer is a recorded step, shown as code wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from retainer.core.capabilities import Answer, Capability
from retainer.core.errors import InvalidInputError
from retainer.core.labels import Label
from retainer.core.protocols import Context
from retainer.core.values import Json, digest


async def read_capability(
    ctx: Context, capability: Capability, args: Mapping[str, Json], *, step: str = "call:0:0"
) -> Answer:
    """The capability's answer. ``args`` are validated again; errors a person can act on pass through."""
    run = capability.run
    if run is None:
        raise InvalidInputError(f"{capability.name} cannot be read in a turn.")
    parsed = _parsed(capability, args)

    async def call() -> dict[str, Json]:
        return answer_to_json(await run(ctx.view, parsed))

    def read(answer: Mapping[str, Json]) -> Label:
        return capability.label.join(answer_from_json(answer).label)

    recorded = await ctx.step(step, call, input_digest=digest([capability.name, dict(args)]), label=read)
    return answer_from_json(recorded)


def _parsed(capability: Capability, args: Mapping[str, Json]) -> BaseModel:
    """The arguments as the capability takes them; what a model made up is told like any other mistake."""
    try:
        return capability.parameters.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInputError(f"{where}: {said}" if where else said) from error


def answer_to_json(answer: Answer) -> dict[str, Json]:
    """As a step records it."""
    return {"text": answer.text, "data": answer.data, "label": answer.label.encode(), "picture": answer.picture}


def answer_from_json(record: Mapping[str, Json]) -> Answer:
    """Inverse of :func:`answer_to_json`."""
    values = cast("dict[str, Any]", dict(record))
    return Answer(values["text"], values["data"], Label.decode(values["label"]), values["picture"])
