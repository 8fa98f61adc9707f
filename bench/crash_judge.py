"""The judges. Judge 1: what people see, from the Bot API server's own log, against what they were owed. Judge 2: the
broker's own records, straight from the database file, with every identity of the account recomputed. Judge 3: the book
of the far side that runs errands.

Nothing of the package is imported: what is judged does not judge itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.crash_parts import reading
from bench.crash_traffic import Pressed, Said

PLACEHOLDER = "…"
DIRECT = {"sum", "month", "status"}
"""Answered in the conversation itself, so in the order in which they were asked."""
ENDS = ("done", "not done", "unknown")
"""How an errand ends, as it is told."""
CARDS = {"card", "errand card"}
_ORDER = r"(buy|sell) ([\d,]+) ([A-Z]+)"
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("sum", r"(\d+ \+ \d+ =)"),
        ("month", r"([A-Z][a-z]+ \d{4}):"),
        ("month", r"There is no market day in ([A-Z][a-z]+ \d{4}) "),
        ("status", r"(Trading:)"),
        ("card", rf"{_ORDER} \(paper account\)"),
        ("unfit", rf"I cannot {_ORDER}\."),
        ("accepted", rf"Accepted: {_ORDER}\."),
        ("not placed", rf"Not placed: {_ORDER}\."),
        ("filled", r"Filled: ()"),
        ("not filled", rf"Not filled: {_ORDER}, because"),
        ("errand card", r"Errand (\d+ \(order\))\n"),
        ("errand done", r"Errand (\d+ \(\w+\)): done"),
        ("errand not done", r"Errand (\d+ \(\w+\)): not done"),
        ("errand unknown", r"I do not know whether this happened: Errand (\d+ \(\w+\))\n"),
        ("reminder set", r"I will remind you .*: (.+)\."),
        ("reminder", r"⏰ Reminder: (.+)"),
        ("stop", r"(Stopped)\. Orders"),
        ("stop told", r"()(?:No resting order had|Cancelled:|Nothing was on order)"),
        ("resume", r"(Resumed)"),
        ("answer", r"()(?:Approved\.|Rejected\.|Too late:|That was already|Not done:)"),
        ("audit", r"(Audit of the day):"),
        ("paired", r"(Paired)\."),
        ("buzz", r"(It works)\."),
    )
)
_FILLED = re.compile(r"^Filled: (bought|sold) ([\d,]+) ([A-Z]+) at", re.MULTILINE)
_MONEY = re.compile(
    r"From \$([\d,.]+) (?:at the close of|when it opened on) (.+) to \$([\d,.]+) at the close of (.+)\."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A message of the bot as people see it at the end."""

    message_id: int
    chat: int
    kind: str
    key: str
    text: str


@dataclass
class Findings:
    """Counts by name, each with the cases behind it."""

    cases: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, case: str, times: int = 1) -> None:
        self.cases[name] += [case] * times

    def add_all(self, other: Findings) -> None:
        for name, cases in other.cases.items():
            self.cases[name] += cases
        self.figures |= other.figures

    def count(self, name: str) -> int:
        return len(self.cases.get(name, ()))


