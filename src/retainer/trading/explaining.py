"""Answers about reasons and standing: why, orders, quotes, status, mandate. All from recorded rows."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

from retainer.core.capabilities import Answer
from retainer.core.protocols import Row, View
from retainer.core.values import Json
from retainer.models.predictor import LogisticPredictor
from retainer.runtime.control import read_control
from retainer.safety import mandate as mandates
from retainer.trading.answers import NOTHING_YET
from retainer.trading.book import Desk, present
from retainer.trading.records import EXIT_AUTHOR, nanoseconds
from retainer.trading.state import AccountState, Order, equity
from retainer.trading.units import cents_to_decimal, ns_to_datetime, units_to_decimal
from retainer.trading.words import count, day, did, money, percent

_ENDED = ("filled", "accepted")


def _dated(seconds: float) -> str:
    return day(ns_to_datetime(nanoseconds(seconds)))


def answer_why(view: View, account: str, symbol: str, side: str | None) -> Answer:
    """The recorded reasons of the last order in ``symbol`` (of that side), or why there is none."""
    row = _last_decision(view, account, symbol, side)
    if row is None:
        return _why_not(view, account, symbol, side)
    lines = [_happened(view, row)]
    if row["author"].startswith("strategy:"):
        name = row["author"].removeprefix("strategy:")
        lines.append(f"Signal of {name} at the close of {_dated(row['at'])}: {row['signal']}.")
        values = json.loads(row["indicators"])
        lines.append(f"Indicators: {_values(values)}.")
        lines.append(f"Wish: {row['reason']}.")
    elif row["author"].startswith(EXIT_AUTHOR):
        lines = [
            f"I {did(row['side'])} {row['quantity']:,} {row['symbol']} on {_dated(row['at'])}: {row['signal']}, "
            f"at {money(units_to_decimal(row['price']))}."
        ]
    else:
        lines.append("You asked for it; no strategy was involved.")
    lines.append(f"Risk manager: {row['risk']}")
    return Answer("\n".join(lines), decision_json(row))


def _last_decision(view: View, account: str, symbol: str, side: str | None) -> Row | None:
    """The newest decision that became an order; failing that the newest at all."""
    rows = view.query(
        "SELECT * FROM decision WHERE account = ? AND symbol = ? AND (CAST(? AS TEXT) IS NULL OR side = ?)"
        " ORDER BY id DESC LIMIT 20",
        (account, symbol, side, side),
    )
    return next((row for row in rows if row["state"] in _ENDED), rows[0] if rows else None)


def _happened(view: View, row: Row) -> str:
    what = f"{row['quantity']:,} {row['symbol']}"
    fill = view.one(
        "SELECT at, price, quantity FROM fill WHERE account = ? AND order_id = ? ORDER BY id DESC LIMIT 1",
        (row["account"], row["order_id"]),
    )
    near = money(units_to_decimal(row["price"]))
    if fill is not None:
        price = money(units_to_decimal(fill["price"]))
        return (
            f"I {did(row['side'])} {fill['quantity']:,} {row['symbol']} on {_dated(fill['at'])} at {price}, "
            f"decided at the close of {_dated(row['at'])} ({near})."
        )
    state = {
        "proposed": "is on its way to the broker",
        "asked": "waits for an answer",
        "accepted": "is accepted and waits for the next open",
        "cancelled": "was cancelled before it was filled",
        "refused": "was refused",
        "unknown": "has an unknown fate",
    }.get(row["state"], f"is {row['state']}")
    return f"The order to {row['side']} {what}, decided at the close of {_dated(row['at'])} ({near}), {state}."


def _why_not(view: View, account: str, symbol: str, side: str | None) -> Answer:
    seen = view.one("SELECT * FROM evaluation WHERE account = ? AND symbol = ?", (account, symbol))
    what = {"buy": f"bought {symbol}", "sell": f"sold {symbol}"}.get(side or "", f"traded {symbol}")
    if seen is None:
        return Answer(f"I have not {what}, and there is no recorded look at {symbol} that led to a decision yet.")
    target = percent(Decimal(seen["target"]) / 10_000, sign=False, places=0)
    text = (
        f"I have not {what}. At the close of {_dated(seen['at'])} its signal was: {seen['signal']}; "
        f"wanted weight {target}."
    )
    return Answer(text, {"symbol": symbol, "signal": seen["signal"], "indicators": json.loads(seen["indicators"])})


def _values(values: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in values.items()) or "none"


def decision_json(row: Row) -> dict[str, Json]:
    """A decision record as the answers and the export carry it."""
    return {
        "at": ns_to_datetime(nanoseconds(row["at"])).isoformat(),
        "event": row["event_seq"],
        "by": row["author"],
        "symbol": row["symbol"],
        "side": row["side"],
        "quantity": row["quantity"],
        "price": str(units_to_decimal(row["price"])),
        "state": row["state"],
        "indicators": json.loads(row["indicators"]),
        "signal": row["signal"],
        "risk": row["risk"],
        "reason": row["reason"],
        "order_id": row["order_id"],
    }


def answer_orders(view: View, account: str) -> Answer:
    """Orders that rest at the broker."""
    state = present(view, account)
    if state is None:
        return Answer(NOTHING_YET)
    if not state.orders:
        return Answer("No orders are waiting.", [])
    lines = [f"{count(len(state.orders), 'order').capitalize()} waiting for the market:"]
    lines += [_order_line(order) for order in state.orders]
    return Answer("\n".join(lines), [_order_json(order) for order in state.orders])


def _order_line(order: Order) -> str:
    kind = "at the next open"
    if order.limit is not None:
        kind = f"at {money(units_to_decimal(order.limit))} or better"
    if order.stop is not None:
        kind = f"when it touches {money(units_to_decimal(order.stop))}"
    whose = order.strategy or "you"
    return (
        f"{order.side.capitalize()} {order.quantity:,} {order.symbol} {kind} ({whose}, {day(ns_to_datetime(order.at))})"
    )


def _order_json(order: Order) -> dict[str, Json]:
    return {
        "id": order.id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "type": order.type,
        "limit": None if order.limit is None else str(units_to_decimal(order.limit)),
        "stop": None if order.stop is None else str(units_to_decimal(order.stop)),
        "strategy": order.strategy,
    }


def answer_quote(view: View, account: str, symbol: str) -> Answer:
    """The last close the account has seen, dated, and the change from the one before."""
    rows = view.query(
        "SELECT at, close, factor FROM bar WHERE account = ? AND symbol = ? ORDER BY at DESC LIMIT 2", (account, symbol)
    )
    if not rows:
        known = [r["symbol"] for r in view.query("SELECT DISTINCT symbol FROM bar WHERE account = ?", (account,))]
        return Answer(f"I have no price of {symbol}. I know {', '.join(sorted(known)) or 'none yet'}.")
    last = rows[0]
    text = f"{symbol} closed at {money(units_to_decimal(last['close']))} on {_dated(last['at'])}"
    if len(rows) == 2:
        change = Decimal(str(last["close"] * last["factor"])) / Decimal(str(rows[1]["close"] * rows[1]["factor"])) - 1
        text += f", {percent(change)} from {_dated(rows[1]['at'])}"
    price = str(units_to_decimal(last["close"]))
    return Answer(
        f"{text}.", {"symbol": symbol, "price": price, "at": ns_to_datetime(nanoseconds(last["at"])).isoformat()}
    )


def answer_status(view: View, desk: Desk) -> Answer:
    """The account and its control in a few lines."""
    return Answer("\n".join(status_lines(view, desk)), status_json(view, desk))


def answer_model(trained: LogisticPredictor) -> Answer:
    """The learned model beside the constant it must beat, on rows it had not seen."""
    scores, on = trained.artefact.scores, trained.artefact.trained_on
    gain = scores.constant_log_loss - scores.log_loss
    beside = "better" if gain > 0 else "worse"
    text = (
        f"{trained.name}: logistic regression on {len(trained.features)} figures of the past, for the next day's "
        f"direction.\nOn {scores.rows:,} days it had not seen its log-loss was {scores.log_loss:.5f}; the constant "
        f"that it must beat has {scores.constant_log_loss:.5f}: {abs(gain):.5f} {beside}.\n"
        "That proves no edge, so nothing is traded on it: only a test written down first lets a model take over.\n"
        f"Trained on {', '.join(on.symbols)}, {on.first[:10]} to {on.last[:10]}."
    )
    return Answer(text=text, data={"scores": scores.model_dump(), "name": trained.name})


def status_lines(view: View, desk: Desk) -> list[str]:
    """Lines for every status: control, the account's clock, what it holds, what waits."""
    control = read_control(view)
    standing = {"running": "running", "paused": "paused (no new positions)", "stopped": "STOPPED (no orders)"}
    head = f"Trading: {standing.get(control.state, control.state)}"
    if control.state != "running" and control.by:
        head += f", since {control.at:%d %b %Y %H:%M} UTC"
    return [head, *account_lines(view, desk)]


