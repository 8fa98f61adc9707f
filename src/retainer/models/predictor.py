"""Numeric models: a JSON artefact that a person can read, served with numpy alone. Nothing is ever unpickled."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from retainer.core.errors import InvalidInputError
from retainer.core.values import digest
from retainer.models.errors import DamagedFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class TrainedOn(BaseModel):
    """What a predictor has seen: so that nobody evaluates it on its own past by mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    """Instant of the first row, ISO 8601."""
    last: str
    """Instant at which the last row's outcome was known, ISO 8601."""
    rows: int = Field(ge=1)
    symbols: tuple[str, ...] = ()


class Scores(BaseModel):
    """Out-of-sample quality, beside the constant that any model must beat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(ge=1)
    """Out-of-sample rows."""
    log_loss: float = Field(ge=0, allow_inf_nan=False)
    """Mean negative log-likelihood in nats; lower is better."""
    constant_log_loss: float = Field(ge=0, allow_inf_nan=False)
    """The same of the constant: the base rate known before each row."""

    @property
    def beats_constant(self) -> bool:
        """Whether the model was better than the constant on rows it had not seen."""
        return self.log_loss < self.constant_log_loss


class _Artefact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: Literal["retainer-predictor/1"] = "retainer-predictor/1"
    name: str = Field(pattern=rf"^{_SAFE_NAME.pattern}$")
    features: tuple[str, ...]
    trained_on: TrainedOn
    scores: Scores


class LogisticArtefact(_Artefact):
    """p = sigmoid(intercept + coef . (row - mean) / scale)."""

    kind: Literal["logistic"] = "logistic"
    coef: tuple[float, ...]
    intercept: float = Field(allow_inf_nan=False)
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @model_validator(mode="after")
    def _shapes(self) -> LogisticArtefact:
        import math

        count = len(self.features)
        for field in ("coef", "mean", "scale"):
            values = getattr(self, field)
            if len(values) != count:
                raise ValueError(f"{field} has {len(values)} numbers for {count} features")
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"{field} holds a number that is not finite")
        if any(value <= 0 for value in self.scale):
            raise ValueError("scale must be positive")
        if not count or len(set(self.features)) != count:
            raise ValueError("features must be named, each once")
        return self


class ConstantArtefact(_Artefact):
    """p is the same for every row."""

    kind: Literal["constant"] = "constant"
    probability: float = Field(gt=0, lt=1)


_AnyArtefact: TypeAlias = Annotated[LogisticArtefact | ConstantArtefact, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[LogisticArtefact | ConstantArtefact] = TypeAdapter(_AnyArtefact)


@dataclass(frozen=True, slots=True)
class LogisticPredictor:
    """Probabilities from standardised features; see :class:`LogisticArtefact`."""

    artefact: LogisticArtefact

    @property
    def name(self) -> str:
        """Name and version: ``<name>@<first 12 of the digest>``."""
        return _versioned(self.artefact)

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of ``rows``, in order."""
        return self.artefact.features

    @property
    def sha256(self) -> str:
        """Digest of the artefact."""
        return _digest(self.artefact)

    def predict(self, rows: Any) -> Floats:
        """``rows``: array (n, features), or a pandas frame that has the features as columns.

        Returns (n,) probabilities in (0, 1). Raises :class:`InvalidInputError` for another shape and for numbers that
        are not finite.
        """
        import numpy as np

        matrix = _matrix(rows, self.features)
        spec = self.artefact
        z = spec.intercept + ((matrix - np.array(spec.mean)) / np.array(spec.scale)) @ np.array(spec.coef)
        return _open_interval(1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0))))

    def updated(self, **changes: Any) -> LogisticPredictor:
        """A copy with other numbers (``coef``, ``intercept``, ``mean`` ...), checked, with its own digest."""
        return LogisticPredictor(_changed(self.artefact, changes))


