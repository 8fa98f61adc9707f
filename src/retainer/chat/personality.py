"""``ChatPersonality``: who the assistant is, from a small TOML file; it becomes the fixed head of every prompt."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retainer.core.errors import InvalidInputError

_PACKAGED = "personality.toml"
_LARGEST = 16_384


class ChatPersonality(BaseModel):
    """Name, tone and rules. Without arguments: the packaged default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="Retainer", min_length=1, max_length=40)
    role: str = Field(default="a personal assistant that runs on its owner's own machine", max_length=300)
    tone: str = Field(default="Friendly, plain and brief.", max_length=500)
    rules: tuple[str, ...] = Field(default=(), max_length=30)
    greeting: str = Field(default="Hello! “help” shows what I can do.", max_length=500)

    @classmethod
    def load(cls, path: Path | None = None) -> ChatPersonality:
        """From ``path`` if it exists, else the packaged one. Raises :class:`InvalidInputError` naming the field."""
        if path is None or not path.exists():
            return cls.parse((files(__package__) / _PACKAGED).read_text(encoding="utf-8"), _PACKAGED)
        raw = path.read_bytes()
        if len(raw) > _LARGEST:
            raise InvalidInputError(f"{path} is larger than {_LARGEST} bytes.", hint="A personality is a page at most.")
        try:
            return cls.parse(raw.decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from error

    @classmethod
    def parse(cls, text: str, where: str = "personality") -> ChatPersonality:
        """From TOML text; ``where`` names it in errors."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InvalidInputError(
                f"{where} is not valid TOML: {error}.", hint="Compare it with the default."
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidInputError(f"{where}: {field}: {first['msg']}.", hint="Fix or remove that line.") from error

    def system_prompt(self, *, facts: Sequence[str] = (), wishes: Sequence[str] = ()) -> str:
        """The head of every prompt. It holds no clock and nothing random, so a model server can keep it ready.

        ``facts``: what the person said about themselves; ``wishes``: how they want to be answered.
        """
        lines = [f"You are {self.name}, {self.role}. {self.tone}", *(f"- {rule}" for rule in self.rules)]
        if wishes:
            lines += ["How the person wants to be answered:", *(f"- {wish}" for wish in wishes)]
        if facts:
            lines += ["What the person told you about themselves:", *(f"- {fact}" for fact in facts)]
        return "\n".join(lines)
