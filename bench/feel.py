"""The figures people feel, taken from outside on the real service: first words, stop, idle cost, help.

    .venv/bin/python bench/feel.py [--model default|small] [--rounds 9]

A phone (the test suite's Bot API server) talks to ``retainer up`` with the real model; times are those of the server's
log. Exits with 1 when a bound is missed. Bounds are for two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.crash_parts import BotServer, Service, reading
from tests.bridges.fake_telegram import typing_log

from retainer.app.doctor import open_listeners
from retainer.app.folder import read_json

CHAT = 42
SMALL_TALK = (
    "hi there, nice to meet you",
    "how was your morning?",
    "what do you think makes a good cup of tea?",
    "do you prefer mountains or the sea?",
    "what would you cook on a rainy evening?",
    "tell me something kind",
    "which season do you like best?",
    "what makes a good friend?",
    "any idea for a quiet weekend?",
)


@dataclass
class Bench:
    """One service and one phone."""

    server: BotServer
    service: Service
    lines: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def after(self, t0: float, seconds: float, wanted: str = "", quiet: float = 0.0) -> list[dict[str, Any]]:
        """What the phone was shown after ``t0``, until a text that holds ``wanted`` and then ``quiet`` seconds."""
        ends, found_at = time.time() + seconds, 0.0
        while time.time() < ends:
            self.lines += self.server.news()
            shown = [line for line in self.lines if line["t"] >= t0 and line["chat"] == CHAT]
            useful = [line for line in shown if line["text"] not in {"", "…"} and wanted in line["text"]]
            if useful and not found_at:
                found_at = useful[-1]["t"]
            if found_at and time.time() - max(found_at, shown[-1]["t"]) >= quiet:
                return shown
            time.sleep(0.02)
        raise RuntimeError(f"Nothing with {wanted!r} was shown in {seconds} s.\n{self.service.tail()}")

    def ask(self, text: str, wanted: str = "", *, seconds: float = 60.0, quiet: float = 0.5) -> tuple[float, float]:
        """Seconds to the first visible sign and to the first useful word."""
        t0 = time.time()
        self.server.say(CHAT, text)
        shown = self.after(t0, seconds, wanted, quiet)
        first = next(
            line["t"] for line in shown if line["text"] not in {"", "…"} and (not wanted or wanted in line["text"])
        )
        return self.sign(t0, shown[0]["t"]) - t0, first - t0

    def sign(self, t0: float, latest: float) -> float:
        """When *typing* was first shown after ``t0``, at the ``latest``; else ``latest``."""
        path = typing_log(self.server.log)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        shown = [line["t"] for line in map(json.loads, lines) if line["chat"] == CHAT and line["t"] >= t0]
        return float(min([*shown, latest]))

    def row(self, what: str, value: str, bound: str, ok: bool) -> None:
        """One line of the table."""
        self.rows.append((what, value, bound, ok))
        sys.stdout.write(f"{what:<46} {value:>18}   {bound:<14} {'ok' if ok else 'MISSED'}\n")
        sys.stdout.flush()


def money_questions(bench: Bench, rounds: int) -> list[float]:
    """Status, why, order card, stop: code answers them, whatever the model does."""
    signs: list[float] = []
    for name, text, wanted in (
        ("status", "status", "Account paper"),
        ("why", "why did you buy IBM?", "Signal"),
        ("order card", "buy 5 AAPL", "Risk manager"),
        ("stop", "stop", "Stopped"),
    ):
        words = []
        for _ in range(rounds):
            sign, word = bench.ask(text, wanted, quiet=0.3)
            signs.append(sign)
            words.append(word)
            if name == "order card":
                bench.ask("no", "Reject", quiet=0.3)
            if name == "stop":
                bench.ask("resume", "Resumed", quiet=0.3)
        p50 = statistics.median(words)
        bench.row(f"first useful word: {name}, p50", f"{p50:.2f} s", "<= 0.3 s", p50 <= 0.3)
    return signs


def small_talk(bench: Bench, rounds: int) -> list[float]:
    """Conversation with the model; turn 5 and later count."""
    signs, words = [], []
    for text in SMALL_TALK[: max(rounds, 6)]:
        sign, word = bench.ask(text, quiet=2.5, seconds=120)
        signs.append(sign)
        words.append(word)
    p50 = statistics.median(words[4:])
    bench.row("first useful word: small talk, turn 5 on, p50", f"{p50:.2f} s", "<= 3 s", p50 <= 3.0)
    return signs


IDEA = "test buying AAPL when RSI(2) is under {} and price is above the 200-day average, sell when RSI is over 70"


def tested_ideas(bench: Bench, rounds: int) -> list[float]:
    """A trading idea in a sentence, each time another one: to the sentence and its picture."""
    signs, pictures, beside = [], [], []
    for number in range(rounds):
        t0 = time.time()
        bench.server.say(CHAT, IDEA.format(8 + number))
        bench.server.say(CHAT, "what is 3 * 4?")
        shown = bench.after(t0, 60, "Sharpe")
        signs.append(bench.sign(t0, shown[0]["t"]) - t0)
        while not (drawn := [line["t"] for line in shown if str(line["method"]).lower() == "sendphoto"]):
            shown = bench.after(t0, 60, "Sharpe", quiet=0.2)
        pictures.append(drawn[0] - t0)
        summed = [line["t"] for line in bench.after(t0, 60, "= 12") if "= 12" in line["text"]]
        beside.append(summed[0] - t0)
    p50 = statistics.median(pictures)
    bench.row("backtest in a sentence to its picture, p50", f"{p50:.2f} s", "<= 3 s", p50 <= 3.0)
    bench.row("  a sum asked right after it, answered, p50", f"{statistics.median(beside):.2f} s", "", True)
    return signs


STORY = "Tell me a long story about a lighthouse keeper and the sea, in many words."


def while_decoding(bench: Bench, rounds: int) -> list[float]:
    """Exact questions, and one more of the same kind, while the model words a long answer."""
    signs: list[float] = []
    words: list[float] = []
    for number in range(rounds):
        t0 = time.time()
        bench.server.say(CHAT, STORY)
        bench.after(t0, 180)
        text, wanted = (
            ("status", "Account paper"),
            ("why did you buy IBM?", "Signal"),
            ("buy 5 AAPL", "Risk manager"),
        )[number % 3]
        t0 = time.time()
        bench.server.say(CHAT, text)
        bench.after(t0, 120, wanted, 0.3)
        shown = next(line for line in bench.lines if line["t"] >= t0 and wanted in line["text"])
        opened = min(line["t"] for line in bench.lines if line["message_id"] == shown["message_id"])
        signs.append(bench.sign(t0, max(opened, t0)) - t0)
        words.append(shown["t"] - t0)
        t0 = time.time()
        bench.server.say(CHAT, f"and what happened to the keeper in the end, version {number}?")
        limit = time.time() + 5
        while time.time() < limit and (seen := bench.sign(t0, limit)) == limit:
            time.sleep(0.05)
        signs.append(seen - t0)
        for words_said, answer in (("stop", "Stopped"), ("stop", "Stopped"), ("resume", "Resumed")):
            bench.ask(words_said, answer, quiet=1.0)
        bench.after(time.time() - 60, 60, "", 4.0)
    p50 = statistics.median(words)
    bench.row("exact question while the model decodes, p50", f"{p50:.2f} s", "<= 0.3 s", p50 <= 0.3)
    bench.row("  the slowest of them", f"{max(words):.2f} s", "", True)
    return signs


def stop_under_load(bench: Bench) -> None:
    """Stop while the model decodes and 20 messages wait: when it holds, and that no order passes afterwards."""
    t0 = time.time()
    bench.server.say(CHAT, "buy 4 AAPL")
    shown = bench.after(t0, 10, "Risk manager", 0.5)
    card = next(line for line in reversed(shown) if line["buttons"])
    data = card["buttons"]["inline_keyboard"][0][0]["callback_data"]
    t0 = time.time()
    bench.server.say(CHAT, STORY)
    bench.after(t0, 60)
    for number in range(20):
        bench.server.say(CHAT, f"and then, part {number}, please tell me more of the story?")
    time.sleep(0.5)
    t0 = time.time()
    bench.server.say(CHAT, "stop")
    shown = bench.after(t0, 10, "Stopped")
    said = next(line["t"] for line in shown if "Stopped" in line["text"]) - t0
    with reading(bench.service.database) as database:
        held = (
            float(database.execute("SELECT MAX(at) AS at FROM control WHERE state = 'stopped'").fetchone()["at"]) - t0
        )
    bench.server.press(CHAT, card["message_id"], data)
    bench.after(time.time(), 15, "")
    time.sleep(2.0)
    with reading(bench.service.database) as database:
        query = "SELECT COUNT(*) AS n FROM effect WHERE effect_class = 'money' AND state = 'done' AND updated_at > ?"
        later = int(database.execute(query, (t0 + held,)).fetchone()["n"])
    bench.row(
        "stop to no new order, decoding, 20 waiting",
        f"{held:.2f} s, {later} orders",
        "<= 1 s, 0",
        held <= 1 and not later,
    )
    bench.row("stop answered, decoding, 20 waiting", f"{said:.2f} s", "<= 1 s", said <= 1)


def cost(bench: Bench, process: psutil.Process) -> None:
    """What the service takes when nobody talks to it (the replay goes on at its usual pace)."""
    with_children = process.children(recursive=True)
    before, t0 = process.cpu_times(), time.monotonic()
    kids = [child.cpu_times() for child in with_children]
    time.sleep(30)
    after = process.cpu_times()
    used = (after.user + after.system) - (before.user + before.system)
    used += sum(sum(c.cpu_times()[:2]) - sum(k[:2]) for c, k in zip(with_children, kids, strict=True) if c.is_running())
    share = used / (time.monotonic() - t0)
    memory = process.memory_full_info().uss / 2**20
    resident = process.memory_info().rss / 2**20
    bench.row("idle CPU, the model's child included", f"{share:.2%}", "<= 1 %", share <= 0.01)
    bench.row("memory without the model's child, resident", f"{resident:.0f} MB", "<= 220 MB", resident <= 220)
    bench.row("  of which its own (unique set)", f"{memory:.0f} MB", "", True)
    listeners = open_listeners(process.pid)
    bench.row("listeners off loopback", str(len(listeners)), "0", not listeners)


def help_cost(bench: Bench) -> None:
    """CPU of ``retainer --help``, median of five."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(Path(sys.executable).with_name("retainer")), "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    p50 = statistics.median(times)
    bench.row("retainer --help, CPU", f"{p50:.2f} s", "<= 0.3 s", p50 <= 0.3)


