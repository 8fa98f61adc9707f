"""What a monitoring system, a service manager and a container see; and that they see it when things go wrong."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.app.running import Service, chatting, until

from retainer.app.operations.metrics import NAMES, lane_group
from retainer.app.operations.notify import Notifier
from retainer.app.operations.pages import Pages
from retainer.app.operations.pulse import Pulse
from retainer.app.operations.standing import age_words
from retainer.runtime.store import DamagedError, StorageError

ROOT = Path(__file__).resolve().parents[2]


# --- the running service ---------------------------------------------------------------------------------------------
def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int]]:
    """A service that is monitored and has a service manager's watchdog to feed."""
    port = free_port()
    folder = tmp_path_factory.mktemp("watched")
    with Service(
        folder / "data", {"RETAINER_MONITOR__PORT": str(port), "RETAINER_BACKUP__ENABLED": "false"}
    ) as running:
        yield running, port


def get(port: int, page: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{page}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(port: int) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Every sample of ``/metrics`` by its name, as Prometheus' own parser reads it."""
    status, text = get(port, "/metrics")
    assert status == 200
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def one(port: int, name: str, **labels: str) -> float:
    [value] = [value for has, value in samples(port)[name] if labels.items() <= has.items()]
    return value


def test_live_and_ready_say_what_works(watched: tuple[Service, int]) -> None:
    _, port = watched
    assert get(port, "/live")[0] == 200
    status, text = get(port, "/ready")
    said = json.loads(text)
    assert status == 200
    assert (said["ready"], said["storage"], said["model"]) == (True, "working", "none")
    assert said["bridges"]["terminal"] is True


def test_metrics_count_what_happens(watched: tuple[Service, int]) -> None:
    service, port = watched
    service.caught_up()
    before = one(port, "retainer_reply_seconds_count")
    with chatting(service) as chat:
        chat.say("status", "Trading: running")
        chat.say("help", "Stop and go")
        chat.say("buy 5 AAPL", r"\[1\] Approve")
    assert one(port, "retainer_effects", state="asked") == 1
    assert one(port, "retainer_control", state="running") == 1
    assert until(lambda: one(port, "retainer_reply_seconds_count") >= before + 2)
    handled = samples(port)["retainer_events_handled_total"]
    assert sum(value for labels, value in handled if labels["agent"] == "trading" and labels["state"] == "done") > 20
    assert one(port, "retainer_storage_ok") == 1
    assert one(port, "retainer_beat_age_seconds") < 60
    assert 50e6 < one(port, "retainer_resident_bytes") < 220e6


def test_backups_and_their_drill_show_in_metrics_status_and_doctor(watched: tuple[Service, int]) -> None:
    service, port = watched
    assert "retainer_backup_age_seconds" not in samples(port)
    made = service.json("backup")
    assert service.json("backup", "--drill")["ok"]
    until(lambda: one(port, "retainer_backups") == 1)
    assert one(port, "retainer_backup_age_seconds") < 120
    assert one(port, "retainer_backup_bytes") == made["bytes"]
    assert one(port, "retainer_drill_ok") == 1
    assert service.json("status")["backup"]["newest"] == made["name"]
    assert "the last restore drill passed" in service.run("status").stdout
    findings = {finding["what"]: finding for finding in service.json("doctor")}
    assert findings["backups"]["level"] == findings["restore drill"]["level"] == "ok"
    listed = service.run("backup", "--list").stdout
    assert made["name"] in listed
    assert "drill: passed" in listed


def test_pages_answer_loopback_names_only_and_change_nothing(watched: tuple[Service, int]) -> None:
    _, port = watched
    assert get(port, "/metrics", Host="rebound.example")[0] == 403
    assert get(port, "/metrics", Host=f"localhost:{port}")[0] == 200
    assert get(port, "/secrets")[0] == 404
    request = urllib.request.Request(f"http://127.0.0.1:{port}/live", method="POST", data=b"x")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as error:
        assert error.code == 405


def test_only_loopback_is_listened_on(watched: tuple[Service, int]) -> None:
    service, port = watched
    listening = {
        (each.laddr.ip, each.laddr.port)
        for process in service.family()
        for each in process.net_connections()
        if each.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port)}
    assert {f["what"]: f["level"] for f in service.json("doctor")}["listeners"] == "ok"


def test_health_is_a_command_too(watched: tuple[Service, int], tmp_path: Path) -> None:
    service, _ = watched
    said = service.run("health")
    assert (said.returncode, said.stdout) == (0, f"alive, process {service.pid}\n")
    from tests.app.running import retainer

    nobody = retainer(tmp_path, "health")
    assert (nobody.returncode, nobody.stdout) == (1, "not running\n")


