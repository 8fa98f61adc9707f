"""ModelServer: one place to ask for a model by the role it plays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any

import structlog

from retainer.core.errors import NotFoundError, RetainerError
from retainer.core.protocols import ChatMessage, ChatModel
from retainer.models.catalogue import Entry, load_catalogue
from retainer.models.chat_http import HttpChatModel, first_model
from retainer.models.errors import DamagedFileError, FetchError, ModelNotReadyError, ModelUnavailableError
from retainer.models.handles import LocalLLM, ServedPredictor
from retainer.models.local import LocalModel
from retainer.models.ollama import OllamaChatModel, find_ollama
from retainer.models.predictor import AnyPredictor
from retainer.models.progress import Report
from retainer.models.settings import ModelSettings
from retainer.models.states import RoleState
from retainer.models.store import ModelStore

__all__ = ["LocalLLM", "ModelServer", "ServedPredictor"]

_log = structlog.get_logger(__name__)
_NO_MODEL = "No chat model is wanted (RETAINER_MODEL=none)."
_CHOOSE = "Set RETAINER_MODEL=default (or small) and start again."

Provider = Callable[[], AnyPredictor]


class ModelServer:
    """Finds, fetches, starts and watches models. Cheap to make; nothing starts before it is needed.

    ``providers`` replaces the catalogue's predictor providers by role. ``chat`` serves the chat roles instead of
    anything else (a :class:`~retainer.models.scripted.ScriptedModel`, a client of your own). Close it, or use it as a
    context manager, to end the engine; it ends with this process in any case.
    """

    def __init__(
        self,
        settings: ModelSettings | None = None,
        *,
        providers: Mapping[str, Provider] | None = None,
        chat: ChatModel | None = None,
    ) -> None:
        self.settings = settings or ModelSettings.from_environment()
        self.catalogue = load_catalogue(self.settings.catalogue)
        self.store = ModelStore(self.settings.cache)
        self._providers = dict(providers or {})
        self._given = chat
        self._other: ChatModel | None = None
        self._skip: set[str] = set()
        self._probed = False
        self._locals: dict[str, LocalModel] = {}
        self._chosen: LocalModel | None = None
        self._predictors: dict[str, AnyPredictor] = {}
        self._failed: dict[str, RetainerError] = {}
        self._guard = threading.RLock()
        self._training = threading.Lock()

    def get_model(self, name: str = "chat") -> Any:
        """The handle for a role: :class:`LocalLLM` for ``chat`` and ``analysis``, :class:`ServedPredictor` for
        ``trading``. Raises :class:`NotFoundError` for another name, listing the roles. Takes no time.
        """
        role = self.catalogue.roles.get(name)
        if role is None and name not in self._providers:
            known = ", ".join(sorted({*self.catalogue.roles, *self._providers}))
            raise NotFoundError(f"There is no model role '{name}'.", hint=f"Roles: {known}.")
        predicts = name in self._providers or (role is not None and role.kind == "predict")
        return ServedPredictor(self, name) if predicts else LocalLLM(self, name)

    # --- chat roles --------------------------------------------------------------------------------------------------
    async def ensure(self, role: str = "chat", report: Report | None = None) -> None:
        """Fetch and start what the role needs, however long it takes; safe to call again and at the same time.

        Raises :class:`FetchError`, :class:`DamagedFileError`, :class:`ModelUnavailableError`, in words.
        """
        if isinstance(self.get_model(role), ServedPredictor):
            await asyncio.to_thread(self.predictor, role)
            return
        if await self._elsewhere() is not None:
            return
        local = await asyncio.to_thread(self._local)
        try:
            await self._bring_up(local, report)
        except (FetchError, DamagedFileError):
            instead = await asyncio.to_thread(self._fetched_already, local)
            if instead is None:
                raise
            _log.warning("model_replaced", wanted=local.entry.id, instead=instead.entry.id)
            self._chosen = instead
            await instead.start()

    async def chat_model(self, role: str = "chat") -> ChatModel:
        """The model that answers now, without fetching.

        Raises :class:`ModelNotReadyError` while it is on its way and :class:`ModelUnavailableError` if there is none.
        """
        other = await self._elsewhere()
        if other is not None:
            return other
        local = await asyncio.to_thread(self._local)
        if await asyncio.to_thread(local.present):
            return local.client
        if local.progress is not None:
            raise ModelNotReadyError(f"The model is on its way: {local.progress.words()}.", hint="Ask again later.")
        if local.error is not None:
            raise local.error
        raise ModelUnavailableError(
            f"{local.entry.title} is not fetched yet.", hint=f"Run: retainer fetch {local.entry.id}"
        )

    def give_up_on(self, model: ChatModel) -> bool:
        """A model elsewhere failed: pass it over from now on. False when there is no other to ask."""
        with self._guard:
            if model is not self._other or self.settings.model.startswith("ollama:"):
                return False
            self._skip.add("ollama" if isinstance(model, OllamaChatModel) else "remote")
            self._other = None
            self._probed = False
            return True

    async def warm(self, messages: tuple[ChatMessage, ...]) -> None:
        """Have the engine evaluate the fixed beginning of the prompts ahead of the first question."""
        if self._given is None and self._other is None and self._chosen is not None:
            await self._chosen.warm(messages)

    # --- predicting roles --------------------------------------------------------------------------------------------
    def predictor(self, role: str) -> AnyPredictor:
        """The role's predictor; its provider loads or trains it on the first call, which may take seconds.

        Raises :class:`ModelUnavailableError` with the reason.
        """
        with self._training:
            if role not in self._predictors:
                try:
                    self._predictors[role] = self._provider(role)()
                except RetainerError as error:
                    self._failed[role] = error
                    raise ModelUnavailableError(
                        f"The model for {role} cannot be had: {error.message}", hint=error.hint
                    ) from error
                self._failed.pop(role, None)
            return self._predictors[role]

    def replace_predictor(self, role: str, predictor: AnyPredictor) -> None:
        """Serve ``predictor`` from now on."""
        with self._training:
            self._predictors[role] = predictor

    # --- looking and ending ------------------------------------------------------------------------------------------
    def state(self, role: str = "chat") -> RoleState:
        """Where a role stands: reads files' status at most, asks nobody. Raises :class:`NotFoundError`."""
        if isinstance(self.get_model(role), ServedPredictor):
            return self._predictor_state(role)
        serving = self._given or self._other
        if serving is not None:
            return RoleState(role, "ready", serving.name)
        if self.settings.model == "none":
            return RoleState(role, "none", detail="RETAINER_MODEL=none", fix=_CHOOSE)
        if self.settings.model.startswith("ollama:"):
            return RoleState(role, "absent", self.settings.model, "not asked yet")
        try:
            return _local_state(role, self._local())
        except RetainerError as error:
            return RoleState(role, "failed", detail=error.message, fix=error.hint)

    def status(self) -> dict[str, RoleState]:
        """All roles."""
        return {role: self.state(role) for role in sorted({*self.catalogue.roles, *self._providers})}

    def close(self) -> None:
        """End the engines. Safe to call twice; a later request starts them again."""
        for local in list(self._locals.values()):
            local.stop()

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- inside ------------------------------------------------------------------------------------------------------
    async def _elsewhere(self) -> ChatModel | None:
        """The given model, the configured server or a running Ollama, as the settings allow; ``None``: local."""
        wanted = self.settings.model
        if self._given is not None or self._other is not None:
            return self._given or self._other
        if wanted == "none":
            raise ModelUnavailableError(_NO_MODEL, hint=_CHOOSE)
        if wanted.startswith("ollama:"):
            self._other = await self._ollama(wanted.removeprefix("ollama:"))
            if self._other is None:
                raise ModelUnavailableError(
                    f"No Ollama with that model answers at {self.settings.ollama}.",
                    hint=f"Start it and run: ollama pull {wanted.removeprefix('ollama:')}",
                )
        elif wanted == "default" and not self._probed:
            self._other = await self._remote() or await self._ollama(self.settings.ollama_model)
            self._probed = True
        return self._other

    async def _remote(self) -> ChatModel | None:
        settings = self.settings
        if not settings.base_url or "remote" in self._skip:
            return None
        base, key = settings.base_url.rstrip("/"), settings.api_key.get_secret_value()
        served = settings.remote_model or await first_model(base, key)
        if not served:
            _log.warning("model_server_absent", base_url=base)
            return None

        async def locate() -> tuple[str, str]:
            return base, key

        return HttpChatModel(f"remote:{served}", locate, served_name=served, quiet_timeout=settings.quiet_timeout)

    async def _ollama(self, wanted: str) -> ChatModel | None:
        settings = self.settings
        if not settings.ollama or "ollama" in self._skip:
            return None
        found = await find_ollama(settings.ollama, wanted)
        if found is None:
            return None
        return OllamaChatModel(settings.ollama, found, context=settings.context, quiet_timeout=settings.quiet_timeout)

    def _local(self) -> LocalModel:
        """The local model that is meant to serve: the wanted one, or for ``default`` the first that fits."""
        with self._guard:
            if self._chosen is None:
                self._chosen = self._fitting()
            return self._chosen

    def _fitting(self) -> LocalModel:
        wanted = self.settings.model
        if wanted != "default":
            return self._of(self.catalogue.find(wanted))
        default = self.catalogue.find("default")
        rest = [entry for entry in self.catalogue.model if entry != default]
        reasons = []
        for entry in (default, *rest):
            local = self._of(entry)
            lack = local.lacks()
            if not lack:
                return local
            reasons.append(lack)
        raise ModelUnavailableError(
            f"No chat model fits: {'; '.join(reasons)}.", hint="Free some memory; all commands work without a model."
        )

    def _of(self, entry: Entry) -> LocalModel:
        with self._guard:
            if entry.id not in self._locals:
                self._locals[entry.id] = LocalModel(entry, self.store, self.settings)
            return self._locals[entry.id]

    def _fetched_already(self, failed: LocalModel) -> LocalModel | None:
        """Another local model that is there and fits, for when the default cannot be fetched."""
        if self.settings.model != "default":
            return None
        others = (self._of(entry) for entry in self.catalogue.model if entry != failed.entry)
        return next((local for local in others if local.present() and not local.lacks()), None)

    async def _bring_up(self, local: LocalModel, report: Report | None) -> None:
        """Fetch if need be and start; a file that was damaged since is fetched once more."""
        if not await asyncio.to_thread(local.present):
            await local.fetch(report)
        with suppress(DamagedFileError):
            await local.start()
            return
        await local.fetch(report)
        await local.start()

    def _provider(self, role: str) -> Provider:
        if role in self._providers:
            return self._providers[role]
        dotted = self.catalogue.roles[role].provider
        module, _, name = dotted.partition(":")
        try:
            provider: Provider = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ModelUnavailableError(
                f"The provider '{dotted}' of the role {role} cannot be loaded: {error}.", hint="Correct the catalogue."
            ) from error
        return provider

    def _predictor_state(self, role: str) -> RoleState:
        if role in self._predictors:
            return RoleState(role, "ready", self._predictors[role].name)
        if role in self._failed:
            error = self._failed[role]
            return RoleState(role, "failed", detail=error.message, fix=error.hint)
        return RoleState(role, "present", detail="loaded or trained on first use")


def _local_state(role: str, local: LocalModel) -> RoleState:
    model, keeper = local.entry.id, local.supervisor
    if local.progress is not None:
        return RoleState(role, "fetching", model, progress=local.progress)
    if keeper is not None and keeper.state in {"loading", "ready"}:
        return RoleState(role, "ready" if keeper.state == "ready" else "loading", model)
    if local.error is not None:
        return RoleState(role, "failed", model, local.error.message, local.error.hint)
    if keeper is not None and keeper.state == "failed":
        return RoleState(role, "failed", model, keeper.reason, "See the log; RETAINER_MODEL=small needs less.")
    if local.seems_present():
        return RoleState(role, "present", model)
    return RoleState(role, "absent", model, fix=f"retainer fetch {model}")
