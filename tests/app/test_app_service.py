"""The tour of a newcomer, with the real program: everything is asked in the chat and checked against the records."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psutil
from tests.app.running import Chat, Service, chatting

from retainer.trading.samples import load_samples

IDLE_MEMORY = 220e6
"""Bytes that the service may hold without the model's child."""


def day(words: str) -> str:
    """``12 January 2007`` as ``2007-01-12``."""
    return f"{datetime.strptime(words, '%d %B %Y'):%Y-%m-%d}"  # noqa: DTZ007 - a date


def money(words: str) -> Decimal:
    return Decimal(words.replace("$", "").replace(",", "").replace("+", ""))


def test_it_opens_at_once_and_says_how_to_reach_it(service: Service) -> None:
    assert service.opened < 5
    said = service.output.read_text()
    for word in (str(service.folder), "retainer chat", "retainer phone telegram", "retainer stop", "Ctrl-C"):
        assert word in said


def test_commands_and_status_work_while_it_is_still_catching_up(service: Service, chat: Chat) -> None:
    chat.say("help", "Stop and go")
    chat.say("status", "Trading: running")
    assert service.clock() < "2007-02"


def test_the_month_equals_the_ledger_to_the_cent_with_its_dates(service: Service, chat: Chat) -> None:
    service.caught_up()
    found = chat.say(
        "how did the bot do this month?",
        r"This month: \*(?P<gain>[+-]\$[\d,.]+)\*.*?From (?P<before>\$[\d,.]+) at the close of (?P<start>[\w ]+?) "
        r"to (?P<after>\$[\d,.]+) at the close of (?P<end>[\w ]+?)\.\s",
    )
    marks = {mark["at"][:10]: Decimal(mark["equity"]) for mark in service.json("ledger")["equity"]}
    start, end = day(found["start"]), day(found["end"])
    assert money(found["before"]) == marks[start].quantize(Decimal("0.01"))
    assert money(found["after"]) == marks[end].quantize(Decimal("0.01"))
    assert money(found["gain"]) == money(found["after"]) - money(found["before"])
    assert start == max(date for date in marks if date[:7] < end[:7])


def test_why_it_bought_tells_the_recorded_indicators_and_they_are_those_of_the_bars(
    service: Service, chat: Chat
) -> None:
    service.caught_up()
    found = chat.say(
        "why did you buy IBM?",
        r"I bought (?P<quantity>\d+) IBM on (?P<day>[\w ]+?) at \$(?P<price>[\d.]+).*?close of (?P<decided>[\w ]+?) \("
        r".*?Indicators: close (?P<close>\d+\.\d+), sma 100 (?P<slow>\d+\.\d+), sma 20 (?P<fast>\d+\.\d+)"
        r".*?Risk manager: \w",
    )
    bars = load_samples()["IBM"]
    days = [str(np.datetime64(int(at), "ns"))[:10] for at in bars.close_time]
    upto = days.index(day(found["decided"])) + 1
    adjusted = (bars.close * bars.factor)[:upto] / bars.factor[upto - 1]
    assert float(found["close"]) == round(float(bars.close[upto - 1]), 2)
    for name, period in (("fast", 20), ("slow", 100)):
        raw, own = bars.close[upto - period : upto].mean(), adjusted[-period:].mean()
        assert min(abs(float(found[name]) - raw), abs(float(found[name]) - own)) < 0.02
    fills = [fill for fill in service.json("ledger")["fills"] if fill["symbol"] == "IBM" and fill["side"] == "buy"]
    assert (day(found["day"]), found["quantity"]) in [(fill["at"][:10], str(fill["quantity"])) for fill in fills]


def test_buy_5_aapl_is_a_card_then_accepted_then_filled_then_a_position(service: Service, chat: Chat) -> None:
    service.caught_up()
    before = service.positions().get("AAPL", 0)
    card = chat.say(
        "buy 5 AAPL",
        r"\*Buy 5 AAPL\* \(paper account\)\nPrice \$(?P<price>[\d.]+).*?Cost about \$(?P<cost>[\d.,]+)\n"
        r".*?Risk manager: Within limits.*?approve (?P<id>[0-9a-z]{8})\)\.\n\[1\] Approve   \[2\] Reject",
    )
    assert money(card["cost"]) == 5 * Decimal(card["price"])
    wrong = "0" * 8
    chat.say(f"approve {wrong}", r"(?i)(no|not|unknown)[^\n]*")
    assert service.query("SELECT state FROM effect WHERE tool = 'paper.order' AND state = 'asked'")
    chat.say(f"approve {card['id']}", r"Accepted: buy 5 AAPL")
    filled = chat.expect(r"Filled: bought 5 AAPL at \$(?P<price>[\d.]+) on (?P<day>[\w ]+),")
    bars = load_samples()["AAPL"]
    days = [str(np.datetime64(int(at), "ns"))[:10] for at in bars.close_time]
    opened = float(bars.open[days.index(day(filled["day"]))])
    assert float(filled["price"]) >= round(opened, 2)
    assert float(filled["price"]) <= opened * 1.001 + 0.01
    assert service.positions().get("AAPL", 0) == before + 5
    again = chat.say(f"approve {card['id']}", r"[^\n]+\n")
    assert re.search("already|once|spent|used", again[0])
    service.next_bar()
    assert service.positions().get("AAPL", 0) == before + 5
    chat.say("positions", rf"{before + 5} AAPL at")


