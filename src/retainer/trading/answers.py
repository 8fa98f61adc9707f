"""Answers about money: performance, trades, positions. Every figure comes from the ledger, the marks and the bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from decimal import Decimal

from retainer.core.capabilities import Answer
from retainer.core.errors import InvalidInputError, NotFoundError, RetainerError
from retainer.core.protocols import View
from retainer.core.values import Json
from retainer.trading.bars import Bars, close_of, market_date
from retainer.trading.book import present
from retainer.trading.ledger import Entry, EquityMark, Performance, entry, performance
from retainer.trading.periods import Period, parse_period
from retainer.trading.records import nanoseconds, read_bars, read_fills, read_marks, read_postings
from retainer.trading.state import AccountState, equity
from retainer.trading.stats import buy_and_hold, max_drawdown
from retainer.trading.units import cents_to_decimal, notional_cents, ns_to_datetime, units_to_decimal
from retainer.trading.words import count, day, did, listed, money, percent

NOTHING_YET = "The account has not seen a bar yet; ask again in a moment."
_MOST_TRADES = 8


def read_entries(view: View, account: str) -> list[Entry]:
    """The ledger in dollars, oldest first."""
    return [entry(posting) for posting in read_postings(view, account)]


def read_equity(view: View, account: str) -> list[EquityMark]:
    """Equity at every close, oldest first."""
    return [EquityMark(ns_to_datetime(at), cents_to_decimal(cents)) for at, cents in read_marks(view, account)]


def read_market(view: View, account: str) -> dict[str, Bars]:
    """Every bar the account has seen, by symbol."""
    rows: dict[str, list[int]] = {}
    bars = read_bars(view, account)
    for index, bar in enumerate(bars):
        rows.setdefault(bar.symbol, []).append(index)
    return {symbol: Bars.from_bars([bars[i] for i in found]) for symbol, found in sorted(rows.items())}


def period_of(view: View, account: str, text: str) -> Period:
    """The period a person means, on the account's clock. Raises for words that name none."""
    first = view.one("SELECT MIN(at) AS at FROM equity WHERE account = ?", (account,))
    last = view.one("SELECT MAX(at) AS at FROM equity WHERE account = ?", (account,))
    if first is None or last is None or first["at"] is None:
        raise NotFoundError(NOTHING_YET)
    return parse_period(text, market_date(nanoseconds(last["at"])), market_date(nanoseconds(first["at"])))


def answer_performance(view: View, account: str, words: str) -> Answer:
    """What the account made in a period, beside buying and holding the same symbols."""
    try:
        period = period_of(view, account, words)
        marks = read_equity(view, account)
        figures = performance(read_entries(view, account), marks, period)
    except RetainerError as error:
        return Answer(str(error))
    hold = _held(view, account, figures)
    text = [
        f"{_capital(period.name)}: *{money(figures.profit, sign=True)}*{_share(figures.profit, figures.start_equity)}.",
        f"From {money(figures.start_equity)} {_start_words(figures, period, marks)} to {money(figures.end_equity)} "
        f"at the close of {day(figures.end)}.",
        f"Realised {money(figures.realised, sign=True)}, open positions {money(figures.unrealised, sign=True)}, "
        f"dividends {money(figures.dividends)}, fees {money(figures.fees)}; {count(figures.trades, 'trade')}.",
    ]
    if hold is not None:
        symbols, share = hold
        text.append(f"Buying and holding {listed(symbols)} instead: {percent(share)}.")
    data: dict[str, Json] = {name: _plain(value) for name, value in asdict(figures).items()}
    data["account"] = account
    data["buy_and_hold"] = None if hold is None else str(hold[1])
    return Answer("\n".join(text), data)


def _start_words(figures: Performance, period: Period, marks: list[EquityMark]) -> str:
    first = market_date(_ns(marks[0]))
    opened = first == figures.start and period.start <= first
    return f"when it opened on {day(figures.start)}" if opened else f"at the close of {day(figures.start)}"


def _share(profit: Decimal, start: Decimal) -> str:
    return f" ({percent(profit / start)})" if start > 0 else ""


def _held(view: View, account: str, figures: Performance) -> tuple[list[str], Decimal] | None:
    """Symbols and simple return of an equal-weight holding over the same closes; ``None`` where it cannot be said."""
    market = read_market(view, account)
    start, end = close_of(figures.start), close_of(figures.end)
    symbols = [symbol for symbol, bars in market.items() if int(bars.close_time[0]) <= start]
    try:
        curve = buy_and_hold(market, 1.0, start, end).value
    except InvalidInputError:
        return None
    return symbols, Decimal(repr(float(curve[-1]) - 1.0)).quantize(Decimal("0.000001"))