def shown_by(log: Path) -> list[Shown]:
    """Every message of the bot with its last text, in the order in which they stand in the chats."""
    last: dict[int, dict[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        last[int(entry["message_id"])] = entry
    return [_shown(last[number]) for number in sorted(last)]


def _shown(entry: Mapping[str, Any]) -> Shown:
    text = str(entry["text"])
    kind, key = ("placeholder", "") if text == PLACEHOLDER else ("unexpected", text[:60])
    for name, shape in _SHAPES:
        if found := shape.match(text):
            kind, key = name, _order(found) if len(found.groups()) == 3 else found[1]
            break
    return Shown(int(entry["message_id"]), int(entry["chat"]), kind, key, text)


def _order(found: re.Match[str]) -> str:
    side = {"bought": "buy", "sold": "sell"}.get(found[1], found[1].lower())
    return f"{side} {found[2].replace(',', '')} {found[3]}"


# --- all three -------------------------------------------------------------------------------------------------------
def judge_all(log: Path, book: Path, database: Path, said: Sequence[Said], pressed: Sequence[Pressed]) -> Findings:
    """What all judges find, on how things stand now."""
    shown = shown_by(log)
    found = judge_chats(shown, said, pressed)
    with reading(database) as records:
        found.add_all(judge_broker(records, shown, said))
    found.add_all(judge_errands(book, shown, said))
    return found


def owing(found: Findings) -> bool:
    """Whether something may still come: an answer, an order's fate or fill, an errand, or work that waits."""
    left = [case for case in found.cases.get("left undone", ()) if "(bar)" not in case]
    return bool(left) or any(found.count(name) for name in ("messages lost", "orders lost", "errands lost", "resting"))


# --- judge 1: the bot server's log -----------------------------------------------------------------------------------
def judge_chats(shown: Sequence[Shown], said: Sequence[Said], pressed: Sequence[Pressed]) -> Findings:
    """Replies lost, doubled, out of order, unexpected; orders whose fate was told never or twice."""
    found = Findings()
    seen: Counter[tuple[int, str, str]] = Counter((each.chat, each.kind, each.key) for each in shown)
    owed: Counter[tuple[int, str, str]] = Counter()
    for message in said:
        if message.kind in {*DIRECT, "resume"}:
            owed[message.chat, message.kind, message.key] += 1
        elif message.kind == "stop":
            owed[message.chat, "stop", message.key] += 1
            owed[message.chat, "stop told", ""] += 1
        elif message.kind == "reminder":
            owed[message.chat, "reminder set", message.key] += 1
            owed[message.chat, "reminder", message.key] += 1
        elif message.kind == "order":
            _judge_order(found, seen, message)
        elif message.kind == "errand":
            _judge_errand(found, seen, message)
    for chat in {each.chat for each in shown}:
        owed[chat, "paired", "Paired"] = owed[chat, "buzz", "It works"] = 1
    _owe_answers(owed, shown, said, pressed)
    for what in {*owed, *(what for what in seen if what[1] in {"unexpected", "answer"})}:
        name = "unexpected" if what[1] == "unexpected" else "replies doubled"
        found.add("messages lost", f"{what}", max(0, owed[what] - seen[what]))
        found.add(name, f"{what}", max(0, seen[what] - owed[what]))
    _judge_sequence(found, shown, said)
    for each in shown:
        if each.kind == "placeholder":
            found.add("placeholders left", f"message {each.message_id} in {each.chat}")
    return found


def _judge_order(found: Findings, seen: Counter[tuple[int, str, str]], message: Said) -> None:
    """One card or one refusal, or (where a stop came between) one *not placed*; after a card, how it ended, once."""
    chat, order = message.chat, message.key
    cards, unfit = seen[chat, "card", order], seen[chat, "unfit", order]
    told = seen[chat, "accepted", order] + seen[chat, "not placed", order]
    found.add("messages lost", f"no answer to {order} in {chat}", int(cards + unfit + told == 0))
    found.add("replies doubled", f"{cards + unfit} cards for {order} in {chat}", max(0, cards + unfit - 1))
    found.add("messages lost", f"fate of {order} never told in {chat}", int(cards > 0 and told == 0))
    found.add("replies doubled", f"fate of {order} told {told} times in {chat}", max(0, told - 1))


def _judge_errand(found: Findings, seen: Counter[tuple[int, str, str]], message: Said) -> None:
    """How it ended, told once; at most one card before."""
    chat, errand = message.chat, message.key
    told = sum(seen[chat, f"errand {end}", errand] for end in ENDS)
    cards = seen[chat, "errand card", errand]
    found.add("messages lost", f"end of errand {errand} never told in {chat}", int(told == 0))
    found.add("replies doubled", f"end of errand {errand} told {told} times in {chat}", max(0, told - 1))
    found.add("replies doubled", f"{cards} cards for errand {errand} in {chat}", max(0, cards - 1))


def _owe_answers(
    owed: Counter[tuple[int, str, str]], shown: Sequence[Shown], said: Sequence[Said], pressed: Sequence[Pressed]
) -> None:
    """Answers to cards: a typed one is always answered, a press only when it was not the one that closed the card."""
    for message in said:
        if message.kind in {"approve", "reject"}:
            owed[message.chat, "answer", ""] += 1
    taps = Counter((press.chat, press.approval) for press in pressed)
    closed = {approval_of(each.text) for each in shown if each.kind in CARDS and closed_as(each.text)}
    for (chat, approval), count in taps.items():
        owed[chat, "answer", ""] += count - (approval in closed)


def approval_of(card: str) -> str:
    """The approval's id that a card names."""
    found = re.search(r"\(typed: approve (\w+)\)", card)
    return found[1] if found else ""


def closed_as(card: str) -> str:
    """``Approved`` or ``Rejected`` once a card says so, else empty."""
    found = re.search(r"\n\n(Approved|Rejected) at \d\d:\d\d\.$", card)
    return found[1] if found else ""


def _judge_sequence(found: Findings, shown: Sequence[Shown], said: Sequence[Said]) -> None:
    for chat in {message.chat for message in said}:
        for wanted, kinds in ((DIRECT, DIRECT), ({"order"}, {"card", "unfit"})):
            asked = [message.key for message in said if message.chat == chat and message.kind in wanted]
            came = [each.key for each in shown if each.chat == chat and each.kind in kinds]
            kept = [key for key in asked if key in set(came)]
            if came == kept or Counter(came) != Counter(kept):
                continue  # what is missing or doubled is counted as such
            for first, second in zip(came, kept, strict=True):
                if first != second:
                    found.add("replies out of order", f"in {chat}: {first} where {second} was due")


# --- judge 2: the broker's records -----------------------------------------------------------------------------------
def judge_broker(database: sqlite3.Connection, shown: Sequence[Shown], said: Sequence[Said]) -> Findings:
    """Orders lost, doubled, placed without a yes; the account's identities; effects that nobody can know."""
    found = Findings()
    orders = database.execute("SELECT * FROM paper_order ORDER BY seq").fetchall()
    _judge_owner_orders(found, [row for row in orders if not row["strategy"]], shown)
    _judge_effects(found, database, orders)
    _judge_fills(found, database, orders, shown)
    _judge_account(found, database)
    _judge_bars(found, database)
    _judge_money_words(found, database, shown)
    _judge_control(found, database, said)
    return found


def _named(row: sqlite3.Row) -> str:
    return f"{row['side']} {row['quantity']} {row['symbol']}"


def _judge_owner_orders(found: Findings, orders: Sequence[sqlite3.Row], shown: Sequence[Shown]) -> None:
    placed = Counter(_named(row) for row in orders)
    told = Counter(each.key for each in shown if each.kind == "accepted")
    undone = {each.key for each in shown if each.kind == "not placed"}
    cards = {each.key: closed_as(each.text) for each in shown if each.kind == "card"}
    for order, count in placed.items():
        found.add("orders doubled", order, count - 1)
        found.add("orders without a yes", order, int(cards.get(order) != "Approved"))
        found.add("messages lost", f"{order} accepted, never told", int(told[order] == 0))
    for order, how in cards.items():
        if how == "Approved" and not placed[order] and order not in undone:
            found.add("orders lost", order)
    for order in told:
        found.add("orders lost", f"{order} said to be accepted", int(not placed[order]))


def _judge_effects(found: Findings, database: sqlite3.Connection, orders: Sequence[sqlite3.Row]) -> None:
    states = Counter(row["state"] for row in database.execute("SELECT state FROM effect"))
    found.figures |= {"effects": sum(states.values()), "unknown": states["unknown"]}
    for row in database.execute("SELECT key, state FROM effect WHERE state IN ('asked', 'ready', 'sending')"):
        found.add("left undone", f"effect {row['key']} is {row['state']}")
    newest = database.execute("SELECT MAX(seq) AS seq FROM event WHERE kind = 'bar'").fetchone()["seq"]
    for row in database.execute("SELECT seq, kind, state FROM event WHERE state <> 'done'"):
        if row["seq"] == newest and row["state"] == "waiting":
            continue  # the feed delivered it while the service was ending: the next start takes it
        found.add("left undone", f"event {row['seq']} ({row['kind']}) is {row['state']}")
    for row in database.execute("SELECT key FROM effect WHERE state = 'unknown'"):
        found.add("unknown", row["key"])
    done = {
        row["key"] for row in database.execute("SELECT key FROM effect WHERE tool = 'paper.order' AND state = 'done'")
    }
    at_broker = {row["effect_key"] for row in orders}
    for key in done - at_broker:
        found.add("orders lost", f"effect {key} is done, the broker has nothing")
    for key in at_broker - done:
        found.add("orders doubled", f"the broker has {key}, whose effect is not done")
    own = Counter((row["strategy"], row["symbol"], row["side"], row["at"]) for row in orders if row["strategy"])
    for wish, times in own.items():
        found.add("orders doubled", f"{wish} x {times}", times - 1)


def _judge_fills(
    found: Findings, database: sqlite3.Connection, orders: Sequence[sqlite3.Row], shown: Sequence[Shown]
) -> None:
    by_id = {row["id"]: row for row in orders}
    filled: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for row in database.execute("SELECT * FROM fill ORDER BY id"):
        order = by_id.get(row["order_id"])
        if order is None:
            found.add("account identity", f"fill {row['id']} belongs to no order")
            continue
        filled[row["order_id"]] += row["quantity"]
        if not order["strategy"]:
            wanted[_named(row)] += 1
    for order_id, quantity in filled.items():
        found.add("orders doubled", f"{order_id} filled {quantity}", int(quantity > by_id[order_id]["quantity"]))
    for row in orders:
        found.add("resting", row["id"], int(row["state"] == "accepted" and not row["strategy"]))
        if (row["state"] == "filled") != (row["id"] in filled):
            found.add("account identity", f"order {row['id']} is {row['state']}, fills say otherwise")
    told = Counter(_order(line) for each in shown for line in _FILLED.finditer(each.text))
    for name in {*told, *wanted}:
        found.add("messages lost", f"fill of {name} never told", max(0, wanted[name] - told[name]))
        found.add("replies doubled", f"fill of {name} told again", max(0, told[name] - wanted[name]))


def _judge_account(found: Findings, database: sqlite3.Connection) -> None:
    """Cash to the cent and shares to the share, from the ledger's lines alone, against what the account says."""

    def must(what: str, left: object, right: object) -> None:
        if left != right:
            found.add("account identity", f"{what}: {left} is not {right}")

    account = database.execute("SELECT * FROM account").fetchone()
    if account is None:
        found.add("account identity", "there is no account")
        return
    state = json.loads(account["state"])
    lines = database.execute("SELECT * FROM ledger ORDER BY id").fetchall()
    fills = database.execute("SELECT * FROM fill ORDER BY id").fetchall()
    shares: Counter[str] = Counter()
    for line in lines:
        shares[line["symbol"]] += line["quantity"]
    held = {position["symbol"]: position["quantity"] for position in state["positions"]}
    must("digest of the state", hashlib.sha256(account["state"].encode()).hexdigest(), account["digest"])
    must("cash", state["cash"], sum(line["amount"] for line in lines))
    must("deposits", [line["amount"] for line in lines if line["kind"] == "deposit"], [state["deposits"]])
    must("shares", held, {symbol: count for symbol, count in shares.items() if count})
    must("realised", state["realised"], sum(line["realised"] for line in lines))
    must("fees", state["fees"], sum(row["fee"] for row in fills))
    must("dividends", state["dividends"], sum(line["amount"] for line in lines if line["kind"] == "dividend"))
    booked = Counter(
        (r["order_id"], r["symbol"], r["quantity"], r["price"], r["amount"]) for r in lines if r["kind"] == "fill"
    )
    must("fills in the ledger", booked, Counter(_booking(row) for row in fills))
    closes = {
        row["symbol"]: row["close"]
        for row in database.execute(
            "SELECT symbol, close FROM bar b WHERE at = (SELECT MAX(at) FROM bar WHERE symbol = b.symbol)"
        )
    }
    mark = database.execute("SELECT equity, cash FROM equity ORDER BY at DESC LIMIT 1").fetchone()
    worth = state["cash"] * 100 + sum(count * closes[symbol] for symbol, count in held.items())
    must("equity at the last close", abs(mark["equity"] * 100 - worth) <= 50, True)
    found.figures |= {"fills": len(fills), "ledger lines": len(lines), "cash": state["cash"]}


def _booking(row: sqlite3.Row) -> tuple[str, str, int, int, int]:
    sign = 1 if row["side"] == "buy" else -1
    cents, rest = divmod(row["quantity"] * row["price"], 100)
    cents += (rest > 50) or (rest == 50 and cents % 2)
    return row["order_id"], row["symbol"], sign * row["quantity"], row["price"], -sign * cents


def _judge_bars(found: Findings, database: sqlite3.Connection) -> None:
    """Every session once: one event, one set of bars, one mark, and no hole longer than a holiday."""
    bars = [row["at"] for row in database.execute("SELECT DISTINCT at FROM bar ORDER BY at")]
    marks = [row["at"] for row in database.execute("SELECT at FROM equity ORDER BY at")]
    events = [
        row["n"] for row in database.execute("SELECT COUNT(*) AS n FROM event WHERE kind = 'bar' AND state = 'done'")
    ]
    found.figures["sessions"] = len(bars)
    found.add("account identity", "bars and marks differ", int(bars != marks))
    found.add("account identity", f"{events[0]} bar events, {len(bars)} sessions", int(events[0] != len(bars)))
    for before, after in pairwise(bars):
        found.add("account identity", f"no bars after {before}", int(after - before > 5.5 * 86_400))


def _judge_money_words(found: Findings, database: sqlite3.Connection, shown: Sequence[Shown]) -> None:
    """What was said about a month against the marks of its days; of a month not reached yet, nothing may be said."""
    marks = {_day(row["at"]): row["equity"] for row in database.execute("SELECT at, equity FROM equity")}
    deposit = database.execute("SELECT SUM(amount) AS cents FROM ledger WHERE kind = 'deposit'").fetchone()["cents"]
    for each in shown:
        if each.kind != "month" or each.text.startswith("There is no market day"):
            continue
        said = _MONEY.search(each.text)
        right = said is not None and _cents(said[3]) == marks.get(said[4])
        opened = said is not None and "when it opened" in each.text
        right = right and said is not None and _cents(said[1]) == (deposit if opened else marks.get(said[2]))
        found.add("money figures wrong", each.text[:120], int(not right))
        found.figures["months told"] = found.figures.get("months told", 0) + 1


def _day(at: float) -> str:
    return f"{(moment := datetime.fromtimestamp(at, UTC)).day} {moment:%B %Y}"


def _cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", ""))


def _judge_control(found: Findings, database: sqlite3.Connection, said: Sequence[Said]) -> None:
    """The last word of a person about stopping is what holds."""
    row = database.execute("SELECT state FROM control ORDER BY id DESC LIMIT 1").fetchone()
    words = [message.kind for message in said if message.kind in {"stop", "resume"}]
    wanted = "stopped" if words and words[-1] == "stop" else "running"
    found.add("messages lost", "the last stop or resume", int((row["state"] if row else "running") != wanted))


# --- judge 3: the far side's book ------------------------------------------------------------------------------------
def judge_errands(book: Path, shown: Sequence[Shown], said: Sequence[Said]) -> Findings:
    """What the far side accepted against what was asked for, and in what order for each chat and way.

    *Enforced* and *lookup* exactly once; *none* at most once, and told as unknown where it may be missing; an *order*
    once, and only after a yes.
    """
    found = Findings()
    lines = [json.loads(line) for line in book.read_text(encoding="utf-8").splitlines()]
    accepted = Counter((line["for"], f"{line['errand']} ({line['way']})") for line in lines)
    ends = {f"errand {end}": end for end in ENDS}
    told = {(f"telegram:{each.chat}", each.key): ends[each.kind] for each in shown if each.kind in ends}
    yes = {each.key for each in shown if each.kind == "errand card" and closed_as(each.text) == "Approved"}
    asked = [message for message in said if message.kind == "errand"]
    for message in asked:
        where = f"telegram:{message.chat}", message.key
        _judge_one(found, message.key, accepted[where], told.get(where, "nothing"), approved=message.key in yes)
    for where in accepted.keys() - {(f"telegram:{message.chat}", message.key) for message in asked}:
        found.add("errands doubled", f"{where} was never asked for")
    _judge_errand_order(found, lines, asked)
    ways = Counter(line["way"] for line in lines)
    found.figures |= {"errands": len(asked), **{f"{way} errands accepted": ways[way] for way in sorted(ways)}}
    found.figures["errands unknown"] = sum(end == "unknown" for end in told.values())
    return found


def _judge_one(found: Findings, errand: str, count: int, end: str, *, approved: bool) -> None:
    way = _way(errand)
    never = {"none": {"not done"}, "order": {"unknown"}}.get(way, {"not done", "unknown"})
    missing = count == 0 and (end == "done" or way in {"enforced", "lookup"})
    found.add("errands lost", f"{errand}, told: {end}", int(missing))
    found.add("errands doubled", f"{errand}, {count} times", max(0, count - 1))
    found.add("errands told wrong", f"{errand}: {end}", int(end in never or (end == "not done" and count > 0)))
    found.add("errands without a yes", errand, int(way == "order" and count > 0 and not approved))


def _way(key: str) -> str:
    return key.partition("(")[2].rstrip(")")


def _judge_errand_order(found: Findings, lines: Sequence[Mapping[str, Any]], asked: Sequence[Said]) -> None:
    """Each chat's errands of one way, those begun at once and those begun by a timer, as they were asked for."""
    wanted: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    group: dict[tuple[str, str, int], tuple[str, str, bool]] = {}
    for message in asked:
        way, number = _way(message.key), int(message.key.split(" ", 1)[0])
        if way != "order":  # those begin when somebody says yes
            place = (f"telegram:{message.chat}", way, message.text.endswith(" later"))
            wanted[place].append(number)
            group[f"telegram:{message.chat}", way, number] = place
    came: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for line in lines:
        place_or_none = group.get((line["for"], line["way"], line["errand"]))
        if place_or_none is not None:
            came[place_or_none].append(line["errand"])
    for place, numbers in came.items():
        kept = [number for number in wanted[place] if number in set(numbers)]
        for first, second in zip(dict.fromkeys(numbers), kept, strict=True):
            if first != second:
                found.add("errands out of order", f"{place}: {first} where {second} was due")
