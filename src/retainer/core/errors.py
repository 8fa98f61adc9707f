"""Errors a person can act on: what was wrong, where, and what to do next."""

from __future__ import annotations


class RetainerError(Exception):
    """Base of every error retainer raises on purpose.

    ``hint`` is the next step, in one sentence; interfaces print it under the message.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInputError(RetainerError, ValueError):
    """A value from outside (message, file, config, wire) does not fit; the message names the field or row."""


class NotFoundError(RetainerError, LookupError):
    """Something was asked for by name or id and is not there."""


class RefusedError(RetainerError, PermissionError):
    """The guard, a limit or the owner said no."""


class NotSentError(RetainerError):
    """An adapter failed *before* its request left this machine, so trying again cannot repeat anything.

    ``retry_after`` is in seconds; ``None`` lets the runtime choose its back-off.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RejectedError(RetainerError):
    """The far side answered, and its answer is a definite no: the effect did not happen and must not be retried."""
