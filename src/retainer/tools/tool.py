"""Making a tool from a plain typed function."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from retainer.core.capabilities import Answer, Capability
from retainer.core.effects import EffectClass
from retainer.core.errors import InvalidInputError
from retainer.core.labels import TRUSTED, Label
from retainer.core.protocols import View
from retainer.core.values import Json

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__retainer_tool__"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What :func:`tool` notes on a function."""

    name: str | None = None
    description: str | None = None
    effect_class: EffectClass = EffectClass.READ
    label: Label = TRUSTED
    sinks: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    scope: str = "chat"


def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect_class: EffectClass = EffectClass.READ,
    label: Label = TRUSTED,
    sinks: tuple[str, ...] = (),
    phrases: tuple[str, ...] = (),
    examples: tuple[str, ...] = (),
    scope: str = "chat",
) -> Callable[[F], F]:
    """Mark a function or method as a tool; it stays callable as it is.

    Defaults: the function's name and the first line of its docstring. Arguments are its annotated parameters; one
    annotated ``View`` is filled in with the caller's read-only view and is no argument.
    """
    spec = ToolSpec(
        name=name,
        description=description,
        effect_class=effect_class,
        label=label,
        sinks=sinks,
        phrases=phrases,
        examples=examples,
        scope=scope,
    )

    def mark(function: F) -> F:
        setattr(function, _MARK, spec)
        return function

    return mark


def is_tool(function: object) -> bool:
    """Whether :func:`tool` marked it."""
    return isinstance(getattr(function, _MARK, None), ToolSpec)


def capability(function: Callable[..., Any], agent: str, spec: ToolSpec | None = None) -> Capability:
    """The capability ``<agent>.<name>`` that calls ``function``.

    Raises :class:`InvalidInputError` for a parameter without annotation, for ``*args`` and ``**kwargs``, for a sink
    that is no parameter, and for a function without a description.
    """
    spec = spec or getattr(function, _MARK, None) or ToolSpec()
    verb = str(spec.name or getattr(function, "__name__", "tool"))
    parameters, view_name = _parameters(function, verb)
    description = spec.description or (inspect.getdoc(function) or "").split("\n")[0].strip()
    if not description:
        raise InvalidInputError(f"The tool {verb} says nothing about itself.", hint="Give it a one-line docstring.")
    unknown = [sink for sink in spec.sinks if sink not in parameters.model_fields]
    if unknown:
        raise InvalidInputError(f"The tool {verb} has no parameter {unknown[0]}.", hint="Correct its sinks.")
    return Capability(
        name=f"{agent}.{verb}",
        agent=agent,
        description=description,
        parameters=parameters,
        effect_class=spec.effect_class,
        phrases=spec.phrases,
        examples=spec.examples,
        run=_runner(function, view_name, spec.label),
        label=spec.label,
        sinks=spec.sinks,
        scope=spec.scope,
    )


def check_arguments(found: Capability, arguments: Mapping[str, Any]) -> BaseModel:
    """The validated parameters of a call. Raises :class:`InvalidInputError` naming the tool, the field and the rule."""
    try:
        return found.parameters.model_validate(dict(arguments))
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'call'}: {item['msg']}" for item in error.errors())
        fields = ", ".join(found.parameters.model_fields) or "none"
        raise InvalidInputError(f"{found.name} cannot be called so: {lines}.", hint=f"It takes: {fields}.") from error


def as_answer(value: Any, label: Label) -> Answer:
    """What a tool returned as an :class:`Answer`: an answer stays, text is text, other JSON is data and its words."""
    if isinstance(value, Answer):
        return value
    if isinstance(value, str):
        return Answer(value, label=label)
    data = plain(value)
    words = ", ".join(f"{key}: {item}" for key, item in data.items()) if isinstance(data, Mapping) else str(data)
    return Answer(words, data, label=label)


def plain(value: Any) -> Json:
    """``value`` as JSON. Raises :class:`InvalidInputError` for what has no honest JSON form."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    raise InvalidInputError(f"A tool returned {type(value).__name__}, which is not JSON.", hint="Return plain values.")


def _parameters(function: Callable[..., Any], verb: str) -> tuple[type[BaseModel], str | None]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidInputError(f"The tool {verb} has an annotation that cannot be read: {error}.") from error
    fields: dict[str, Any] = {}
    view_name = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise InvalidInputError(f"The tool {verb} has a parameter {parameter} that cannot be named in a call.")
        hint = hints.get(parameter.name)
        if hint is None:
            raise InvalidInputError(
                f"The tool {verb} does not say of which type {parameter.name} is.", hint="Annotate it, e.g. name: str."
            )
        if hint is View:
            view_name = parameter.name
            continue
        default = Field() if parameter.default is parameter.empty else Field(default=parameter.default)
        fields[parameter.name] = (hint, default)
    made: type[BaseModel] = create_model(
        "".join(part.title() for part in verb.split("_")) + "Arguments",
        __config__=ConfigDict(extra="forbid"),
        **fields,
    )
    return made, view_name


def _runner(
    function: Callable[..., Any], view_name: str | None, label: Label
) -> Callable[[View, Any], Awaitable[Answer]]:
    async def run(view: View, arguments: BaseModel) -> Answer:
        values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        if view_name is not None:
            values[view_name] = view
        result = function(**values)
        if inspect.isawaitable(result):
            result = await result
        return as_answer(result, label)

    return run