def test_what_risk_refuses_gets_its_words_and_no_card(service: Service, chat: Chat) -> None:
    service.caught_up()
    chat.say("buy 100000 AAPL", "at most")
    chat.say("buy 5 TSLA", "TSLA")
    assert not service.query("SELECT id FROM approval WHERE state = 'pending'")


def test_sell_everything_is_one_card_and_empties_the_account(service: Service, chat: Chat) -> None:
    service.caught_up()
    assert len(service.positions()) > 1
    chat.say("sell everything", r"\*Sell everything\*.*?\[1\] Approve")
    chat.say("1", r"Accepted")
    chat.expect(r"Filled: sold")
    service.next_bar()
    assert service.positions() == {}


def test_bad_messages_get_a_sentence_and_lose_nothing(service: Service) -> None:
    done = service.run("chat", "--plain", said=b"x" * 40_000 + b"\n")
    assert done.returncode == 0
    assert re.search(r"40,000 characters; I take up to 32,000", done.stdout)
    done = service.run("chat", "--plain", said=bytes(range(128, 256)) * 4 + b"\n")
    assert done.returncode == 0
    assert "binary data" in done.stdout
    done = service.run("chat", "--plain", said="\n   \n\nstatus\n")
    assert done.stdout.count("Trading: running") == 1
    assert service.json("status")["dead"] == 0


def test_a_second_service_on_the_folder_is_refused_and_the_first_goes_on(service: Service) -> None:
    second = service.run("up")
    assert second.returncode == 2
    assert f"process {service.pid}" in second.stderr
    assert "RETAINER_DATA" in second.stderr
    service.next_bar()


def test_nothing_listens_and_little_memory_is_held(service: Service) -> None:
    for process in service.family():
        assert not [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    memory = sum(process.memory_info().rss for process in service.family())
    assert memory < IDLE_MEMORY, f"{memory / 1e6:.0f} MB"


def test_doctor_is_content_and_log_and_explain_show_what_happened(service: Service, chat: Chat) -> None:
    service.caught_up()
    chat.say("what did you buy this month?", r"\n")
    findings: list[dict[str, Any]] = service.json("doctor")
    assert not [finding for finding in findings if finding["level"] == "fail"]
    assert any(finding["what"] == "listeners" for finding in findings)
    events = service.json("log", "-n", "400")
    orders = [effect for event in events for effect in event["effects"] if effect["tool"] == "paper.order"]
    assert "done" in {effect["state"] for effect in orders}
    said = next(event for event in events if event["kind"] == "message" and "what did" in event["body"]["text"])
    explained = service.run("explain", str(said["seq"]))
    assert explained.returncode == 0
    assert "what did you buy this month?" in explained.stdout


def test_stop_holds_over_a_restart_shows_everywhere_and_resume_lifts_it(service: Service) -> None:
    service.caught_up()
    with chatting(service) as chat:
        chat.say("my name is Ana", r"\n")
        chat.say("buy 3 IBM", r"\[1\] Approve")
        chat.say("stop", r"Stopped\.")
        chat.say("1", r"(?i)refused|no longer|stopped|already|not placed")
        chat.say("buy 5 AAPL", r"stopped")
        chat.say("status", r"Trading: STOPPED")
    orders = "SELECT COUNT(*) AS n FROM effect WHERE tool = 'paper.order' AND state IN ('done', 'ready', 'sending')"
    sent = service.query(orders)
    assert service.end() == 0
    service.start()
    service.next_bar()
    assert "STOPPED" in service.run("status").stdout
    assert any(finding["what"] == "trading" and "stopped" in finding["detail"] for finding in service.json("doctor"))
    with chatting(service) as chat:
        chat.say("buy 5 AAPL", r"stopped")
        chat.say("what do you know about me", r"Ana")
        assert service.query(orders) == sent
        chat.say("resume", r"(?i)resumed|running|may go on|again")
        chat.say("status", r"Trading: running")
        chat.say("buy 1 IBM", r"\[1\] Approve")
        chat.say("2", r"(?i)rejected|not placed")
    assert service.run("stop").stdout.startswith("Stopped")
    assert service.json("status")["control"] == "stopped"
    assert service.run("resume").stdout.startswith("Running")


def test_no_event_failed_in_all_of_this(service: Service) -> None:
    figures = service.json("status")
    assert (figures["dead"], figures["parked"]) == (0, 0)
    assert '"level": "error"' not in (service.folder / "logs" / "retainer.log").read_text()
