"""Secrets as handles: configuration says ``secret:telegram``, only the connector resolves it, nothing prints it.

Looked up in the environment (``RETAINER_SECRET_TELEGRAM``) first, then in a file of the secrets folder that only its
owner may read. A resolved value is registered for redaction before anybody has it.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.safety.redact import Redactor, default_redactor

PREFIX = "secret:"
ENV_PREFIX = "RETAINER_SECRET_"
MAX_BYTES = 16_384
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Secret:
    """A resolved secret. Its text comes out of :meth:`reveal` only, never of ``repr``, ``str`` or a format."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it where it is used, keep it nowhere."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("A secret cannot be pickled.")


def name_of(handle: str) -> str:
    """``secret:telegram`` or ``telegram`` -> ``telegram``. Raises :class:`InvalidInputError` for anything else."""
    name = handle.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:20]!r}... is not the name of a secret." if len(name) > 20 else f"{name!r} is not a secret's name.",
            hint="Write a handle such as secret:telegram, never the secret itself.",
        )
    return name


class Secrets:
    """The secrets folder and the environment, by handle."""

    def __init__(self, folder: Path, *, env: Mapping[str, str] | None = None, redactor: Redactor | None = None) -> None:
        self.folder = folder
        self._env = os.environ if env is None else env
        self._redactor = redactor or default_redactor()

    def __repr__(self) -> str:
        return f"Secrets({self.folder})"

    def resolve(self, handle: str) -> Secret:
        """The secret behind ``handle``, registered for redaction.

        Raises :class:`NotFoundError` when there is none and :class:`InvalidInputError` when its file is open to others.
        """
        name = name_of(handle)
        variable = ENV_PREFIX + name.upper().replace("-", "_")
        value = self._env.get(variable, "").strip() or self._read(name)
        if not value:
            raise NotFoundError(
                f"There is no secret called {name}.",
                hint=f"Set {variable} or put it into {self.folder / name} (mode 600).",
            )
        self._redactor.register(value)
        return Secret(name, value)

    def find(self, handle: str) -> Secret | None:
        """:meth:`resolve`, or ``None`` where there is no such secret."""
        try:
            return self.resolve(handle)
        except NotFoundError:
            return None

    def store(self, handle: str, value: str) -> Path:
        """Keep ``value`` in a file that only its owner may read, replaced in one step and flushed to disk."""
        name = name_of(handle)
        value = value.strip()
        self._redactor.register(value)
        if len(value.encode()) > MAX_BYTES or "\n" in value:
            raise InvalidInputError(
                f"The secret {name} is not one line of at most {MAX_BYTES} bytes.", hint="Paste the token alone."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        fd, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(value + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return self.folder / name

    def remove(self, handle: str) -> bool:
        """Delete the file of ``handle``; whether there was one."""
        path = self.folder / name_of(handle)
        existed = path.is_file()
        path.unlink(missing_ok=True)
        return existed

    def names(self) -> list[str]:
        """Names of the secrets kept in the folder."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if _NAME.fullmatch(p.name) and p.is_file())

    def _read(self, name: str) -> str:
        path = self.folder / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise InvalidInputError(
                f"The secret file {path} cannot be read: {error.strerror}.", hint="It must be a plain file of yours."
            ) from error
        with os.fdopen(fd, encoding="utf-8", errors="strict") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise InvalidInputError(
                    f"The secret file {path} is open to others (mode {stat.S_IMODE(mode):o}).",
                    hint=f"Run: chmod 600 {path}",
                )
            try:
                return file.read(MAX_BYTES).strip()
            except UnicodeDecodeError as error:
                raise InvalidInputError(f"The secret file {path} is not text.", hint="Store it again.") from error
