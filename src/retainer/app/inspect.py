"""Looking from another terminal: status, log, explain, ledger. Nothing here changes anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from retainer.app.config import Settings
from retainer.app.folder import DataFolder, read_json
from retainer.app.operations.standing import standing
from retainer.app.store import open_view, running_pid
from retainer.chat.helping import control_line
from retainer.core.clock import SystemClock
from retainer.core.errors import NotFoundError
from retainer.runtime.explain import depth, explain, recent
from retainer.safety.budget import use_lines, used
from retainer.trading.answers import ledger_rows
from retainer.trading.book import Desk
from retainer.trading.explaining import account_lines


def show_status(settings: Settings, *, as_json: bool) -> int:
    """One screen; 0 also when the service is down (it says so)."""
    folder = DataFolder(settings.data)
    pid = running_pid(folder)
    said = read_json(folder.service_file) if pid else {}
    with open_view(settings) as view:
        figures = depth(view)
        lines = account_lines(view, Desk.of(settings.trading))
        control = control_line(view)
        ops = standing(settings, view, said)
        now = SystemClock().now()
        use, words = used(view, now), use_lines(view, now, settings.safety.limits())
    if as_json:
        _print_json(
            {
                "running": pid is not None,
                "pid": pid,
                "control": figures.control.state,
                "waiting": dict(figures.waiting),
                "effects": dict(figures.effects),
                "dead": figures.dead,
                "parked": figures.parked,
                "events": figures.events,
                "account": lines,
                "model_hour": {"calls": use.calls, "tokens": use.tokens},
                **ops.to_json(),
                **{key: said.get(key) for key in ("model", "bridges", "feeds", "started_at")},
            }
        )
        return 0
    text = [control, f"Service: running, process {pid}" if pid else "Service: not running", *ops.lines]
    if said:
        text.append(f"Model: {said.get('model', '')}")
        text += [f"{name.capitalize()}: {state.get('detail', '')}" for name, state in said.get("bridges", {}).items()]
        text += [f"Prices: {name}, {state.get('detail', '')}" for name, state in said.get("feeds", {}).items()]
    text += words
    text += lines
    waiting = sum(figures.waiting.values())
    open_effects = ", ".join(f"{count} {state}" for state, count in figures.effects.items() if count)
    text.append(
        f"Work: {waiting} events waiting; effects: {open_effects or 'none open'}; {figures.events} events so far"
    )
    if figures.dead or figures.parked:
        text.append(f"Attention: {figures.dead} events failed, {figures.parked} parked; see `retainer log`.")
    sys.stdout.write("\n".join(text) + "\n")
    return 0


def show_log(settings: Settings, *, count: int, lane: str | None, as_json: bool) -> int:
    """The latest events, oldest of them first."""
    with open_view(settings) as view:
        events = recent(view, count, lane=lane)[::-1]
    if as_json:
        _print_json(events)
        return 0
    for event in events:
        took = "" if event["seconds"] is None else f" {event['seconds']:.2f} s"
        where = f"{event['lane']:<22} {event['kind']:<8} {event['state']}{took}"
        sys.stdout.write(f"{event['seq']:>7}  {event['at'][:19]}  {where}  {_gist(event['body'])}\n")
        for effect in event["effects"]:
            words = " ".join(f"{effect['summary'] or ''} {effect['reason'] or ''}".split())
            sys.stdout.write(f"{'':>9}-> {effect['tool']:<15} {effect['state']:<8} {words[:90]}\n")
    return 0


def show_explain(settings: Settings, event: int, *, as_json: bool) -> int:
    """Everything about one event."""
    with open_view(settings) as view:
        found = explain(view, event)
    if as_json:
        _print_json(found)
        return 0
    from rich.console import Console
    from rich.pretty import Pretty

    console = Console(highlight=True)
    for part, value in found.items():
        if value:
            console.rule(part, align="left")
            console.print(Pretty(value, expand_all=False, max_string=600))
    return 0


def show_ledger(settings: Settings, account: str, *, as_json: bool) -> int:
    """The exact ledger of ``account``."""
    with open_view(settings) as view:
        if view.one("SELECT id FROM account WHERE id = ?", (account,)) is None:
            raise NotFoundError(f"There is no account {account} with a first bar yet.", hint="The usual one is: paper.")
        rows = ledger_rows(view, account)
    if as_json:
        _print_json(rows)
        return 0
    _print_ledger(rows)
    return 0


def _print_ledger(rows: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("date", "what", "symbol", "shares", "price", "cash", box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    for entry in rows["entries"]:
        table.add_row(
            entry["at"][:10],
            entry["kind"],
            entry["symbol"],
            str(entry["quantity"] or ""),
            entry["price"] if entry["symbol"] else "",
            entry["amount"],
        )
    Console(highlight=False).print(table)


def _gist(body: Any) -> str:
    if not isinstance(body, Mapping):
        return ""
    text = (
        body.get("text") or body.get("capability") or body.get("at") or body.get("state") or body.get("command") or ""
    )
    return " ".join(str(text).split())[:70]


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