@dataclass(frozen=True, slots=True)
class ConstantPredictor:
    """The base rate: champion until something beats it."""

    artefact: ConstantArtefact

    @property
    def name(self) -> str:
        """Name and version."""
        return _versioned(self.artefact)

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of ``rows``; their values do not matter."""
        return self.artefact.features

    @property
    def sha256(self) -> str:
        """Digest of the artefact."""
        return _digest(self.artefact)

    def predict(self, rows: Any) -> Floats:
        """The constant, once per row. Raises :class:`InvalidInputError` as a logistic predictor does."""
        import numpy as np

        return np.full(len(_matrix(rows, self.features)), self.artefact.probability)

    def updated(self, **changes: Any) -> ConstantPredictor:
        """A copy with another ``probability`` (or name, scores ...), checked, with its own digest."""
        return ConstantPredictor(_changed(self.artefact, changes))


AnyPredictor: TypeAlias = LogisticPredictor | ConstantPredictor


def logistic_predictor(  # every argument is a part of the model, all by name
    *,
    name: str,
    features: tuple[str, ...],
    coef: Any,
    intercept: float,
    mean: Any,
    scale: Any,
    trained_on: TrainedOn,
    scores: Scores,
) -> LogisticPredictor:
    """Make one from plain numbers or numpy arrays. Raises :class:`InvalidInputError` if they do not fit together."""
    values = {
        "name": name,
        "features": features,
        "coef": tuple(float(value) for value in coef),
        "intercept": float(intercept),
        "mean": tuple(float(value) for value in mean),
        "scale": tuple(float(value) for value in scale),
        "trained_on": trained_on,
        "scores": scores,
    }
    return LogisticPredictor(_checked(LogisticArtefact, values))


def constant_predictor(
    probability: float, *, features: tuple[str, ...], trained_on: TrainedOn, scores: Scores, name: str = "constant"
) -> ConstantPredictor:
    """The base rate as a predictor."""
    values = {
        "name": name,
        "features": features,
        "probability": probability,
        "trained_on": trained_on,
        "scores": scores,
    }
    return ConstantPredictor(_checked(ConstantArtefact, values))


def save_predictor(predictor: AnyPredictor, folder: Path) -> Path:
    """Write ``<folder>/<name>.json`` whole or not at all; returns its path. The file carries its own digest."""
    import json

    artefact = predictor.artefact
    path = folder / f"{artefact.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    body = {**artefact.model_dump(mode="json"), "sha256": predictor.sha256}
    draft = folder / f".{artefact.name}.{os.getpid()}.tmp"
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def load_predictor(path: Path) -> AnyPredictor:
    """Read what :func:`save_predictor` wrote.

    Raises :class:`DamagedFileError` when it is not JSON, does not fit, or its digest is wrong, and ``OSError`` when it
    cannot be read.
    """
    hint = "Delete the file; it is trained again when it is needed."
    try:
        raw = path.read_bytes()
        body: dict[str, Any] = dict(_ANY.validate_json(raw))
        stated = body.pop("sha256", "")
        artefact = _ADAPTER.validate_python(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise DamagedFileError(f"{path} is not a predictor: {where}: {first['msg']}.", hint=hint) from error
    if stated != _digest(artefact):
        raise DamagedFileError(f"{path} was changed after it was written: its digest does not fit.", hint=hint)
    return LogisticPredictor(artefact) if isinstance(artefact, LogisticArtefact) else ConstantPredictor(artefact)


_ANY: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def _digest(artefact: _Artefact) -> str:
    return digest(artefact.model_dump(mode="json"))


def _versioned(artefact: _Artefact) -> str:
    return f"{artefact.name}@{_digest(artefact)[:12]}"


def _checked(kind: Any, values: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"These numbers make no predictor: {error.errors()[0]['msg']}.") from error


def _changed(artefact: _Artefact, changes: Mapping[str, Any]) -> Any:
    return _checked(type(artefact), {**artefact.model_dump(), **changes})


def _matrix(rows: Any, features: tuple[str, ...]) -> Floats:
    import numpy as np

    if hasattr(rows, "columns"):
        missing = [name for name in features if name not in rows.columns]
        if missing:
            raise InvalidInputError(f"The frame lacks the columns {', '.join(missing)}.")
        rows = rows[list(features)].to_numpy()
    try:
        matrix = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The rows are not numbers: {error}.") from error
    if matrix.ndim != 2 or matrix.shape[1] != len(features):
        raise InvalidInputError(
            f"The rows have the shape {matrix.shape}; (n, {len(features)}) is wanted.",
            hint=f"Columns: {', '.join(features)}.",
        )
    if not np.isfinite(matrix).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(matrix))[0])
        raise InvalidInputError(f"Row {row} has no number for {features[column]}.")
    return matrix


def _open_interval(p: Floats) -> Floats:
    import numpy as np

    tiny = np.finfo(np.float64).eps
    return np.clip(p, tiny, 1.0 - tiny)