def test_a_frozen_service_is_not_alive(watched: tuple[Service, int]) -> None:
    """As if it had been frozen for a minute: the heartbeat is that old."""
    import os

    service, _ = watched
    process = psutil.Process(service.pid)
    process.suspend()
    try:
        old = time.time() - 60
        os.utime(service.folder / "service.json", (old, old))
        said = service.run("health")
    finally:
        process.resume()
    assert said.returncode == 1
    assert "no sign of life" in said.stdout
    until(lambda: service.run("health").returncode == 0)


def test_one_trace_leads_from_the_message_to_the_agent_that_traded_and_back(watched: tuple[Service, int]) -> None:
    service, _ = watched
    with chatting(service) as chat:
        chat.say("buy 2 IBM", r"\[1\] Approve")
        [message] = service.query("SELECT MAX(seq) AS seq FROM event WHERE kind = 'message'")
        chat.say("2", "(?i)rejected|not placed")

    def lines() -> list[dict[str, Any]]:
        text = (service.folder / "logs" / "retainer.log").read_text()
        found = [json.loads(line) for line in text.splitlines()]
        return [line for line in found if line.get("trace") == f"e{message['seq']}"]

    until(lambda: {"chat", "trading"} <= {line.get("agent") for line in lines()})
    assert {line["event"] for line in lines()} >= {"event_handled"}
    assert len({line["seq"] for line in lines()}) >= 2


def test_every_file_is_its_owners_alone(watched: tuple[Service, int]) -> None:
    service, _ = watched
    loose = [path for path in service.folder.rglob("*") if path.stat().st_mode & 0o077]
    assert loose == []


# --- the service manager ---------------------------------------------------------------------------------------------
@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(60)
        yield end


def test_the_manager_hears_ready_then_signs_of_life_then_stopping(tmp_path: Path, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
    with Service(tmp_path / "data", environ) as service:
        heard = [manager.recv(4096).decode() for _ in range(5)]
        assert service.end() == 0
    manager.settimeout(5)
    while "STOPPING=1" not in heard:
        heard.append(manager.recv(4096).decode())
    assert heard.count("READY=1") == 1
    assert heard.count("WATCHDOG=1") >= 3


def test_a_manager_that_went_away_and_an_abstract_socket_do_no_harm() -> None:
    assert not Notifier({}).ready()
    assert not Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).alive()
    name = f"retainer-test-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("two\nlines")
        assert end.recv(100) == b"STATUS=two lines"


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_seconds == 30
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0


