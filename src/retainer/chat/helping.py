"""``help`` and ``status``: built from what is there, so they cannot go stale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from retainer.agent.text import tokens
from retainer.core.capabilities import Capability
from retainer.core.clock import from_epoch
from retainer.core.protocols import View
from retainer.runtime.control import read_control
from retainer.safety import people
from retainer.safety.people import LOCAL_CHANNEL

_CONTROLS = (
    "*Stop and go* (work at once, also while I talk)",
    "• stop: refuses orders and cancels what could buy more; stop all: protective orders too",
    "• pause: no new entries; resume: carry on",
    "• yes / no (or the buttons): answer the order card that waits; with several: “yes 2”, “no to all”",
)
_SMALL = frozenset({"and", "at", "to", "or", "the", "no", "too", "all", "what", "could", "that", "on", "buy", "order"})
"""Words of the lines above that say nothing about their topic."""
_CORRECT = "Taken wrong? Say “wrong, I meant …” and I take it that way from then on."


def help_text(capabilities: Sequence[Capability], topic: str = "") -> str:
    """Help for a person: groups, what each does, and a sentence to copy. With ``topic``: only what it is about."""
    known = [one for one in capabilities if (one.phrases or one.examples) and one.extra.get("help") is not False]
    if topic:
        return _about(known, topic)
    lines = ["Say it in your own words; these I take exactly as written:", "", *_CONTROLS]
    for agent in dict.fromkeys(capability.agent for capability in known):
        lines += ["", f"*{_title(agent)}*"]
        lines += [_line(capability) for capability in known if capability.agent == agent]
    return "\n".join([*lines, "", _CORRECT])


def _about(known: Sequence[Capability], topic: str) -> str:
    wanted = {_singular(word) for word in tokens(topic)}
    chosen = [
        capability
        for capability in known
        if wanted
        & {
            _singular(word)
            for text in (capability.name.replace(".", " "), capability.description, *capability.examples)
            for word in tokens(text)
        }
    ]
    controls = [line for line in _CONTROLS[1:] if wanted & {_singular(word) for word in tokens(line)} - _SMALL]
    if not chosen and not controls:
        groups = ", ".join(dict.fromkeys(capability.agent for capability in known))
        return f"I have no help about that. Groups: {groups}. “help” alone shows everything."
    lines = [line for capability in chosen for line in (_line(capability), *_phrases(capability))]
    return "\n".join([*controls, *lines])


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _title(agent: str) -> str:
    return {"chat": "Talking to me", "trading": "The trading bot", "home": "At home"}.get(agent, agent.capitalize())


def _line(capability: Capability) -> str:
    example = f": “{capability.examples[0]}”" if capability.examples else ""
    return f"• {capability.description.rstrip('.')}{example}"


def _phrases(capability: Capability) -> Iterable[str]:
    return (f"    also: “{example}”" for example in capability.examples[1:4])


def control_line(view: View) -> str:
    """The first line of every status: running, paused or stopped; by whom and since when."""
    control = read_control(view)
    if control.state == "running":
        return "Trading: running."
    since = f"{control.at:%Y-%m-%d %H:%M} UTC"
    reason = f" ({control.reason})" if control.reason else ""
    return f"Trading: {control.state.upper()} since {since}{reason}. Say “resume” to lift it."


def status_text(view: View, providers: Sequence[Iterable[str]], model: str) -> str:
    """Status: control first, then what each provider reports, then the model."""
    lines = [control_line(view)]
    for provided in providers:
        lines.extend(provided)
    return "\n".join([*lines, f"Model: {model}".rstrip(".") + "."])


def recent_text(view: View, person: str, limit: int = 8) -> str:
    """The latest events this person caused or was told of, newest first, with the numbers ``explain`` takes."""
    rows = view.query(
        "SELECT seq, agent, kind, state, occurred_at FROM event WHERE sender = ? OR kind = 'bar' "
        "ORDER BY seq DESC LIMIT ?",
        (person, limit),
    )
    if not rows:
        return "Nothing happened yet."
    lines = [f"{row['seq']}  {_utc(row['occurred_at'])}  {row['agent']}: {row['kind']}, {row['state']}" for row in rows]
    return "\n".join([*lines, f"“explain {rows[0]['seq']}” says more; so does `retainer log`."])


def explain_text(view: View, seq: int, person: str) -> str:
    """What is recorded about an event: itself, its steps, effects and what it caused. Other people's stay theirs."""
    event = view.one("SELECT seq, agent, lane, kind, sender, state, occurred_at FROM event WHERE seq = ?", (seq,))
    if event is None:
        return f"There is no event {seq}. “log” lists the latest."
    if event["sender"] not in (None, person):
        return f"Event {seq} belongs to somebody else."
    lines = [
        f"Event {seq}, {_utc(event['occurred_at'])} UTC: {event['kind']} for {event['agent']} in {event['lane']}, "
        f"{event['state']}."
    ]
    steps = view.query("SELECT name FROM step WHERE event_seq = ? ORDER BY position", (seq,))
    if steps:
        lines.append("Steps: " + ", ".join(step["name"] for step in steps) + ".")
    for effect in view.query("SELECT name, tool, state, reason FROM effect WHERE event_seq = ? ORDER BY id", (seq,)):
        reason = f" ({effect['reason']})" if effect["reason"] else ""
        lines.append(f"• {effect['tool']} “{effect['name']}”: {effect['state']}{reason}")
    caused = view.query("SELECT seq, agent, kind FROM event WHERE cause = ? ORDER BY seq", (f"event:{seq}",))
    lines += [f"→ event {row['seq']}: {row['kind']} for {row['agent']}" for row in caused]
    return "\n".join(lines)


def people_text(view: View, now: datetime) -> str:
    """Who may talk here, on which device and with how much power; and how many messages of strangers were dropped."""
    lines = [
        f"• {one.name}, {'this machine' if one.channel == LOCAL_CHANNEL else one.channel}: may {_MAY[one.scope]}"
        for one in people.devices(view)
    ]
    dropped = sum(people.counts(view, now, days=7).values())
    strangers = f"{dropped} of their messages were dropped in the last 7 days" if dropped else "none wrote in 7 days"
    return "\n".join(["Only these paired devices may talk to me:", *lines, f"Strangers get no answer; {strangers}."])


_MAY = {
    "chat": "talk and read",
    "propose": "talk, read and ask for orders",
    "trade": "ask for orders, approve them and resume",
    "admin": "do everything",
}


def _utc(epoch: float) -> str:
    return f"{from_epoch(epoch):%Y-%m-%d %H:%M}"
