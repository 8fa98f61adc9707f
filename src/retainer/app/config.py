"""Configuration: packaged defaults, then ``retainer.toml``, then ``RETAINER_*`` variables; the last one wins.

Everything has a default, so no file is needed. A wrong file never starts a half-configured service: the error names the
file or the variable, the field and what was expected. A misspelt name is an error too, with the likely one in the hint.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from retainer.app.operations.settings import BackupSettings, MonitorSettings
from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.settings import ChatSettings
from retainer.core.errors import InvalidInputError
from retainer.models.settings import ModelSettings
from retainer.runtime.settings import RuntimeSettings, StoreSettings
from retainer.safety.settings import SafetySettings
from retainer.trading.settings import TradingSettings

CONFIG_NAME = "retainer.toml"
PREFIX = "RETAINER_"
OTHER_VARIABLES = {
    "RETAINER_CONFIG": "The configuration file to read instead of ``retainer.toml`` in the data folder.",
    "RETAINER_CACHE": "Folder for what can be fetched again: model weights, sample bars.",
    "RETAINER_SECRET_<NAME>": "A secret by its handle, instead of a file in the data folder's ``secrets``.",
}
"""Variables that are not settings, with what they do."""
_HINT = "docs/configuration.md lists every field with its default."
_MOST_WRONG = 5


def default_data_folder() -> Path:
    """``RETAINER_DATA``, or the platform's place for a user's application data."""
    given = os.environ.get("RETAINER_DATA")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("retainer", appauthor=False))


class AgentSettings(BaseModel):
    """One further agent: a folder with a class in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: str
    """``module:Class``; called with ``settings`` as keyword arguments."""
    path: Path | None = None
    """Folder that holds the module, if it is not installed; relative to the configuration file."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The agent's own settings."""


class LogSettings(BaseModel):
    """Where and how much is logged. Texts of people and secrets never are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``."""
    max_bytes: int = Field(default=5_000_000, ge=10_000)
    """Size at which a new file is begun."""
    keep: int = Field(default=3, ge=1, le=50)
    """Older files that are kept."""


class Settings(BaseSettings):
    """All of retainer's configuration. Nested values: ``RETAINER_TRADING__REPLAY__SECONDS_PER_BAR=5``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data: Path = Field(default_factory=default_data_folder)
    """The data folder: database, memories, secrets, logs. One service runs on it at a time. The default is where this
    platform keeps a user's application data."""
    model: str = ""
    """Shorthand for ``models.model``: ``default``, ``small``, ``none`` or an id of the catalogue."""
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    safety: SafetySettings = SafetySettings()
    models: ModelSettings = ModelSettings()
    chat: ChatSettings = ChatSettings()
    telegram: TelegramSettings = TelegramSettings()
    trading: TradingSettings = TradingSettings()
    backup: BackupSettings = BackupSettings()
    monitor: MonitorSettings = MonitorSettings()
    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    """Further agents by their names."""

    @field_validator("data")
    @classmethod
    def _whole_path(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("trading")
    @classmethod
    def _placed(cls, trading: TradingSettings) -> TradingSettings:
        """Paths beside the configuration file."""
        own = trading.strategy
        if own.folder is None and not own.is_spec:
            return trading
        folder = _config_file().parent / (own.folder or Path()).expanduser()
        return trading.model_copy(update={"strategy": own.model_copy(update={"folder": folder.absolute()})})

    def chosen_models(self) -> ModelSettings:
        """``models`` with the shorthand applied."""
        return self.models.model_copy(update={"model": self.model}) if self.model else self.models

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=_config_file())


def _config_file() -> Path:
    given = os.environ.get("RETAINER_CONFIG")
    return Path(given).expanduser() if given else default_data_folder() / CONFIG_NAME


def config_file() -> Path:
    """The file that is read: ``RETAINER_CONFIG``, or ``retainer.toml`` in the data folder (it may not exist)."""
    return _config_file()


