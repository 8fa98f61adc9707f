"""The people on their phones: seeded questions, orders, answers to approval cards, stops; and what each one must get.

Every message is made so that its answer can be told from all others: a sum nobody else asked for, a month asked for
once, a number of shares that is ordered once.
"""

from __future__ import annotations

import calendar
import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.crash_parts import BotServer

Kind = Literal["sum", "month", "status", "order", "errand", "reminder", "stop", "resume", "approve", "reject"]
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
FIRST_YEAR = 2005
BURSTS = (1, 1, 1, 1, 1, 2, 5)
"""How many things are said at once, each as likely as the others."""
WAYS = ("enforced", "lookup", "none", "order")
"""What the far side of an errand does about a key it knows: see ``crash_far/far_side.py``."""
LATER = 0.25
"""Share of errands that a timer begins."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message that the Bot API server took from a person."""

    chat: int
    kind: Kind
    key: str
    """What the answer to it starts with; for an order, ``buy 3 AAPL``; for an errand, ``17 (none)``; for a
    typed answer, the approval's id."""
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button that was pressed."""

    chat: int
    approval: str
    yes: bool
    at: float


@dataclass(slots=True)
class _Due:
    at: float
    what: Literal["press", "typed"]
    chat: int
    approval: str
    message_id: int
    yes: bool


@dataclass(slots=True)
class Traffic:
    """One thing after another, never waiting for an answer."""

    server: BotServer
    chats: tuple[int, ...]
    chance: random.Random
    gap: tuple[float, float] = (0.05, 0.5)
    """Seconds between two messages, or bursts of them."""
    allowed: int | None = None
    """How many messages may have been said by now; ``None``: any number."""
    largest: int = 60
    """The most shares that are ordered at once. Every order is made once, so a long run needs many."""
    stops: float = 0.025
    """Share of what is said that is *stop*. Each refuses every order that waits, whoever it belongs to."""
    others: tuple[BotServer, ...] = ()
    """Servers of other bots that hear the same messages."""
    said: list[Said] = field(default_factory=list)
    pressed: list[Pressed] = field(default_factory=list)
    lines: int = 0
    """Lines of the server's log seen so far."""
    _sums: int = 1000
    _errands: int = 0
    _next: float = 0.0
    _resume_at: float | None = None
    _due: list[_Due] = field(default_factory=list)
    _cards: set[str] = field(default_factory=set)
    _months: dict[int, int] = field(default_factory=dict)
    _orders: set[str] = field(default_factory=set)
    _bought: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=6))

    def tick(self, now: float, *, more: bool = True) -> set[str]:
        """Do what is due. Returns what happened: ``message``, ``press``, ``answer`` (the bot said something)."""
        happened = set()
        for line in self.server.news():
            self.lines += 1
            happened.add("answer")
            self._see(line, now)
        for due in [each for each in self._due if each.at <= now]:
            self._due.remove(due)
            self._answer(due, now)
            happened.add("press")
        if self._resume_at is not None and (self._resume_at <= now or not more):
            self._resume_at = None
            self._say(self.chance.choice(self.chats), "resume", "Resumed", "resume", now)
            happened.add("message")
        elif more and now >= self._next and (self.allowed is None or len(self.said) < self.allowed):
            self._next = now + self.chance.uniform(*self.gap)
            before = len(self.said)
            for _ in range(self.chance.choice(BURSTS)):
                self._anything(now)
            if len(self.said) > before:
                happened.add("message")
        return happened

    @property
    def waiting(self) -> bool:
        """Whether people still mean to say something by themselves."""
        return bool(self._due) or self._resume_at is not None

    # --- saying ------------------------------------------------------------------------------------------------------
    def _anything(self, now: float) -> None:
        chat, dice = self.chance.choice(self.chats), self.chance.random()
        if dice < 0.42:
            self._order(chat, now)
        elif dice < 0.54:
            self._errand(chat, now)
        elif dice < 0.57:
            self._say(chat, "status", "Trading:", "status", now)
        elif dice < 0.62 and self._months.get(chat, 0) < 24:
            self._month(chat, now)
        elif dice < 0.62 + self.stops and self._resume_at is None:
            self._say(chat, "stop", "Stopped", "stop", now)
            self._resume_at = now + self.chance.uniform(0.5, 3.0)
        else:
            self._sums += 1
            text = f"{self._sums} + {self.chance.randrange(10, 99)}"
            self._say(chat, "sum", f"{text} =", f"what is {text}?" if dice < 0.8 else text, now)

    def _month(self, chat: int, now: float) -> None:
        number = self._months.get(chat, 0)
        self._months[chat] = number + 1
        name = f"{calendar.month_name[number % 12 + 1]} {FIRST_YEAR + number // 12}"
        self._say(chat, "month", name, f"how did the bot do in {name}?", now)

    def _errand(self, chat: int, now: float) -> None:
        self._errands += 1
        way = self.chance.choice(WAYS)
        later = " later" if way != "order" and self.chance.random() < LATER else ""
        self._say(chat, "errand", f"{self._errands} ({way})", f"errand {self._errands} {way}{later}", now)

    def _order(self, chat: int, now: float) -> None:
        if self._bought and self.chance.random() < 0.3:
            symbol, most = self.chance.choice(list(self._bought))
            self._order_once(chat, f"sell {self.chance.randint(1, most)} {symbol}", now)
        else:
            order = f"buy {self.chance.randint(1, 60)} {self.chance.choice(SYMBOLS)}"
            if order in self._orders:
                order = f"buy {self.chance.randint(1, self.largest)} {self.chance.choice(SYMBOLS)}"
            self._order_once(chat, order, now)

    def _order_once(self, chat: int, order: str, now: float) -> None:
        if order not in self._orders:
            self._orders.add(order)
            self._say(chat, "order", order, order, now)

    def _say(self, chat: int, kind: Kind, key: str, text: str, now: float) -> None:
        self.server.say(chat, text)
        for other in self.others:
            other.say(chat, text)
        self.said.append(Said(chat, kind, key, text, now))

    # --- answering cards ---------------------------------------------------------------------------------------------
    def _see(self, line: dict[str, Any], now: float) -> None:
        for quantity, symbol in re.findall(r"Filled: bought ([\d,]+) (\w+) at", line["text"]):
            self._bought.append((symbol, int(quantity.replace(",", ""))))
        rows = (line["buttons"] or {}).get("inline_keyboard") or []
        data = rows[0][0]["callback_data"] if rows else ""
        approval = data.partition(":")[2]
        if not approval or approval in self._cards:
            return
        self._cards.add(approval)
        yes, dice = self.chance.random() < 0.8, self.chance.random()
        due = _Due(now + self.chance.uniform(0.02, 0.7), "press", line["chat"], approval, line["message_id"], yes)
        if dice < 0.12:
            due.what = "typed"
        elif dice < 0.24:
            self._due.append(_Due(due.at + 0.01, "press", due.chat, approval, due.message_id, yes))
        self._due.append(due)

    def _answer(self, due: _Due, now: float) -> None:
        if due.what == "press":
            self.server.press(due.chat, due.message_id, f"{'a' if due.yes else 'r'}:{due.approval}")
            self.pressed.append(Pressed(due.chat, due.approval, due.yes, now))
        elif due.yes:
            self._say(due.chat, "approve", due.approval, f"approve {due.approval}", now)
        else:
            self._say(due.chat, "reject", due.approval, f"reject {due.approval}", now)
