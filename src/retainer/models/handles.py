"""What ``get_model`` hands out: a chat model or a predictor that finds, fetches and starts what it needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import ChatMessage, ChatModel, Generation
from retainer.core.values import Json
from retainer.models.errors import ModelFailedError
from retainer.models.predictor import AnyPredictor
from retainer.models.progress import Report
from retainer.models.states import RoleState

if TYPE_CHECKING:
    from retainer.models.server import ModelServer

T = TypeVar("T")
Prompt = str | Sequence[ChatMessage] | Sequence[Mapping[str, str]]


class _Parameters(BaseModel):
    """How a chat model speaks when the caller does not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = ""
    """Put before a prompt given as a string."""
    max_tokens: int = Field(default=512, ge=1, le=65_536)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class LocalLLM:
    """A chat role of a :class:`ModelServer`: implements ``ChatModel``, with plain methods beside the async ones.

    Without a server it makes its own: ``LocalLLM().generate("Good morning")`` fetches the default model on its first
    use, starts it and answers. The async methods do not fetch: they raise :class:`ModelNotReadyError` while a model is
    on its way, so that a service goes on without one; ``await ensure()`` fetches.
    """

    def __init__(self, server: ModelServer | None = None, role: str = "chat") -> None:
        if server is None:
            from retainer.models.server import ModelServer

            server = ModelServer()
        self._server = server
        self.role = role
        self._parameters = _Parameters()

    @property
    def name(self) -> str:
        """The model that serves this role now; the role's name while none does."""
        return self.state.model or self.role

    @property
    def state(self) -> RoleState:
        """Where the role stands, cheaply."""
        return self._server.state(self.role)

    # --- async -------------------------------------------------------------------------------------------------------
    async def ensure(self, report: Report | None = None) -> None:
        """Fetch and start what is needed; errors as :meth:`ModelServer.ensure`."""
        await self._server.ensure(self.role, report)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> AsyncGenerator[str | Generation, None]:
        """Deltas, then the :class:`Generation`; closing it cancels. What is not given is as ``update_parameters`` set.

        Raises :class:`ModelUnavailableError`, :class:`ModelFailedError`, :class:`PromptTooLongError`. When the model
        that served so far is gone and nothing was said yet, the next candidate answers.
        """
        for last in (False, True):
            model = await self._server.chat_model(self.role)
            pieces = model.stream(messages, schema=schema, **self._sampling(max_tokens, temperature, seed))
            try:
                if isinstance(pieces, AsyncGenerator):
                    async with aclosing(pieces):
                        async for piece in pieces:
                            yield piece
                else:
                    async for piece in pieces:
                        yield piece
                return
            except ModelFailedError as error:
                if last or not error.may_pass or not self._server.give_up_on(model):
                    raise

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Json] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Generation:
        """The whole answer; errors as :meth:`stream`."""
        model: ChatModel = await self._server.chat_model(self.role)
        sampling = self._sampling(max_tokens, temperature, seed)
        try:
            return await model.complete(messages, schema=schema, **sampling)
        except ModelFailedError as error:
            if not error.may_pass or not self._server.give_up_on(model):
                raise
        model = await self._server.chat_model(self.role)
        return await model.complete(messages, schema=schema, **sampling)

    # --- plain -------------------------------------------------------------------------------------------------------
    def generate(self, prompt: Prompt, **sampling: Any) -> str:
        """The answer to a text, or to messages (``ChatMessage`` or dicts with ``role`` and ``content``).

        Fetches and starts the model when needed. ``sampling``: ``schema``, ``max_tokens``, ``temperature``, ``seed``.
        """
        return run_blocking(self._generate(self._messages(prompt), **sampling))

    def predict(self, prompt: Prompt, choices: Sequence[str]) -> str:
        """The one of ``choices`` that fits the prompt best; the output is constrained to them."""
        if not choices:
            raise InvalidInputError("There is nothing to choose from.", hint="Give at least one choice.")
        schema: dict[str, Json] = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": list(choices)}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        longest = max(len(choice) for choice in choices)
        text = run_blocking(self._generate(self._messages(prompt), schema=schema, max_tokens=longest + 32))
        try:
            picked = json.loads(text)["choice"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFailedError("The model's choice cannot be read.", hint="Ask again.") from error
        if picked not in choices:
            raise ModelFailedError("The model chose something that was not offered.", hint="Ask again.")
        return str(picked)

    def update_parameters(self, **changes: Any) -> None:
        """Set ``system``, ``max_tokens``, ``temperature`` or ``seed`` for later calls on this handle.

        Raises :class:`InvalidInputError` naming the one that does not fit.
        """
        try:
            self._parameters = _Parameters.model_validate({**self._parameters.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error

    async def _generate(self, messages: Sequence[ChatMessage], **sampling: Any) -> str:
        await self.ensure()
        return (await self.complete(messages, **sampling)).text

    def _messages(self, prompt: Prompt) -> list[ChatMessage]:
        if isinstance(prompt, str):
            system = [ChatMessage("system", self._parameters.system)] if self._parameters.system else []
            return [*system, ChatMessage("user", prompt)]
        return [message if isinstance(message, ChatMessage) else _message(message) for message in prompt]

    def _sampling(self, max_tokens: int | None, temperature: float | None, seed: int | None) -> dict[str, Any]:
        given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        chosen = self._parameters
        return {name: getattr(chosen, name) if value is None else value for name, value in given.items()}


class ServedPredictor:
    """A predicting role of a :class:`ModelServer`: implements ``Predictor``; trained or loaded on first use."""

    def __init__(self, server: ModelServer, role: str) -> None:
        self._server = server
        self.role = role

    @property
    def current(self) -> AnyPredictor:
        """The predictor that serves now, with its artefact: what it was trained on and its scores beside the constant.

        Raises :class:`ModelUnavailableError` when it can be neither loaded nor trained.
        """
        return self._server.predictor(self.role)

    @property
    def name(self) -> str:
        """Name and version."""
        return self.current.name

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of the rows."""
        return self.current.features

    @property
    def state(self) -> RoleState:
        """Where the role stands, cheaply."""
        return self._server.state(self.role)

    def predict(self, rows: Any) -> Any:
        """Rows (n, features), array or frame, in; (n,) probabilities out."""
        return self.current.predict(rows)

    def generate(self, rows: Any) -> str:
        """The probabilities in words, one line, for a log or a person."""
        odds = ", ".join(f"{probability:.1%}" for probability in self.predict(rows))
        return f"{self.name}: {odds}"

    def update_parameters(self, **changes: Any) -> None:
        """Serve a copy with other numbers (``coef``, ``intercept`` ...) from now on, in this process.

        Raises :class:`InvalidInputError` when they do not fit together.
        """
        self._server.replace_predictor(self.role, self.current.updated(**changes))


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on a loop of its own, whether or not the calling thread has one that runs."""
    with ThreadPoolExecutor(1, thread_name_prefix="model-call") as pool:
        return pool.submit(asyncio.run, work).result()


def _message(value: Mapping[str, str]) -> ChatMessage:
    role, content = value.get("role"), value.get("content")
    if role not in {"system", "user", "assistant"} or not isinstance(content, str):
        raise InvalidInputError("A message needs a role (system, user or assistant) and a content.")
    return ChatMessage(role, content)  # type: ignore[arg-type]  # checked in the line above
