"""What a monitoring system is told, in Prometheus' text format. Names and labels are listed in :data:`NAMES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from retainer import __version__
from retainer.app.operations.follow import follow_events, follow_replies
from retainer.app.operations.nightly import BackupState
from retainer.app.operations.pulse import Pulse
from retainer.core.clock import to_epoch
from retainer.core.protocols import Store, View
from retainer.runtime.control import read_control
from retainer.runtime.safe_mode import read_safe_mode
from retainer.runtime.store import StorageError
from retainer.safety.budget import used

if TYPE_CHECKING:
    from prometheus_client.core import Metric

NAMES: Final[Mapping[str, str]] = {
    "retainer_info": "Version of the service.",
    "retainer_events_waiting": "Events that wait to be handled, by lane (chats together by channel).",
    "retainer_event_age_seconds": "Age of the oldest waiting event, by lane.",
    "retainer_events_broken": "Events that could not be handled: dead, parked, or kept back by safe mode.",
    "retainer_events_handled": "Events handled since the start, by agent and end.",
    "retainer_effects": "Unfinished effects by state: asked, ready, sending, unknown.",
    "retainer_effect_age_seconds": "Age of the oldest effect that is ready or sending.",
    "retainer_reply_seconds": "From a person's message to its delivered answer.",
    "retainer_loop_lag_seconds": "How late the event loop was, worst of ten seconds.",
    "retainer_beat_age_seconds": "Seconds since a unit of work last went through the writer and back.",
    "retainer_write_seconds": "How long that took.",
    "retainer_storage_ok": "1 while the database can be written.",
    "retainer_model": "1 for the state the chat model is in.",
    "retainer_model_calls_hour": "Calls of the chat model in the last hour.",
    "retainer_model_tokens_hour": "Tokens that it read and wrote in the last hour.",
    "retainer_bridge_up": "1 while a channel works.",
    "retainer_feed_up": "1 while a feed of prices works.",
    "retainer_control": "1 for running, paused or stopped.",
    "retainer_safe_mode": "1 after a restore until its owner has confirmed.",
    "retainer_backups": "How many backups there are.",
    "retainer_backup_age_seconds": "Age of the newest backup; absent without one.",
    "retainer_backup_bytes": "Size of the newest backup.",
    "retainer_backup_ok": "0 while the last try to make a backup failed.",
    "retainer_drill_ok": "1 when the last restore drill went well; absent before the first.",
    "retainer_drill_age_seconds": "Seconds since the last restore drill.",
    "retainer_resident_bytes": "Memory of the service's process, without the model's.",
    "retainer_cpu_seconds": "CPU time of the service's process since its start.",
}
"""Every metric with its meaning. Counters are exposed with ``_total``, the histogram with its usual endings."""
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_EFFECTS: Final = ("asked", "ready", "sending", "unknown")
_BROKEN: Final = ("dead", "parked", "kept")
_CONTROL: Final = ("running", "paused", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures come from."""

    store: Store
    pulse: Pulse
    now: Callable[[], datetime]
    model_phase: Callable[[], str]
    bridges: Callable[[], Mapping[str, Mapping[str, Any]]]
    feeds: Callable[[], Mapping[str, Mapping[str, Any]]]
    backups: Callable[[], BackupState]


