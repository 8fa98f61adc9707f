"""``UniversalAgent``: the agent as a library object; synchronous, with async twins, on a whole service behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from retainer.agent.engine import DecisionEngine, FunctionDecider, Intent
from retainer.agent.grammar import Grammar
from retainer.agent.host import Host, resolve_host
from retainer.agent.router import Candidate, Router, order_like
from retainer.agent.text import normal
from retainer.core.capabilities import Capability
from retainer.core.clock import Clock, SystemClock
from retainer.core.errors import InvalidInputError
from retainer.core.protocols import Tx
from retainer.core.values import Json
from retainer.learning import corrections
from retainer.learning.outcomes import LearnedOutcome
from retainer.learning.outcomes import record as record_outcome

LOCAL = "local"
"""The person who talks through this object, when none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a request means, without anything being done about it."""

    text: str
    normal: str
    intent: Intent | None
    """The exact reading, if there is one."""
    candidates: tuple[Candidate, ...]
    """What a model would choose among otherwise."""
    order_like: bool


class UniversalAgent:
    """Memory, tools, safety and decisions around a local model.

    ``config`` overrides settings of the service (as in its TOML file); ``model_type``: ``local``, ``none``, or the id
    of a model. Nothing starts before it is needed: the first use starts the embedded service, :meth:`close` (or
    ``with``) ends it.
    """

    agent_name = "chat"
    """Which agent of the service answers."""

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        model_type: str = "local",
        *,
        host: Host | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = dict(config or {})
        self.model_type = model_type
        self._given = host
        self._host: Host | None = host
        self._starting = threading.Lock()
        self._clock: Clock = clock or SystemClock()
        self._reader: tuple[tuple[Capability, ...], Grammar] | None = None
        self.decision_engine: DecisionEngine[str] = DecisionEngine(
            [FunctionDecider("corrections", self._corrected), FunctionDecider("grammar", self._grammar)]
        )

    # --- parts -------------------------------------------------------------------------------------------------------
    @property
    def host(self) -> Host:
        """The service, started on first use."""
        with self._starting:
            if self._host is None:
                self._host = resolve_host(self.config or None, self.model_type)
            return self._host

    @property
    def memory(self) -> Any:
        """The :class:`~retainer.memory.manager.MemoryManager` of the service."""
        return self.host.part("memory")

    @property
    def tools(self) -> Any:
        """The :class:`~retainer.tools.manager.ToolManager` of the service."""
        return self.host.part("tools")

    @property
    def safety(self) -> Any:
        """The :class:`~retainer.safety.facade.SafetyProtocols` of the service."""
        return self.host.part("safety")

    # --- the request -------------------------------------------------------------------------------------------------
    def process_request(self, text: str, person: str = LOCAL) -> str:
        """The whole way: memory, decision, guard, effects, reply."""
        return self.host.ask(person, _worded(text), agent=self.agent_name)

    def analyze_request(self, text: str) -> Analysis:
        """What ``text`` would be taken for. Nothing is stored, said or done."""
        wanted = _worded(text)
        capabilities = self.host.capabilities()
        return Analysis(
            text=wanted,
            normal=normal(wanted),
            intent=_run(self.decision_engine.decide(wanted)),
            candidates=tuple(Router(capabilities).candidates(wanted)),
            order_like=order_like(wanted),
        )

    def generate_response(self, request: str | Analysis) -> str:
        """Words of the model alone: no memory, no tools, no effects, no figures to rely on."""
        return self.host.ask_model(_worded(request.text if isinstance(request, Analysis) else request))

    def learn_and_adapt(
        self,
        decision: str,
        outcome: str = "",
        *,
        value: float | None = None,
        meant: str | None = None,
        person: str = LOCAL,
        known_at: datetime | None = None,
        event: int | None = None,
    ) -> None:
        """Record how a decision turned out, or (with ``meant``) that a phrase was taken wrongly.

        ``decision``: what was decided or said; ``outcome``: what came of it, in a word; ``value``: how good it was;
        ``known_at``: when that became known; ``event``: the event that was decided on, if there was one. After
        ``learn_and_adapt("how was it", meant="how did the bot do this month")`` this person's "how was it" is taken
        as the second phrase.
        """
        if meant is None and not outcome and value is None:
            raise InvalidInputError("Nothing to learn from.", hint="Pass outcome=..., value=... or meant=...")
        now = self._clock.now()
        who = self.host.person_id(person)

        def unit(tx: Tx) -> None:
            if meant is not None:
                corrections.record(tx, who, _worded(decision), _worded(meant), 0, now)
            if outcome or value is not None:
                learned = LearnedOutcome(
                    agent=self.agent_name,
                    event_seq=-int(now.timestamp() * 1_000_000) if event is None else event,
                    decision=decision,
                    outcome=outcome,
                    value=value,
                    at=min(now, known_at or now),
                    known_at=known_at or now,
                )
                record_outcome(tx, learned)

        self.host.write(unit)

    # --- async twins -------------------------------------------------------------------------------------------------
    async def aprocess_request(self, text: str, person: str = LOCAL) -> str:
        """:meth:`process_request` for coroutines."""
        return await asyncio.to_thread(self.process_request, text, person)

    async def aanalyze_request(self, text: str) -> Analysis:
        """:meth:`analyze_request` for coroutines."""
        return await asyncio.to_thread(self.analyze_request, text)

    async def agenerate_response(self, request: str | Analysis) -> str:
        """:meth:`generate_response` for coroutines."""
        return await asyncio.to_thread(self.generate_response, request)

    async def alearn_and_adapt(self, decision: str, outcome: str = "", **details: Any) -> None:
        """:meth:`learn_and_adapt` for coroutines."""
        await asyncio.to_thread(lambda: self.learn_and_adapt(decision, outcome, **details))

    # --- ending ------------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """End the service if this object started it."""
        with self._starting:
            host, self._host = self._host, self._given
        if host is not None and host is not self._given:
            host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- deciders ----------------------------------------------------------------------------------------------------
    def _corrected(self, text: str) -> Intent | None:
        meant = corrections.lookup(self.host.view(), self.host.person_id(LOCAL), text)
        return self._grammar(meant) if meant is not None else None

    def _grammar(self, text: str) -> Intent | None:
        capabilities = tuple(self.host.capabilities())
        if self._reader is None or self._reader[0] != capabilities:
            self._reader = (capabilities, Grammar(capabilities))  # compiled once: it takes a tenth of a second
        match = self._reader[1].match(text)
        if match is None:
            return None
        args: Mapping[str, Json] = match.args
        return Intent(action="capability", capability=match.capability.name, args=args, reasons=(match.phrase,))


def _worded(text: str) -> str:
    if not text.strip():
        raise InvalidInputError("An empty request says nothing.", hint="Pass some words.")
    return text


def _run(work: Any) -> Any:
    """Run a coroutine to its end from synchronous code, wherever that is called from."""
    found: list[Any] = []

    def target() -> None:
        found.append(asyncio.run(work))

    thread = threading.Thread(target=target, name="retainer-decide")
    thread.start()
    thread.join()
    if not found:
        raise InvalidInputError("The decision could not be made.", hint="See the log for the decider that failed.")
    return found[0]