def load_settings(**overrides: Any) -> Settings:
    """Read the configuration.

    Raises :class:`InvalidInputError` naming the file or variable, the field, and what was expected.
    """
    path = _config_file()
    if os.environ.get("RETAINER_CONFIG") and not path.is_file():
        raise InvalidInputError(f"RETAINER_CONFIG names {path}, which is not a file.", hint="Correct or unset it.")
    _check_variables(os.environ)
    try:
        return Settings(**overrides)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(
            f"{path} is not valid TOML: {error}.", hint="Mend that line and start again."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text.", hint="Save it as UTF-8 and start again.") from error
    except ValidationError as error:
        found = error.errors()
        lines = [_worded(item, path) for item in found[:_MOST_WRONG]]
        more = f" And {len(found) - _MOST_WRONG} more." if len(found) > _MOST_WRONG else ""
        hints = [hint for item in found if (hint := _likely(item))]
        raise InvalidInputError(" ".join(lines) + more, hint=" ".join([*hints, _HINT])) from error
    except SettingsError as error:
        raise InvalidInputError(_unread_variable(error), hint=_HINT) from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


# --- errors in words -------------------------------------------------------------------------------------------------
def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuse a misspelt ``RETAINER_*`` variable: otherwise it would be left out without a word."""
    fields = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    fixed = {name for name in OTHER_VARIABLES if "<" not in name}
    stems = tuple(name.partition("<")[0] for name in OTHER_VARIABLES if "<" in name)
    for name in sorted(environ):
        upper = name.upper()
        first = upper.partition("__")[0]
        if not upper.startswith(PREFIX) or first in fields or upper in fixed or upper.startswith(stems):
            continue
        close = difflib.get_close_matches(first, fields | fixed, n=1)
        likely = f"Did you mean {close[0]}{upper[len(first) :]}? " if close else ""
        raise InvalidInputError(f"The environment variable {name} is no setting of retainer.", hint=likely + _HINT)


def _worded(item: Mapping[str, Any], path: Path) -> str:
    """One problem: where, what it is, what was expected."""
    where = ".".join(map(str, item["loc"])) or "the file"
    variable = (PREFIX + "__".join(map(str, item["loc"]))).upper()
    source = f"{variable} (environment)" if variable in {name.upper() for name in os.environ} else f"{path}: {where}"
    match item["type"]:
        case "extra_forbidden":
            return f"{source}: there is no such setting."
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{source}: this is a table of settings, not one value."
    said = str(item["msg"]).removeprefix("Value error, ").partition(", unable to parse")[0].rstrip(".")
    given = repr(item.get("input"))
    private = any(word in where for word in ("key", "token", "secret", "url"))
    shown = not private and len(given) <= 60 and given not in said and not given.startswith(("{", "["))
    return f"{source}: {said[:1].lower()}{said[1:]}{f', not {given}' if shown else ''}."


def _likely(item: Mapping[str, Any]) -> str:
    """The setting that was probably meant by an unknown one."""
    if item["type"] != "extra_forbidden":
        return ""
    *above, name = map(str, item["loc"])
    close = difflib.get_close_matches(name, _names_under(above), n=1)
    return f"Did you mean {'.'.join([*above, close[0]])}?" if close else ""


def _names_under(above: Sequence[str]) -> list[str]:
    """Names of the settings in the table ``above``; empty when there is no such table."""
    model: type[BaseModel] = Settings
    for name in above:
        field = model.model_fields.get(name)
        kind = field.annotation if field is not None else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def _unread_variable(error: SettingsError) -> str:
    """pydantic names the field only; the variable is what a person can correct."""
    for name in Settings.model_fields:
        variable = (PREFIX + name).upper()
        if f'"{name}"' in str(error) and variable in {key.upper() for key in os.environ}:
            return f"{variable} (environment): this is a table of settings; set one as {variable}__<NAME>."
    return f"The environment cannot be read: {error}."
