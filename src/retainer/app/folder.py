"""The data folder: one place that holds everything of one service, so that a copy of it is a copy of the service."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retainer.core.errors import RetainerError
from retainer.runtime.store import StorageError

_PASSING: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""What may be over when a service is started again."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths inside the data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """The one database of the runtime."""
        return self.root / "retainer.db"

    @property
    def memory(self) -> Path:
        """A file per person."""
        return self.root / "memory"

    @property
    def secrets(self) -> Path:
        """Files of mode 0600."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pictures(self) -> Path:
        """Charts that were sent."""
        return self.root / "pictures"

    @property
    def exports(self) -> Path:
        """What was asked for with *export my data*."""
        return self.root / "exports"

    @property
    def backups(self) -> Path:
        """Backups, unless the configuration names another place."""
        return self.root / "backups"

    @property
    def market(self) -> Path:
        """Bars that were imported."""
        return self.root / "market"

    @property
    def trials(self) -> Path:
        """How often which strategy was tested."""
        return self.root / "trials.db"

    @property
    def anchors(self) -> Path:
        """Anchors of the audit, a line a day; it only grows."""
        return self.root / "anchors.jsonl"

    @property
    def recorded(self) -> Path:
        """How far the records went, as far as this folder knows; it outlives the service."""
        return self.root / "recorded.json"

    @property
    def service_file(self) -> Path:
        """What the running service says of itself, for commands in other processes."""
        return self.root / "service.json"

    def make(self) -> DataFolder:
        """Create it, for the owner only. Raises :class:`RetainerError` when it cannot be written."""
        path = self.root
        try:
            for path in (self.root, self.memory, self.secrets, self.logs, self.pictures):
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.root):
                return self
        except OSError as error:
            if isinstance(error, FileExistsError) and path != self.root:
                hint = "Move it away and start again: the folder is made anew."
                raise RetainerError(f"{path} is in the place of a folder.", hint=hint) from error
            kind = StorageError if error.errno in _PASSING else RetainerError
            raise kind(
                f"The data folder {self.root} cannot be written: {error.strerror or error}.",
                hint="Set RETAINER_DATA to a folder of yours, or mend its permissions or free space on its disk.",
            ) from error


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace ``path`` in one step, readable by the owner only. ``durable``: a power failure finds it whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(value, indent=1, sort_keys=True))
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.chmod(0o600)
    os.replace(temporary, path)


def overwrite_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write into the file that is there: what is left where a full disk or a read-only folder takes no new one."""
    with path.open("r+") as file:
        file.write(json.dumps(value, separators=(",", ":")))
        file.truncate()


def read_json(path: Path) -> dict[str, Any]:
    """The file's object; empty when there is none or it is being replaced."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
