"""Cached indicators: an array is computed once for the same bars, name and parameters, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from retainer.trading.bars import Bars, Floats
from retainer.trading.data.store import digest_of

MAX_BYTES: Final = 256 * 1024 * 1024


class IndicatorCache:
    """Arrays under a folder, by digest of bars, indicator, parameters and library version; the oldest go first."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(
        self, bars: Bars, name: str, parameters: Mapping[str, float | str], compute: Callable[[], Floats]
    ) -> Floats:
        """The array of indicator ``name``; ``compute`` runs only when it is not kept (or its file is damaged)."""
        path = self._folder / f"{self._key(bars, name, parameters)}.npy"
        found = _load(path)
        if found is not None and found.shape == bars.close.shape:
            os.utime(path)
            return found
        made = compute()
        self._keep(path, made)
        return made

    @staticmethod
    def _key(bars: Bars, name: str, parameters: Mapping[str, float | str]) -> str:
        what = json.dumps([digest_of(bars), name, sorted(parameters.items()), version("TA-Lib")])
        return hashlib.sha256(what.encode()).hexdigest()

    def _keep(self, path: Path, values: Floats) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".tmp", delete=False) as draft:
            np.save(draft, values, allow_pickle=False)
        os.replace(draft.name, path)
        self._prune()

    def _prune(self) -> None:
        files = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self._folder.glob("*.npy")), reverse=True)
        total = 0
        for _, size, path in files:
            total += size
            if total > self._max_bytes:
                path.unlink(missing_ok=True)


def _load(path: Path) -> Floats | None:
    try:
        found: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return found if found.dtype == np.float64 else None