def main() -> int:
    """Take all figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="default")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument(
        "--only",
        choices=("all", "waiting", "ideas"),
        default="all",
        help="waiting: while the model decodes; ideas: backtests",
    )
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="retainer-feel-") as place:
        folder = Path(place)
        server = BotServer(folder)
        service = Service(
            folder,
            server.url,
            {
                "RETAINER_MODEL": chosen.model,
                "RETAINER_LOG__LEVEL": "DEBUG",
                "RETAINER_SAFETY__MESSAGES_PER_MINUTE": "600",
                "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "10",
            },
        )
        bench = Bench(server, service)
        try:
            service.start()
            state: dict[str, Any] = {}
            while chosen.model != "none" and not str(state.get("model", "")).endswith("ready"):
                time.sleep(0.5)
                state = read_json(service.data / "service.json")
            service.pair(server, CHAT)
            time.sleep(6)
            process = psutil.Process(int((service.data / "service.lock").read_text()))
            signs: list[float] = []
            if chosen.only == "all":
                help_cost(bench)
                cost(bench, process)
                signs += money_questions(bench, chosen.rounds) + small_talk(bench, chosen.rounds)
            if chosen.only != "waiting":
                signs += tested_ideas(bench, min(chosen.rounds, 9))
            if chosen.only != "ideas":
                signs += while_decoding(bench, min(chosen.rounds, 9))
            bench.row("a visible sign, the slowest of all", f"{max(signs):.2f} s", "<= 1 s", max(signs) <= 1)
            if chosen.only == "all":
                stop_under_load(bench)
            logs = "".join(path.read_text(errors="replace") for path in (service.data / "logs").glob("*"))
            leaks = logs.count(server.token.partition(":")[2])
            bench.row("bot token in logs at DEBUG", str(leaks), "0", not leaks)
        finally:
            service.stop()
            server.close()
    return 0 if all(ok for *_, ok in bench.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