def _plain(value: object) -> Json:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def answer_trades(view: View, account: str, words: str) -> Answer:
    """The fills of a period, newest last."""
    try:
        period = period_of(view, account, words)
    except RetainerError as error:
        return Answer(str(error))
    rows = [
        row for row in read_fills(view, account) if period.start <= market_date(nanoseconds(row["at"])) <= period.end
    ]
    if not rows:
        return Answer(f"No trades {_when(period)}.", [])
    shown = rows[-_MOST_TRADES:]
    lines = [f"{count(len(rows), 'trade').capitalize()} {_when(period)}:"]
    if len(rows) > len(shown):
        lines[0] = f"{lines[0][:-1]}; the last {len(shown)}:"
    for row in shown:
        result = f", realised {money(cents_to_decimal(row['realised']), sign=True)}" if row["side"] == "sell" else ""
        lines.append(
            f"{day(ns_to_datetime(nanoseconds(row['at'])))}: {did(row['side'])} {row['quantity']:,} {row['symbol']} at "
            f"{money(units_to_decimal(row['price']))}{result}"
        )
    return Answer("\n".join(lines), [fill_json(row) for row in rows])


def fill_json(row: Mapping[str, object]) -> dict[str, Json]:
    """A fill with exact strings, as the export and the answers carry it."""
    return {
        "at": ns_to_datetime(nanoseconds(float(str(row["at"])))).isoformat(),
        "symbol": str(row["symbol"]),
        "side": str(row["side"]),
        "quantity": int(str(row["quantity"])),
        "price": str(units_to_decimal(int(str(row["price"])))),
        "reference": str(units_to_decimal(int(str(row["reference"])))),
        "fee": str(cents_to_decimal(int(str(row["fee"])))),
        "realised": str(cents_to_decimal(int(str(row["realised"])))),
        "order_id": str(row["order_id"]),
        "strategy": str(row["strategy"]),
    }


def _when(period: Period) -> str:
    dates = f"{day(period.start)} to {day(period.end)}" if period.start != period.end else day(period.start)
    return f"{period.name} ({dates})"


def answer_positions(view: View, account: str) -> Answer:
    """What is held, at the last close, with its cost; then cash and equity."""
    state = present(view, account)
    if state is None:
        return Answer(NOTHING_YET)
    rows = [_position(state, symbol) for symbol in sorted(state.positions)]
    worth, cash = cents_to_decimal(equity(state)), cents_to_decimal(state.cash)
    lines = [f"At the close of {day(ns_to_datetime(state.at))}:"]
    lines += [
        f"{row['quantity']:,} {row['symbol']} at {money(Decimal(str(row['price'])))} = "
        f"{money(Decimal(str(row['value'])))}, cost {money(Decimal(str(row['cost'])))} "
        f"({money(Decimal(str(row['gain'])), sign=True)})"
        for row in rows
    ]
    if not rows:
        lines.append("No positions.")
    lines.append(f"Cash {money(cash)}; the account is worth {money(worth)}.")
    data: Json = {
        "at": ns_to_datetime(state.at).isoformat(),
        "cash": str(cash),
        "equity": str(worth),
        "positions": rows,
    }
    return Answer("\n".join(lines), data)


def _position(state: AccountState, symbol: str) -> dict[str, int | str]:
    held, mark = state.positions[symbol], state.marks[symbol]
    value = cents_to_decimal(notional_cents(held.quantity, mark.close))
    cost = cents_to_decimal(held.cost)
    return {
        "symbol": symbol,
        "quantity": held.quantity,
        "price": str(units_to_decimal(mark.close)),
        "value": str(value),
        "cost": str(cost),
        "gain": str(value - cost),
        "strategy_quantity": held.own,
    }


def ledger_rows(view: View, account: str) -> dict[str, Json]:
    """The whole account as exact strings: ``entries`` (the ledger), ``fills``, ``equity`` marks, deposits included.

    This and the raw bars are enough to recompute every figure that is ever said.
    """
    state = present(view, account)
    return {
        "account": account,
        "at": None if state is None else ns_to_datetime(state.at).isoformat(),
        "entries": [line.to_json() for line in read_entries(view, account)],
        "fills": [fill_json(row) for row in read_fills(view, account)],
        "equity": [{"at": mark.at.isoformat(), "equity": str(mark.equity)} for mark in read_equity(view, account)],
        "cash": None if state is None else str(cents_to_decimal(state.cash)),
        "positions": {} if state is None else {s: p.quantity for s, p in sorted(state.positions.items())},
    }


def curve_of(view: View, account: str, words: str) -> tuple[Period, list[EquityMark], list[float], float]:
    """Period, equity marks in it, buy and hold of the same money beside them, and the deepest fall (0.2 = a fifth).

    Raises :class:`NotFoundError` when the period has no session or only one.
    """
    period = period_of(view, account, words)
    marks = [m for m in read_equity(view, account) if period.start <= market_date(_ns(m)) <= period.end]
    if len(marks) < 2:
        raise NotFoundError(f"There are not two closes in {period.name} to draw a line between.")
    start, end = _ns(marks[0]), _ns(marks[-1])
    try:
        hold = buy_and_hold(read_market(view, account), float(marks[0].equity), start, end)
        beside = dict(zip((int(t) for t in hold.close_time), (float(v) for v in hold.value), strict=True))
    except InvalidInputError:
        beside = {}
    line = [beside.get(_ns(mark), float("nan")) for mark in marks]
    return period, marks, line, max_drawdown([float(mark.equity) for mark in marks]).depth


def _ns(mark: EquityMark) -> int:
    return round(mark.at.timestamp()) * 1_000_000_000