def account_lines(view: View, desk: Desk) -> list[str]:
    """The same without the control line, for a status that begins with it already."""
    state = present(view, desk.account)
    if state is None:
        return [f"Account {desk.account}: no bar yet"]
    lines = [
        f"Account {desk.account}: worth {money(cents_to_decimal(equity(state)))} at the close of "
        f"{day(ns_to_datetime(state.at))}; cash {money(cents_to_decimal(state.cash))}, "
        f"{count(len(state.positions), 'position')}, {count(len(state.orders), 'order')} waiting",
    ]
    ended = view.one("SELECT at, feed FROM feed_end WHERE account = ?", (desk.account,))
    if ended is not None and nanoseconds(ended["at"]) >= state.at:
        lines.append(f"The prices of feed '{ended['feed']}' end on {_dated(ended['at'])}: the account stands still")
    if state.blocked:
        lines.append(f"Blocked until an unknown order is cleared up: {', '.join(state.blocked)}")
    return lines


def status_json(view: View, desk: Desk) -> dict[str, Json]:
    """The same as data."""
    state: AccountState | None = present(view, desk.account)
    return {
        "control": read_control(view).state,
        "account": desk.account,
        "at": None if state is None else ns_to_datetime(state.at).isoformat(),
        "equity": None if state is None else str(cents_to_decimal(equity(state))),
        "cash": None if state is None else str(cents_to_decimal(state.cash)),
        "orders": 0 if state is None else len(state.orders),
    }


def answer_mandate(view: View, desk: Desk, now: datetime) -> Answer:
    """What the strategy may do unasked."""
    found = mandates.in_force(view, now, account=desk.account)
    if not found:
        return Answer(f"No mandate is in force on {desk.account}: the strategy asks for every order.", [])
    return Answer("\n".join(mandates.words(mandate) for mandate in found), [mandate.id for mandate in found])
