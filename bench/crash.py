"""Kills the real service with SIGKILL at random moments of scripted traffic and lets other people's records judge.

    .venv/bin/python bench/crash.py --kills 30 --seed 1
    .venv/bin/python bench/crash.py --kills 200 --messages 2000 --chats 20 --peers
    .venv/bin/python bench/crash.py --kills 30 --signal term
    .venv/bin/python bench/crash.py --search 60
    .venv/bin/python bench/crash.py --telegram-only

It starts the test suite's Bot API server and ``retainer up`` as processes of their own, pairs phones with real codes,
and lets them ask, order, approve, reject, stop and resume while the replay trades. Ends with 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.crash_judge import Findings, judge_all, judge_chats, owing, shown_by
from bench.crash_parts import BotServer, FarSide, Service, look
from bench.crash_peers import STYLES, Peer
from bench.crash_search import Search
from bench.crash_traffic import BURSTS, Said, Traffic

SEARCH_SHARE = 0.1
"""The same where one effect in eight can be neither repeated nor asked about, and the kills are aimed at it."""
TICK = 0.003
LATENCY = 0.03
"""Seconds that every answer of the Bot API server takes, as over a real network: what is cut there, is in doubt."""
PATIENCE = 60.0
"""Seconds in which, after the last start, something that is owed must come; it has as many again after each."""
CALM = 1.5
"""Seconds of silence, with nothing owed, after which nothing more is expected."""
UNKNOWN_SHARE = 0.02
TERM_SECONDS = 10.0
"""Within which it ends on SIGTERM, whatever it is doing."""
LIFE = 3.3
"""Seconds between a start and a kill, on average: over them a life's share of the messages is spread."""
ZERO = (
    "messages lost",
    "replies doubled",
    "replies out of order",
    "unexpected",
    "orders lost",
    "orders doubled",
    "orders without a yes",
    "errands lost",
    "errands doubled",
    "errands out of order",
    "errands without a yes",
    "errands told wrong",
    "account identity",
    "money figures wrong",
    "left undone",
)
Mode = Literal["any", "message", "press", "answer", "boot"]
MODES: tuple[Mode, ...] = ("any",) * 8 + ("message",) * 8 + ("press",) * 6 + ("answer",) * 5 + ("boot",) * 3
SETTINGS = {
    "RETAINER_SAFETY__MESSAGES_PER_MINUTE": "600",
    "RETAINER_SAFETY__EFFECTS_PER_HOUR": "10000",
    "RETAINER_SAFETY__OWN_APPROVALS_PER_HOUR": "1000",
    "RETAINER_SAFETY__APPROVED_ORDERS_PER_MINUTE": "1000",
    "RETAINER_SAFETY__APPROVED_ORDERS_PER_DAY": "1000",
    "RETAINER_TRADING__LIMITS__ORDERS_PER_MINUTE": "100",
    "RETAINER_TRADING__STRATEGY__WEIGHT": "0.1",
    "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": "0.25",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: ``delay`` seconds after the first ``mode`` (a message, a press, an answer) past ``earliest``."""

    mode: Mode
    earliest: float
    delay: float


def draw_moments(kills: int, chance: random.Random) -> list[Moment]:
    """Random moments: any at all, shortly after something happened, or while it starts."""
    moments = []
    for number in range(kills):
        mode = MODES[number] if number < len(MODES) else chance.choice(MODES)
        if mode == "boot":
            moments.append(Moment(mode, chance.uniform(0.05, 1.6), 0.0))
        else:
            delay = {"any": 0.0, "message": 0.15, "press": 0.15, "answer": 0.03}[mode]
            moments.append(Moment(mode, chance.uniform(1.2, 4.5), chance.uniform(0.0, delay)))
    chance.shuffle(moments)
    return moments


class Run:
    """One service, one Bot API server, many kills."""

    def __init__(
        self,
        folder: Path,
        *,
        kills: int,
        seed: int,
        chats: tuple[int, ...],
        messages: int | None = None,
        gently: bool = False,
        peers: bool = False,
    ) -> None:
        """``messages``: spread so many over the kills. ``gently``: SIGTERM instead. ``peers``: other bots beside."""
        chance = random.Random(seed)
        self.moments = draw_moments(kills, chance)
        self.chance = random.Random(chance.random())
        self.folder = folder
        self.messages = messages
        self.gently = gently
        self.ends: list[float] = []
        """Seconds that each end on SIGTERM took; infinite where it ended badly."""
        self.early = 0
        """SIGTERMs that came while the program was still being loaded."""
        self.server = BotServer(folder)
        self.peers = [Peer(folder, style) for style in STYLES] if peers else []
        self.far = FarSide(folder, seed)
        settings = {**SETTINGS, **(long_settings(kills) if messages else {})}
        self.service = Service(folder, self.server.url, settings, self.far.agent)
        self.traffic = Traffic(self.server, chats, random.Random(chance.random()))
        self.traffic.others = tuple(peer.server for peer in self.peers)
        if messages is not None:
            mean = LIFE * kills / messages * sum(BURSTS) / len(BURSTS)
            self.traffic.gap = (0.2 * mean, 1.8 * mean)
            self.traffic.largest = max(60, messages // 5)
            self.traffic.stops = 10 / messages + 0.001
        self.windows: Counter[str] = Counter()

    def close(self) -> None:
        """Leave nothing running."""
        self.service.close()
        self.server.close()
        self.far.close()
        for peer in self.peers:
            peer.close()

    def go(self) -> Findings:
        """Everything; what was found."""
        self.service.start()
        for chat in self.traffic.chats:
            self.service.pair(self.server, chat)
        self.service.await_prices()
        self.server.answer_late(LATENCY)
        for peer in self.peers:
            peer.start()
        for number, moment in enumerate(self.moments, 1):
            if self.messages is not None:
                self.traffic.allowed = self.messages * number // len(self.moments)
            self._live(moment)
            self._end()
            look(self.service.database, self.windows)
            self._pass(self.chance.uniform(0.0, 0.4))
            self.service.start()
            for peer in self.peers:
                peer.start()
        self.traffic.allowed = self.messages
        while self.messages is not None and len(self.traffic.said) < self.messages:
            self._pass(0.5)
        self._settle()
        status, took = self._stop()
        found = self.judge()
        found.add("left undone", f"the service ended with {status} after {took:.1f} s", int(status != 0))
        (self.folder / "said.json").write_text(json.dumps([asdict(each) for each in self.traffic.said], indent=1))
        return found

    def _end(self) -> None:
        """The service, and the bots beside it, end here."""
        if self.gently:
            began = self.service.began
            status, took = self._stop(more=True)
            if status == -signal.SIGTERM and not began:
                self.early += 1  # before it could listen: the system's own way of ending it
            else:
                self.ends.append(took if status == 0 else float("inf"))
        else:
            self.service.kill()
        for peer in self.peers:
            peer.kill()

    def _stop(self, *, more: bool = False) -> tuple[int, float]:
        """SIGTERM: the exit status, and how long it took; with ``more``, people go on writing meanwhile."""
        began = time.monotonic()
        status = self.service.stop(while_waiting=lambda: self._pass(0.02, more=more))
        return status, time.monotonic() - began

    def judge(self) -> Findings:
        """All judges, on how things stand now."""
        traffic = self.traffic
        return judge_all(self.server.log, self.far.book, self.service.database, traffic.said, traffic.pressed)

    def _live(self, moment: Moment) -> None:
        """Until it is time to kill."""
        began = time.monotonic()
        at = began + moment.earliest + (0.0 if moment.mode in {"any", "boot"} else 4.0)
        armed = moment.mode in {"any", "boot"}
        while (now := time.monotonic()) < at:
            happened = self.traffic.tick(now)
            if not armed and now >= began + moment.earliest and moment.mode in happened:
                armed, at = True, time.monotonic() + moment.delay
            time.sleep(min(TICK, max(0.0, at - time.monotonic())))

    def _pass(self, seconds: float, *, more: bool = True) -> bool:
        """Let time go by; whether the bot said anything."""
        ends, heard = time.monotonic() + seconds, False
        while (now := time.monotonic()) < ends:
            heard |= "answer" in self.traffic.tick(now, more=more)
            time.sleep(TICK)
        return heard

    def _settle(self) -> None:
        """No more traffic; wait until nothing is owed, then a little longer for what comes twice."""
        ends = time.monotonic() + PATIENCE
        calm_since: float | None = None
        while (now := time.monotonic()) < ends:
            heard = self._pass(0.5, more=False)
            if heard:
                ends = now + PATIENCE
            if heard or self.traffic.waiting or owing(self.judge()):
                calm_since = None
            elif calm_since is None:
                calm_since = now
            elif now - calm_since >= CALM:
                return


# --- Telegram alone --------------------------------------------------------------------------------------------------
def telegram_only(folder: Path, seed: int, messages: int = 20) -> Findings:
    """``kill -9`` twice during ``messages`` messages to the bot; judged by its server's log."""
    chance, chat = random.Random(seed), 42
    server = BotServer(folder)
    service = Service(folder, server.url, SETTINGS)
    said: list[Said] = []
    with closing(server), closing(service):
        service.start()
        service.pair(server, chat)
        server.answer_late(LATENCY)
        server.news()
        kills, heard, next_at, wait_until = 2, 0, 0.0, float("inf")
        ends = time.monotonic() + PATIENCE
        while (now := time.monotonic()) < ends:
            heard += sum(line["text"] != "…" for line in server.news())
            if len(said) < messages and now >= next_at:
                key = f"{2000 + len(said)} + {chance.randrange(10, 99)}"
                server.say(chat, key)
                said.append(Said(chat, "sum", f"{key} =", key, now))
                next_at = now + chance.uniform(0.1, 0.4)
            if kills and heard and wait_until == float("inf"):
                wait_until = now + chance.uniform(0.0, 0.6)
            if now >= wait_until:
                service.kill()
                service.start()
                kills, heard, wait_until = kills - 1, 0, float("inf")
            if (
                not kills
                and len(said) == messages
                and not judge_chats(shown_by(server.log), said, []).cases["messages lost"]
            ):
                break
            time.sleep(TICK)
        time.sleep(CALM)
        service.stop()
    found = judge_chats(shown_by(server.log), said, [])
    found.add("left undone", "it was not killed twice", kills)
    return found


# --- the table -------------------------------------------------------------------------------------------------------
def table(found: Findings, names: tuple[str, ...] = ZERO, *, share: float = UNKNOWN_SHARE) -> bool:
    """Print each figure with its bound; whether all hold. ``share``: most of the effects that may be unknown."""
    held = True
    for name in names:
        count = found.count(name)
        held &= count == 0
        print(f"  {name:<26}{count:>8}   bound 0     {'ok' if count == 0 else 'BROKEN'}")
    effects, unknown = found.figures.get("effects", 0), found.figures.get("unknown", 0)
    if effects:
        few = unknown / effects <= share
        held &= few
        verdict = "ok" if few else "BROKEN"
        print(f"  {'effects unknown':<26}{unknown / effects:>8.2%}   bound {share:.0%}    {verdict}")
    print(f"  {'placeholders left':<26}{found.count('placeholders left'):>8}   no bound")
    for name in (*names, "unknown", "placeholders left"):
        for case in found.cases.get(name, [])[:8]:
            print(f"    {name}: {case}")
    return held


def long_settings(kills: int) -> dict[str, str]:
    """A long run must reach neither the end of the bars nor that of the money."""
    return {
        "RETAINER_TRADING__REPLAY__SECONDS_PER_BAR": f"{max(0.25, 0.004 * kills):.3f}",
        "RETAINER_TRADING__CASH": "10000000",
        "RETAINER_TRADING__LIMITS__OPEN_ORDERS": "100",
        "RETAINER_TRADING__LIMITS__ORDERS_PER_DAY": "100000",
    }


def beside(peers: list[Peer], said: list[Said]) -> None:
    """Print what became of the same messages in the other bots; no bound."""
    sums, orders = (sum(message.kind == kind for message in said) for kind in ("sum", "order"))
    for peer in peers:
        figures = ", ".join(f"{count} {name}" for name, count in peer.judge(said).items())
        print(f"  beside: {STYLES[peer.style]:<21} {figures} (of {sums} sums and {orders} orders)")


def run_full(options: argparse.Namespace, folder: Path) -> bool:
    """Kills under full traffic."""
    chats = tuple(range(42, 42 + options.chats))
    run = Run(
        folder,
        kills=options.kills,
        seed=options.seed,
        chats=chats,
        messages=options.messages,
        gently=options.signal == "term",
        peers=options.peers,
    )
    began = time.monotonic()
    with closing(run):
        found = run.go()
    kinds = Counter(message.kind for message in run.traffic.said)
    how = "SIGTERMs" if run.gently else "kills"
    print(f"{options.kills} {how} (seed {options.seed}), {time.monotonic() - began:.0f} s, {options.chats} chats")
    print(f"  sent: {len(run.traffic.said)} messages ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))})")
    print(f"        {len(run.traffic.pressed)} button presses")
    print_made(found, run.windows)
    beside(run.peers, run.traffic.said)
    held = True
    if run.ends:
        held = max(run.ends) <= TERM_SECONDS
        middle = f"half of {len(run.ends)} within {statistics.median(run.ends):.1f} s"
        print(
            f"  {'longest end on SIGTERM':<26}{max(run.ends):>7.1f}s   bound {TERM_SECONDS:.0f} s  "
            f"{'ok' if held else 'BROKEN'}   ({middle}; {run.early} more before it was loaded)"
        )
    return table(found) and held


def run_search(options: argparse.Namespace, folder: Path) -> bool:
    """Kills at chosen requests and commits of one short conversation."""
    began = time.monotonic()
    settings = {**SETTINGS, **long_settings(options.search or 200)}
    search = Search(folder, settings, points=options.search, seed=options.seed, late=LATENCY)
    with closing(search):
        found = search.go()
    counts = ", ".join(f"{count} {place}" for place, count in search.counts.items())
    print(f"{search.killed.total()} kills at chosen points (seed {options.seed}), {time.monotonic() - began:.0f} s")
    print(f"  one conversation: {counts} (Bot API requests, far-side requests, commits), each a point before and after")
    print(f"  killed: {', '.join(f'{name} {count} times' for name, count in sorted(search.killed.items()))}")
    print(f"  points that a later conversation did not come to: {search.missed}")
    print_made(found, search.windows)
    if not search.killed:
        print("  NOTHING WAS KILLED")
    return table(found, share=SEARCH_SHARE) and bool(search.killed)


def print_made(found: Findings, windows: Counter[str]) -> None:
    """Print what the kills cut, and what there was to lose."""
    print(f"  cut:  {', '.join(f'{name} {count} times' for name, count in windows.items())}")
    print(f"  made: {', '.join(f'{count:,} {name}' for name, count in found.figures.items() if name != 'cash')}")


def run_telegram(options: argparse.Namespace, folder: Path) -> bool:
    """``kill -9`` twice during 20 messages, three times."""
    held = True
    for number in range(3):
        place = folder / f"run{number}"
        place.mkdir()
        began = time.monotonic()
        found = telegram_only(place, options.seed + number)
        print(f"run {number + 1}: 2 kills during 20 messages, {time.monotonic() - began:.0f} s")
        held &= table(found, ("messages lost", "replies doubled", "replies out of order", "unexpected", "left undone"))
    return held


def main() -> int:
    """Command line; 0 when every bound holds."""
    parser = argparse.ArgumentParser(description="SIGKILL at random moments; the bot server and the broker judge.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chats", "--phones", type=int, default=2, help="people who write at the same time")
    parser.add_argument("--messages", type=int, help="say so many, spread over the kills; else as many as fit")
    parser.add_argument("--signal", choices=("kill", "term"), default="kill", help="SIGKILL, or SIGTERM under load")
    parser.add_argument("--peers", action="store_true", help="two other bots on the same messages and kills")
    parser.add_argument("--telegram-only", action="store_true", help="kill -9 twice during 20 messages, three times")
    parser.add_argument(
        "--search",
        type=int,
        metavar="POINTS",
        help="kill at so many points of a short conversation, each request and commit being one; 0: at all",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with all records")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="retainer-crash-"))
    held = False
    try:
        chosen = run_telegram if options.telegram_only else run_full if options.search is None else run_search
        held = chosen(options, folder)
    finally:
        if held and not options.keep:
            shutil.rmtree(folder)
        else:
            print(f"  records: {folder}")
    print("all bounds hold" if held else "A BOUND IS BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
