"""The composition: every room's objects, made once and wired together. Nothing else in the house knows them all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from retainer.app import anchoring
from retainer.app.agents import agent_adapters, agent_migrations, load_agents
from retainer.app.config import Settings
from retainer.app.folder import DataFolder, overwrite_json, read_json, write_json
from retainer.app.mandates import sign_first
from retainer.app.operations.backups import in_server
from retainer.app.operations.damage import (
    far_on_server,
    how_far,
    notice_lost_records,
    notice_older_records,
    vanished,
)
from retainer.app.operations.restore import finish_restore
from retainer.app.operations.watch import Watch
from retainer.app.store import migrations, open_store
from retainer.app.totp_setup import totp_secret
from retainer.chat.agent import LocalChatAgent
from retainer.chat.bridges.telegram import TelegramBridge
from retainer.chat.bridges.terminal import TerminalBridge
from retainer.chat.bridges.tokens import stored_token
from retainer.chat.hub import PhoneBridge
from retainer.chat.personality import ChatPersonality
from retainer.chat.services import ChatServices
from retainer.core.capabilities import Capability
from retainer.core.clock import Clock, SystemClock
from retainer.core.errors import RetainerError
from retainer.core.protocols import Agent, ChatMessage, ChatModel, Tx, View
from retainer.memory.manager import MemoryManager
from retainer.models.server import ModelServer
from retainer.models.states import RoleState
from retainer.runtime.lock import FolderLock
from retainer.runtime.runtime import Runtime
from retainer.runtime.safe_mode import SafeMode, read_safe_mode
from retainer.runtime.store import DamagedError, StorageError
from retainer.safety.budget import ModelBudget, use_lines
from retainer.safety.guard import SafetyGuard
from retainer.safety.people import OWNER_ID, ensure_local_owner
from retainer.safety.secrets import Secrets
from retainer.tools.manager import ToolManager
from retainer.trading.agent import TradingBotAgent
from retainer.trading.bars import Bars
from retainer.trading.book import equity_of
from retainer.trading.feeds.replay import ReplayFeed
from retainer.trading.feeds.stream import Feed, MarketDataStream
from retainer.trading.samples import fetch_samples, load_samples

_log = structlog.get_logger(__name__)

MODEL_RETRY_S = 300.0
STATE_EVERY_S = 1.0
CONFIRM_EVERY_S = 0.5


class Service:
    """One service on one data folder: ``async with Service(settings) as service``."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        chat_model: ChatModel | None = None,
        feeds: Sequence[Feed] | None = None,
    ) -> None:
        """``chat_model`` serves instead of the configured one; ``feeds`` instead of the replay of the sample bars."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self.folder = DataFolder(settings.data)
        self.models = ModelServer(settings.chosen_models(), chat=chat_model)
        self._given_feeds = feeds
        self._model: ChatModel | None = chat_model
        self._model_error = ""
        self._bringing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock: FolderLock | None = None
        self.failed = asyncio.Event()
        """Set when the service must end because nothing can be promised any more; :attr:`damage` says why."""
        self.damage: DamagedError | None = None

    # --- life --------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Take the folder, open the database, wire everything and begin. Raises :class:`RetainerError` in words."""
        self._known_model()
        self.folder.make()
        self._lock = FolderLock.acquire(self.folder.root)
        try:
            finish_restore(self.folder)
            if error := vanished(self.settings):
                raise error
            self._compose()
            self._notice_loss()
            await self.watch.open()
            await self.store.write(self._first_start)
            await self.runtime.start()
            await self.hub.start()
            if self.safe_mode() is None:
                await self.stream.start(self.runtime)
            else:
                self._spawn(self._await_confirmation(), "safe mode")
            await self.watch.start()
        except BaseException:
            await self._let_go()  # how far the records went is left noted: the next start has to compare it, too
            raise
        self._spawn(self._keep_state(), "state")
        if self._model is None:
            self._spawn(self._bring_model(), "model")

    async def stop(self, grace: float = 6.0) -> None:
        """End in order: no new events, running handlers finish or re-enter at the next start, files are closed."""
        await self.watch.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stream.stop()
        await self.hub.stop()
        await self.runtime.stop(grace)
        self._remember()
        await self._let_go(ended=True)

    async def __aenter__(self) -> Service:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _let_go(self, *, ended: bool = False) -> None:
        if hasattr(self, "watch"):
            await self.watch.stop()
        await asyncio.to_thread(self.models.close)
        if hasattr(self, "memory"):
            self.memory.close()
        if hasattr(self, "store"):
            await asyncio.to_thread(self.store.close)
        if ended:
            with contextlib.suppress(OSError):  # read-only by now
                self.folder.service_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _spawn(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- wiring ------------------------------------------------------------------------------------------------------
    def _compose(self) -> None:
        settings, folder = self.settings, self.folder
        further = load_agents(settings)
        own = agent_adapters(further)
        self.store = open_store(settings, migrations(agent_migrations(further)))
        self.trading = TradingBotAgent(settings.trading, clock=self.clock, pictures=folder.pictures)
        self.secrets = Secrets(folder.secrets)
        self.guard = SafetyGuard(settings.safety.limits(), equity=equity_of, totp_secret=totp_secret(self.secrets))
        self.budget = ModelBudget(self.store, self.clock, settings.safety.limits())
        self.runtime = Runtime(self.store, self.clock, self.guard, settings=settings.runtime)
        self.memory = MemoryManager(folder.memory, clock=self.clock)
        self.tools = ToolManager(clock=self.clock, timezone=str(settings.chat.zone()))
        self.hub = PhoneBridge(self.runtime, limits=settings.safety.limits())
        self.terminal = TerminalBridge(self.store, self.clock)
        self.hub.add(self.terminal)
        if settings.telegram.enabled:
            token = stored_token(self.secrets, settings.telegram.token)
            self.hub.add(TelegramBridge(token, settings.telegram, clock=self.clock, lock_folder=folder.root))
        self.personality = ChatPersonality.load(folder.root / settings.chat.personality)
        self.chat = LocalChatAgent(services=self._chat_services())
        agents: list[Agent] = [self.chat, self.trading, self.hub, anchoring.Auditor(), *further]
        for agent in agents:
            self.runtime.add_agent(agent)
        for adapters in (own, self.hub.adapters(), self.tools.adapters(), self.trading.adapters()):
            for tool, adapter in adapters.items():
                self.runtime.add_adapter(tool, adapter)
        self.runtime.add_adapter(anchoring.ANCHOR_TOOL, anchoring.AnchorMaker(self.clock))
        self.runtime.add_adapter(anchoring.FILE_TOOL, anchoring.AnchorFile(folder.anchors, self.clock))
        feeds = self._given_feeds if self._given_feeds is not None else (self._replay(),)
        self.stream = MarketDataStream(*feeds)
        self.watch = Watch(
            settings,
            self.store,
            migrations(agent_migrations(further)),
            clock=self.clock,
            model_phase=lambda: self.model_state().phase,
            bridges=self.hub.health,
            feeds=self.stream.health,
            on_damage=self._found_damage,
        )
        self.runtime.on_trouble(self._trouble)

    def _replay(self) -> Feed:
        trading = self.settings.trading
        return ReplayFeed(sample_bars, account=trading.account, settings=trading.replay)

    def _chat_services(self) -> ChatServices:
        return ChatServices(
            capabilities=self.capabilities,
            memory=self.memory,
            approvals=self.guard.approvals,
            write=self.store.write,
            model=lambda: self._model,
            model_state=self.model_words,
            budget=self.budget,
            loading=self.model_loading,
            interrupt=self.runtime.interrupt,
            status=(self._trading_lines, self._bridge_lines, self._use_lines),
            settings=self.settings.chat,
            personality=self.personality,
            exports=self.folder.exports,
        )

    def capabilities(self) -> list[Capability]:
        """Everything that all agents and tools offer."""
        return [c for agent in self.runtime.agents for c in agent.capabilities()] + list(self.tools.capabilities())

    def _first_start(self, tx: Tx) -> None:
        """The owner's terminal, and the paper mandate for the shipped strategy, once."""
        now = self.clock.now()
        owner = ensure_local_owner(tx, now)
        anchoring.set_daily(tx, str(self.settings.chat.zone()), now)
        sign_first(tx, self.settings.trading, owner, now)

    # --- trouble -----------------------------------------------------------------------------------------------------
    def safe_mode(self) -> SafeMode | None:
        """The safe mode that holds after a restore, if any."""
        return read_safe_mode(self.store.view())

    async def _await_confirmation(self) -> None:
        """No bar is taken in, so no strategy acts, until the owner has confirmed the restored records."""
        mode = self.safe_mode()
        _log.warning("safe_mode", backup=mode.backup if mode else "")
        while True:
            await asyncio.sleep(CONFIRM_EVERY_S)
            with contextlib.suppress(StorageError):
                if self.safe_mode() is None:
                    break
        _log.info("safe_mode_left")
        self.runtime.wake()
        await self.stream.start(self.runtime)

    def _notice_loss(self) -> None:
        """Before anything is carried out: do the records end before what was promised on them?"""
        notice = notice_older_records if in_server(self.settings) else notice_lost_records
        gone = notice(self.folder, self.store, self.clock)
        if gone:
            _log.critical("records_lost", missing=gone)

    def _trouble(self, error: StorageError) -> None:
        """Any unit of work failed because of the storage."""
        self.watch.pulse.note(error)
        if isinstance(error, DamagedError):
            self._found_damage(error)

    def _found_damage(self, error: DamagedError) -> None:
        if self.damage is None:
            _log.critical("database_damaged", reason=error.message)
            self.damage = error
            self.failed.set()

    # --- the model ---------------------------------------------------------------------------------------------------
    async def _bring_model(self) -> None:
        """Fetch and start the chat model beside everything else; try again for as long as it takes."""
        if self.models.settings.model == "none":
            return
        while True:
            self._bringing = True
            try:
                await self.models.warm((self._prompt_head(),))
                await self.models.ensure("chat")
                self._model = self.models.get_model("chat")
                self._model_error = ""
                _log.info("model_ready", model=self.model_state().model)
                return
            except RetainerError as error:
                self._model_error = str(error)
                _log.warning("model_unavailable", reason=error.message)
            finally:
                self._bringing = False
            await asyncio.sleep(MODEL_RETRY_S)

    def _prompt_head(self) -> ChatMessage:
        """The fixed beginning of the owner's prompts, for the engine to evaluate ahead of the first question."""
        facts, wishes = self.memory.profile(person=OWNER_ID), self.memory.behavior(person=OWNER_ID)
        return ChatMessage("system", self.personality.system_prompt(facts=facts, wishes=wishes))

    def _known_model(self) -> None:
        """Raises :class:`~retainer.core.errors.NotFoundError` for a model that no catalogue knows: a typing error."""
        wanted = self.models.settings.model
        if self._model is None and wanted not in {"default", "none"} and not wanted.startswith("ollama:"):
            self.models.catalogue.find(wanted)

    def model_state(self) -> RoleState:
        """Where the chat model stands."""
        return self.models.state("chat")

    def model_loading(self) -> bool:
        """Whether it is being brought up without having to be fetched first."""
        return self._bringing and self.model_state().phase not in {"absent", "fetching"}

    def model_words(self) -> str:
        """The same in words."""
        state = self.model_state()
        if state.phase == "ready" and self._model is None:
            return f"{state.model}: almost ready"
        return self._model_error if self._model_error and state.progress is None else state.words

    # --- looking -----------------------------------------------------------------------------------------------------
    def _trading_lines(self, view: View) -> list[str]:
        return self.trading.status(view)

    def _bridge_lines(self, _view: View) -> list[str]:
        health = self.hub.health()
        return [
            f"{name.capitalize()}: {state.get('detail', '')}" for name, state in health.items() if name != "terminal"
        ]

    def _use_lines(self, view: View) -> list[str]:
        return use_lines(view, self.clock.now(), self.budget.limits)

    async def _keep_state(self) -> None:
        """Tell commands in other processes what only this one knows, when it changes."""
        said: dict[str, Any] = {}
        started_at = _iso(self.clock.now())
        while True:
            state = {
                "started_at": started_at,
                "model": self.model_words(),
                "bridges": {name: dict(health) for name, health in self.hub.health().items()},
                "feeds": {name: dict(health) for name, health in self.stream.health().items()},
                **self.watch.words(),
            }
            self._remember()
            if state != said:
                with contextlib.suppress(OSError):  # tried again in the next round
                    self._say_state(state)
                    said = state
            await asyncio.sleep(STATE_EVERY_S)

    def _say_state(self, state: Mapping[str, Any]) -> None:
        try:
            write_json(self.folder.service_file, state)
        except OSError:  # a full disk, or a read-only folder: just then others have to be told
            try:
                overwrite_json(self.folder.service_file, state)
            except OSError:  # not even the file that is there may grow
                overwrite_json(self.folder.service_file, self.watch.words())

    def _remember(self) -> None:
        """How far the records go, beside them: records that were set back, cut or emptied know nothing of it."""
        try:
            with self.store.view() as view:
                far = far_on_server(view) if in_server(self.settings) else how_far(view)
        except StorageError as error:
            self._trouble(error)
            return
        except sqlite3.Error:  # a file that was emptied has no tables; what was noted of it stays
            return
        with contextlib.suppress(OSError):
            if read_json(self.folder.recorded) != far:
                write_json(self.folder.recorded, far)


def sample_bars() -> Mapping[str, Bars]:
    """The verified sample bars by symbol, fetched on first use. Raises :class:`RetainerError` without a network."""
    fetch_samples()
    return load_samples()


def _iso(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")