# --- the pulse -------------------------------------------------------------------------------------------------------
class Disk:
    """A store whose writer does what a test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs: asyncio.Event | None = None

    async def write(self, apply: Any) -> Any:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.error is not None:
            raise self.error

    def write_soon(self, apply: Any) -> None: ...

    def view(self) -> Any: ...


class Heard(Notifier):
    """Keeps what the manager would hear."""

    def __init__(self) -> None:
        super().__init__({})
        self.texts: list[str] = []

    def send(self, text: str) -> bool:
        self.texts.append(text)
        return True


def pulse_of(disk: Disk, tmp_path: Path) -> tuple[Pulse, Heard, list[DamagedError]]:
    heard, damage = Heard(), list[DamagedError]()
    (tmp_path / "service.json").write_text("{}")
    return Pulse(disk, tmp_path / "service.json", notifier=heard, on_damage=damage.append, beat=0.01), heard, damage


async def test_a_writer_that_hangs_stops_the_watchdog_though_the_loop_turns(tmp_path: Path) -> None:
    disk = Disk()
    pulse, heard, _ = pulse_of(disk, tmp_path)
    assert await pulse.once()
    disk.hangs = asyncio.Event()
    task = asyncio.create_task(pulse.run())
    await asyncio.sleep(0.3)
    assert heard.texts == ["WATCHDOG=1"]
    disk.hangs.set()
    async with asyncio.timeout(20):
        while heard.texts.count("WATCHDOG=1") < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_full_disk_is_told_and_recovers_and_is_no_reason_to_be_killed(tmp_path: Path) -> None:
    disk = Disk()
    pulse, heard, damage = pulse_of(disk, tmp_path)
    disk.error = StorageError("The disk is full.", hint="Free some space.")
    assert not await pulse.once()
    assert not await pulse.once()
    assert "full" in str(pulse.error)
    assert heard.texts.count("STATUS=The disk is full.") == 1
    assert "WATCHDOG=1" in heard.texts
    disk.error = None
    assert await pulse.once()
    assert str(pulse.error) == "None"
    assert damage == []


async def test_damage_is_handed_on_and_never_fed(tmp_path: Path) -> None:
    disk = Disk()
    pulse, heard, damage = pulse_of(disk, tmp_path)
    disk.error = DamagedError("It is damaged.")
    assert not await pulse.once()
    assert damage == [disk.error]
    assert "WATCHDOG=1" not in heard.texts


async def test_a_loop_that_stands_still_shows_as_lag(tmp_path: Path) -> None:
    pulse, _, _ = pulse_of(Disk(), tmp_path)
    task = asyncio.create_task(pulse.run())
    await asyncio.sleep(0.05)
    time.sleep(0.9)  # the loop stands still
    async with asyncio.timeout(20):
        while not pulse.lag:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pulse.lag > 0.2


async def asked(port: int, *lines: str, method: str = "GET") -> str:
    """The raw answer of ``/live`` to a request with these header lines, as a browser could be made to send it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([f"{method} /live HTTP/1.1", *lines, "", ""]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_threat_18_a_web_page_gets_nothing_from_the_local_listener() -> None:
    """Another origin, a name that was rebound to 127.0.0.1, a form that posts; nothing that they may read either."""
    pages = Pages({"/live": lambda: (200, "text/plain", b"the account")})
    port = await pages.start(0)
    here = f"Host: 127.0.0.1:{port}"
    try:
        for attack in (
            [f"Host: rebound.example:{port}"],
            ["Host: rebound.example]"],
            ["Host: 127.0.0.1.rebound.example"],
            ["Host: rebound.example", f"X-Forwarded-Host: 127.0.0.1:{port}"],
            [],
            [here, "Origin: https://evil.example"],
            [here, "Origin: null"],
            [here, "Origin: http://127.0.0.1.evil.example"],
        ):
            answer = await asked(port, *attack)
            assert answer.startswith("HTTP/1.1 403"), attack
            assert "the account" not in answer
        for method in ("POST", "PUT", "OPTIONS", "DELETE"):
            assert (await asked(port, here, method=method)).startswith("HTTP/1.1 405")
        answer = await asked(port, here, f"Origin: http://127.0.0.1:{port}")
        assert "the account" in answer
        assert "access-control" not in answer.lower()
        assert "set-cookie" not in answer.lower()
    finally:
        await pages.stop()


async def test_a_page_server_survives_what_is_no_request() -> None:
    pages = Pages({"/live": lambda: (200, "text/plain", b"yes")})
    port = await pages.start(0)
    try:
        for rubbish in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(rubbish)
            writer.write_eof()
            answer = await reader.read()
            assert b"200 OK" not in answer
            writer.close()
            await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /live HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    finally:
        await pages.stop()


# --- files for other programs ----------------------------------------------------------------------------------------
_WORD = re.compile(r"retainer_[a-z_]+")


def exported() -> set[str]:
    """Names as Prometheus stores them."""
    counters = {f"{name}_total" for name in ("retainer_events_handled", "retainer_cpu_seconds")}
    histogram = {f"retainer_reply_seconds_{end}" for end in ("bucket", "sum", "count")}
    return (
        (set(NAMES) - {"retainer_events_handled", "retainer_cpu_seconds", "retainer_reply_seconds"})
        | counters
        | histogram
    )


def test_the_service_exports_exactly_the_documented_names(watched: tuple[Service, int]) -> None:
    service, port = watched
    service.run("backup", "--drill")
    late = {name for name in NAMES if name.startswith(("retainer_backup_", "retainer_drill_"))}
    found = set(samples(port))
    assert found <= exported()
    assert exported() - found <= late


def test_every_query_of_the_dashboard_and_the_alerts_asks_for_an_exported_name() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = re.findall(r"expr: (.+)", (ROOT / "deploy/alerts.yml").read_text())
    assert len(queries) > 20
    assert len(alerts) > 5
    wanted = {name for query in [*queries, *alerts] for name in _WORD.findall(query)}
    assert wanted - exported() == set()
    shown = {name for query in queries for name in _WORD.findall(query)}
    assert {name.removesuffix("_bucket").removesuffix("_total") for name in shown} == set(NAMES)


def test_the_unit_says_notify_and_gives_the_time_that_ending_takes() -> None:
    unit = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/retainer.service").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) >= 15
    assert int(unit["TimeoutStopSec"]) > 10
    assert unit["RestartPreventExitStatus"] == "2"
    assert unit["ExecStart"].endswith("retainer up --no-chat")
    assert "HEALTHCHECK" in (ROOT / "Containerfile").read_text()


@pytest.mark.parametrize(
    ("lane", "group"),
    [("chat:telegram:42", "chat:telegram"), ("account:paper", "account:paper"), ("control", "control")],
)
def test_no_persons_id_becomes_a_label(lane: str, group: str) -> None:
    assert lane_group(lane) == group


def test_ages_in_words() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    ages = (timedelta(seconds=5), timedelta(minutes=1), timedelta(hours=30), timedelta(days=-1))
    assert [age_words(now - age, now) for age in ages] == ["just now", "1 minute ago", "1 day ago", "just now"]
