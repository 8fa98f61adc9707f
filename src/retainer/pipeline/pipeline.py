"""``DataPipeline``: one door for raw input of every kind."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import import_module, resources
from typing import Any

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.pipeline.stages import Processor


class DataPipeline:
    """Makes raw input ready by its kind: ``chat``, ``trading``, ``analysis``, or one of your own.

    ``processors`` adds or replaces kinds: an object with ``transform``, or its dotted name ``module:Class``. The
    domains bring their processors; this room knows them by name only, and imports one when it is first used.
    """

    def __init__(self, processors: Mapping[str, Processor | str] | None = None) -> None:
        self._processors: dict[str, Processor | str] = {**default_processors(), **(processors or {})}

    def kinds(self) -> list[str]:
        """All kinds, sorted."""
        return sorted(self._processors)

    def processor(self, kind: str) -> Processor:
        """The processor of ``kind``. Raises :class:`NotFoundError` for a kind that is not configured."""
        found = self._processors.get(kind)
        if found is None:
            raise NotFoundError(f"There is no pipeline for “{kind}”.", hint=f"There are: {', '.join(self.kinds())}.")
        if isinstance(found, str):
            found = self._processors[kind] = resolve(found)()
        if not callable(getattr(found, "transform", None)):
            raise InvalidInputError(f"The processor of “{kind}” has no transform(raw).", hint="Give it one.")
        return found

    def process(self, kind: str, raw: Any) -> Any:
        """``raw`` made ready. Raises :class:`InvalidInputError` naming the row or field that does not fit."""
        return self.processor(kind).transform(raw)


def default_processors() -> dict[str, str]:
    """The packaged names of the domains' processors."""
    text = resources.files("retainer.pipeline").joinpath("defaults.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["processors"])


def resolve(name: str) -> Any:
    """What the dotted name ``module:attribute`` stands for. Raises :class:`NotFoundError` when there is none."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise InvalidInputError(f"“{name}” is no dotted name.", hint="Write module:attribute.")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NotFoundError(
            f"{name} cannot be loaded: {error}.", hint="Check the name and that it is installed."
        ) from error
