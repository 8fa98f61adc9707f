"""The worst moments, one after another: a short conversation is held again and again, and each time the real service is
killed at another of its points: before and after a request to the Bot API server, before and after one to the far side
of the errands, before and after a commit. Some lives end a second time while they recover.

Nothing in the service helps: the servers kill it while it waits for them, and commits are seen from outside.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bench.crash_judge import Findings, judge_all, owing
from bench.crash_parts import BotServer, FarSide, Service, When, look, reading
from bench.crash_traffic import SYMBOLS, WAYS, Kind, Pressed, Said
from bench.crash_watch import commits

Place = Literal["bot", "far", "commit"]
PLACES: Mapping[Place, str] = {"bot": "a Bot API request", "far": "a far-side request", "commit": "a commit"}
CHAT = 42
AGAIN = 0.4
"""Share of lives that end once more during recovery, at one of its first commits."""
RECOVERY = 6
FAST = 10
"""Sessions per second that only catching up reaches."""
PATIENCE = 40.0
"""Seconds that one answer may take, a start included."""
CALM = 1.5
TICK = 0.002


@dataclass(frozen=True, slots=True)
class Point:
    """The request or commit of the conversation with this number, counted from 0."""

    place: Place
    number: int
    when: When


def choose(counts: Mapping[Place, int], most: int, chance: random.Random) -> list[Point]:
    """All points of a conversation with so many requests and commits, or ``most`` of them, from each place in turn."""
    whens: tuple[When, ...] = get_args(When)
    left = {place: [Point(place, n, when) for n in range(count) for when in whens] for place, count in counts.items()}
    for points in left.values():
        chance.shuffle(points)
    chosen: list[Point] = []
    while any(left.values()) and (most == 0 or len(chosen) < most):
        chosen += [points.pop() for points in left.values() if points]
    return chosen[:most] if most else chosen


class Search:
    """One service on one folder, one conversation for each point."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *, points: int, seed: int, late: float) -> None:
        """``points``: how many; 0 for every one. ``late``: seconds that the Bot API server takes to answer."""
        self.most = points
        self.late = late
        self.chance = random.Random(seed)
        self.server = BotServer(folder)
        self.far = FarSide(folder, seed)
        self.service = Service(folder, self.server.url, settings, self.far.agent)
        self.said: list[Said] = []
        self.pressed: list[Pressed] = []
        self.windows: Counter[str] = Counter()
        self.counts: dict[Place, int] = {}
        self.killed: Counter[str] = Counter()
        self.missed = 0
        """Points that a later conversation did not come to."""
        self._texts: dict[int, str] = {}
        self._cards: set[str] = set()
        self._watch: subprocess.Popen[str] | None = None
        self._armed = ""
        self._again = False

    def close(self) -> None:
        """Leave nothing running."""
        self._disarm()
        self.service.close()
        self.server.close()
        self.far.close()

    def go(self) -> Findings:
        """Everything; what was found."""
        self.service.start()
        self.service.pair(self.server, CHAT)
        self.server.answer_late(self.late)
        self._caught_up()
        before = self._counts()
        self._converse(0)
        self.counts = {place: count - before[place] for place, count in self._counts().items()}
        for number, point in enumerate(choose(self.counts, self.most, self.chance), 1):
            self._again = self.chance.random() < AGAIN
            self._arm(point)
            deaths = self.killed.total()
            self._converse(number)
            self._disarm()
            self.missed += self.killed.total() == deaths
        found = self._settle()
        found.add("left undone", "the service did not end in peace", int(self.service.stop() != 0))
        return found

    def _caught_up(self) -> None:
        """Wait until the replay is at its slow pace: its commits are not the conversation's."""
        ends, last = time.monotonic() + PATIENCE, -1
        while time.monotonic() < ends:
            with reading(self.service.database) as database:
                sessions = database.execute("SELECT COUNT(*) AS n FROM equity").fetchone()["n"]
            if last > 0 and sessions - last < FAST:
                return
            last = sessions
            time.sleep(1.0)
        raise RuntimeError(f"The replay did not catch up in {PATIENCE:.0f} s.")

    def _counts(self) -> dict[Place, int]:
        return {"bot": self.server.calls, "far": self.far.calls, "commit": commits(self.service.database)}

    # --- killing -----------------------------------------------------------------------------------------------------
    def _arm(self, point: Point) -> None:
        match point.place:
            case "bot":
                self.server.kill_at(self.service.pid, point.when, point.number)
            case "far":
                self.far.kill_at(self.service.pid, point.when, point.number)
            case "commit":
                self._watch_commits(point.number + (point.when == "after"), point.when)
        self._armed = f"{point.when} {PLACES[point.place]}"

    def _watch_commits(self, count: int, when: When) -> None:
        words = [str(self.service.database), str(self.service.pid), str(count), when]
        program = str(Path(__file__).with_name("crash_watch.py"))
        self._watch = subprocess.Popen([sys.executable, program, *words], stdout=subprocess.PIPE, text=True)
        assert self._watch.stdout is not None
        self._watch.stdout.readline()

    def _disarm(self) -> None:
        self.server.spare()
        self.far.spare()
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None

    def _restart(self) -> None:
        self.killed[self._armed] += 1
        self._disarm()
        look(self.service.database, self.windows)
        self.service.start()
        if self._again:
            self._again = False
            self._armed = "again, while it recovered"
            when: When = self.chance.choice(get_args(When))
            self._watch_commits(self.chance.randint(1, RECOVERY), when)

    # --- the conversation --------------------------------------------------------------------------------------------
    def _converse(self, number: int) -> None:
        """A reminder, a sum, an order with card, yes and fill, an errand of each way, what the reminder says."""
        plant, total = f"water plant {number}", f"{5000 + number} + 17"
        order = f"{number // len(SYMBOLS) + 1} {SYMBOLS[number % len(SYMBOLS)]}"
        self._say("reminder", plant, f"remind me in 1 second to {plant}")
        self._until(rf"^I will remind you .*: {plant}\.")
        self._say("sum", f"{total} =", total)
        self._until(rf"^{re.escape(total)} =")
        self._say("order", f"buy {order}", f"buy {order}")
        if self._until(rf"^(?:Accepted|Not placed): buy {order}\.|^I cannot buy {order}\.").startswith("Accepted"):
            self._until(rf"^Filled: bought {order} at")
        errands = [f"{number * len(WAYS) + at} ({way})" for at, way in enumerate(WAYS)]
        for errand, way in zip(errands, WAYS, strict=True):
            self._say("errand", errand, f"errand {errand.split()[0]} {way}")
        for errand in errands:
            self._until(rf"^(?:I do not know whether this happened: )?Errand {re.escape(errand)}(?:: |\nI will not)")
        self._until(rf"Reminder: {plant}$")

    def _say(self, kind: Kind, key: str, text: str) -> None:
        self.server.say(CHAT, text)
        self.said.append(Said(CHAT, kind, key, text, time.monotonic()))

    def _until(self, pattern: str) -> str:
        """Let things happen until a message of the bot shows ``pattern``; returns it. Raises ``RuntimeError``."""
        wanted, ends = re.compile(pattern, re.MULTILINE), time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            self._let_happen()
            for text in self._texts.values():
                if wanted.search(text):
                    return text
            time.sleep(TICK)
        raise RuntimeError(f"Nothing like {pattern!r} came in {PATIENCE:.0f} s:\n{self.service.tail()}")

    def _let_happen(self) -> bool:
        """See what the bot says, say yes to what it asks, start it again when it died; whether it said anything."""
        lines = self.server.news()
        for line in lines:
            self._texts[line["message_id"]] = line["text"]
            rows = (line["buttons"] or {}).get("inline_keyboard") or []
            approval = rows[0][0]["callback_data"].partition(":")[2] if rows else ""
            if approval and approval not in self._cards:
                self._cards.add(approval)
                self.server.press(CHAT, line["message_id"], f"a:{approval}")
                self.pressed.append(Pressed(CHAT, approval, True, time.monotonic()))
        if self.service.died():
            self._restart()
        return bool(lines)

    def _settle(self) -> Findings:
        """Wait until nothing is owed, then a little longer for what comes twice; what is found then."""
        ends, calm_since = time.monotonic() + PATIENCE, time.monotonic()
        while (now := time.monotonic()) < ends and now - calm_since < CALM:
            found = self._judge()
            if self._let_happen() or owing(found):
                calm_since = now
            time.sleep(0.2)
        return self._judge()

    def _judge(self) -> Findings:
        return judge_all(self.server.log, self.far.book, self.service.database, self.said, self.pressed)