class Metrics:
    """Collects on request; between two requests nothing is computed."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        view = sources.store.view()
        self._events = follow_events(view)
        self._replies = follow_replies(view)
        self._handled: dict[tuple[str, str], int] = {}
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0

    def page(self) -> bytes:
        """The page ``/metrics``. Raises :class:`StorageError` only for what cannot be told without the database."""
        from prometheus_client.exposition import generate_latest
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        found: bytes = generate_latest(registry)
        return found

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield from self._process()
        yield from self._health()
        yield from self._backups()
        try:
            view = self._sources.store.view()
            yield from self._records(view)
            yield from self._counted(view)
        except StorageError:
            return  # retainer_storage_ok tells it

    # --- parts -------------------------------------------------------------------------------------------------------
    def _process(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        yield _gauge("retainer_info", [({"version": __version__}, 1.0)])
        resident, cpu = process_figures()
        yield _gauge("retainer_resident_bytes", [({}, resident)])
        counter = CounterMetricFamily("retainer_cpu_seconds", NAMES["retainer_cpu_seconds"])
        counter.add_metric([], cpu)
        yield counter

    def _health(self) -> Iterator[Metric]:
        pulse = self._sources.pulse
        yield _gauge("retainer_loop_lag_seconds", [({}, pulse.lag)])
        yield _gauge("retainer_beat_age_seconds", [({}, pulse.age)])
        yield _gauge("retainer_write_seconds", [({}, pulse.write_seconds)])
        yield _gauge("retainer_storage_ok", [({}, float(pulse.error is None))])
        yield _gauge("retainer_model", [({"state": self._sources.model_phase()}, 1.0)])
        for name, label, health in (
            ("retainer_bridge_up", "bridge", self._sources.bridges()),
            ("retainer_feed_up", "feed", self._sources.feeds()),
        ):
            yield _gauge(name, [({label: each}, float(bool(state.get("ok")))) for each, state in health.items()])

    def _backups(self) -> Iterator[Metric]:
        state, now = self._sources.backups(), self._sources.now()
        yield _gauge("retainer_backups", [({}, float(state.count))])
        yield _gauge("retainer_backup_ok", [({}, float(not state.error))])
        if state.made_at is not None:
            yield _gauge("retainer_backup_age_seconds", [({}, (now - state.made_at).total_seconds())])
            yield _gauge("retainer_backup_bytes", [({}, float(state.size))])
        if state.drill is not None:
            age = (now - datetime.fromisoformat(state.drill.at)).total_seconds()
            yield _gauge("retainer_drill_ok", [({}, float(state.drill.ok))])
            yield _gauge("retainer_drill_age_seconds", [({}, age)])

    def _records(self, view: View) -> Iterator[Metric]:
        now = to_epoch(self._sources.now())
        waiting, oldest = _waiting(view, now)
        yield _gauge("retainer_events_waiting", [({"lane": lane}, float(n)) for lane, n in waiting.items()])
        yield _gauge("retainer_event_age_seconds", [({"lane": lane}, age) for lane, age in oldest.items()])
        broken = _broken(view)
        yield _gauge("retainer_events_broken", [({"state": state}, float(broken[state])) for state in _BROKEN])
        open_ = _open(view)
        yield _gauge("retainer_effects", [({"state": state}, float(open_[state])) for state in _EFFECTS])
        row = view.one("SELECT MIN(created_at) AS at FROM effect WHERE state IN ('ready', 'sending')")
        age = now - row["at"] if row and row["at"] is not None else 0.0
        yield _gauge("retainer_effect_age_seconds", [({}, max(0.0, age))])
        use = used(view, self._sources.now())
        yield _gauge("retainer_model_calls_hour", [({}, float(use.calls))])
        yield _gauge("retainer_model_tokens_hour", [({}, float(use.tokens))])
        control = read_control(view).state
        yield _gauge("retainer_control", [({"state": state}, float(state == control)) for state in _CONTROL])
        yield _gauge("retainer_safe_mode", [({}, float(read_safe_mode(view) is not None))])

    def _counted(self, view: View) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        for row in self._events.poll(view):
            key = (row["agent"], row["state"])
            self._handled[key] = self._handled.get(key, 0) + 1
        for row in self._replies.poll(view):
            if row["state"] == "done":
                self._observe(max(0.0, float(row["seconds"] or 0.0)))
        counter = CounterMetricFamily(
            "retainer_events_handled", NAMES["retainer_events_handled"], labels=["agent", "state"]
        )
        for (agent, state), count in sorted(self._handled.items()):
            counter.add_metric([agent, state], count)
        yield counter
        histogram = HistogramMetricFamily("retainer_reply_seconds", NAMES["retainer_reply_seconds"])
        total, buckets = 0, []
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            buckets.append((bound, total))
        histogram.add_metric([], buckets, self._seconds)
        yield histogram

    def _observe(self, seconds: float) -> None:
        place = next((i for i, bound in enumerate(_BUCKETS) if seconds <= bound), len(_BUCKETS))
        self._buckets[place] += 1
        self._seconds += seconds


def lane_group(lane: str) -> str:
    """A lane as a label: a chat's id is private and there may be many, so chats count together by channel."""
    kind, _, rest = lane.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if kind == "chat" else lane


def _waiting(view: View, now: float) -> tuple[dict[str, int], dict[str, float]]:
    rows = view.query(
        "SELECT lane, COUNT(*) AS n, MIN(received_at) AS since FROM event WHERE state = 'waiting' GROUP BY lane"
    )
    counts: dict[str, int] = {"chat:terminal": 0, "control": 0}
    ages: dict[str, float] = {"chat:terminal": 0.0, "control": 0.0}
    for row in rows:
        group = lane_group(row["lane"])
        counts[group] = counts.get(group, 0) + int(row["n"])
        ages[group] = max(ages.get(group, 0.0), now - row["since"])
    return counts, ages


def _broken(view: View) -> dict[str, int]:
    rows = view.query("SELECT state, COUNT(*) AS n FROM event WHERE state IN ('dead', 'parked') GROUP BY state")
    found = dict.fromkeys(_BROKEN, 0) | {row["state"]: int(row["n"]) for row in rows}
    if read_safe_mode(view) is not None:  # only then are there any: no index serves them
        row = view.one("SELECT COUNT(*) AS n FROM event WHERE state = 'kept'")
        found["kept"] = int(row["n"]) if row else 0
    return found


def _open(view: View) -> dict[str, int]:
    rows = view.query(
        "SELECT state, COUNT(*) AS n FROM effect WHERE state IN ('asked', 'ready', 'sending', 'unknown') GROUP BY state"
    )
    return dict.fromkeys(_EFFECTS, 0) | {row["state"]: int(row["n"]) for row in rows}


def _gauge(name: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    listed = list(samples)
    labels = sorted(listed[0][0]) if listed else []
    family = GaugeMetricFamily(name, NAMES[name], labels=labels)
    for values, figure in listed:
        family.add_metric([values[label] for label in labels], figure)
    return family


def process_figures() -> tuple[float, float]:
    """Resident bytes and CPU seconds of this process."""
    import os
    import resource
    import sys
    from pathlib import Path

    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    resident = float(used.ru_maxrss * unit)
    statm = Path("/proc/self/statm")
    if statm.exists():
        resident = float(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return resident, used.ru_utime + used.ru_stime
