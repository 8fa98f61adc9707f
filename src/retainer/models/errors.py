"""What can go wrong between a prompt and an answer. Each says what to do next."""

from __future__ import annotations

from retainer.core.errors import InvalidInputError, RetainerError


class ModelError(RetainerError):
    """Base of the errors of this room."""


class ModelUnavailableError(ModelError):
    """There is no model to ask: none was wanted, none is fetched, none fits, or the wanted one failed."""


class ModelNotReadyError(ModelUnavailableError):
    """The model is on its way: being fetched or loaded. Asking again later will do."""


class ModelFailedError(ModelError):
    """The engine answered with an error, answered nonsense, or went away in the middle of a reply.

    ``started`` tells whether part of the answer had arrived, so that a repeat would say it twice; ``final`` that the
    same request would fail again.
    """

    def __init__(self, message: str, *, hint: str = "", started: bool = False, final: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.started = started
        self.final = final

    @property
    def may_pass(self) -> bool:
        """Whether asking again is harmless and may help."""
        return not (self.started or self.final)


class PromptTooLongError(ModelError, InvalidInputError):
    """The prompt does not fit the model's window. ``prompt`` and ``window`` are tokens, 0 where unknown."""

    def __init__(self, prompt: int = 0, window: int = 0) -> None:
        sizes = f": {prompt} tokens, the window holds {window}" if prompt and window else ""
        super().__init__(f"The prompt is too long for the model{sizes}.", hint="Shorten the text and try again.")
        self.prompt = prompt
        self.window = window


class FetchError(ModelError):
    """A model file could not be fetched. What had arrived is kept and the next try goes on from there."""


class DamagedFileError(ModelError):
    """A file is not the one it should be. It has been moved aside."""
