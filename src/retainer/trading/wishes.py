"""From an order as a person worded it to one that can be judged: whole shares, a kind, prices; or what to say instead.

Dollars and parts become whole shares here, in code, at the last close, rounded down so that nothing costs more than was
said. Every refusal names what can be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

from retainer.trading.arguments import COMPANIES, OrderArguments
from retainer.trading.limits import Limits
from retainer.trading.resting import price_order
from retainer.trading.state import AccountState, OrderType, ProposedOrder, Side
from retainer.trading.units import cents_to_decimal, notional_cents, ns_to_datetime, to_units, units_to_decimal
from retainer.trading.words import day, listed, money

NOTHING = "Nothing was ordered."


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: an ``order`` to judge, with a ``note`` on how it was read, or only words to ``say``."""

    order: ProposedOrder | None = None
    note: str = ""
    say: str = ""


def tradable(limits: Limits) -> str:
    """The symbols of the desk with the names people know: ``AAPL (Apple), GOOG (Google) and IBM``."""
    names: dict[str, str] = {}
    for name, symbol in COMPANIES.items():
        names.setdefault(symbol, name.capitalize())
    return listed(f"{symbol} ({names[symbol]})" if symbol in names else symbol for symbol in limits.symbols)


def read_wish(args: OrderArguments, state: AccountState, limits: Limits) -> Wish:
    """The order that ``args`` mean on the account as it is, or the sentence that helps."""
    if args.symbol not in limits.symbols:
        return _no(f"There is no {args.symbol} here. I can trade {tradable(limits)}.")
    if args.symbol not in state.marks:
        return _no(f"There is no price of {args.symbol} yet. Try again in a moment.")
    if args.side == "short":
        return _no(_short_sale(args.symbol, state))
    if args.limit is not None and args.stop is not None:
        return _no("An order has a limit or a stop, not both. Please say it with one of them.")
    sizes = [size for size in (args.quantity, args.amount, args.part) if size is not None]
    if not sizes:
        return Wish(say=how_many(args.side, args.symbol, state))
    if len(sizes) > 1:
        return _no(_two_sizes(args))
    if (price := _price_trouble(args, state)) is not None:
        return _no(price)
    if args.amount is not None:
        return _worth(args, args.amount, state)
    if args.part is not None:
        return _part(args, Fraction(args.part), state)
    return _shares(args, args.quantity or Decimal(0), state)


def how_many(side: str, symbol: str, state: AccountState) -> str:
    """The question for an order without a size, with what a person needs to answer it."""
    held = state.quantity(symbol)
    if side == "short":
        return _no(_short_sale(symbol, state)).say
    if side == "sell" and not held:
        return f"You hold no {symbol}, so there is nothing to sell. {NOTHING}"
    mark = state.marks.get(symbol)
    if mark is None:
        return f"There is no price of {symbol} yet. Try again in a moment. {NOTHING}"
    price = f"It closed at {money(units_to_decimal(mark.close))} on {day(ns_to_datetime(mark.at))}"
    if side == "sell":
        return (
            f"How many {symbol} shall I sell? You hold {held:,}. {price}. "
            f"Answer with a number, or say “sell all my {symbol}” or “sell half my {symbol}”."
        )
    return (
        f"How many {symbol} shall I buy? {price}; the cash is {money(cents_to_decimal(state.cash))}. "
        f"Answer with a number or an amount such as $500."
    )


def _no(text: str) -> Wish:
    return Wish(say=f"{text} {NOTHING}")


def _short_sale(symbol: str, state: AccountState) -> str:
    held = state.quantity(symbol)
    can = f"You hold {held:,} {symbol}: “sell {held} {symbol}” sells them." if held else f"You hold no {symbol}."
    return f"I sell nothing short, only what the account holds. {can}"


def _two_sizes(args: OrderArguments) -> str:
    if args.quantity is not None and args.amount is not None:
        count, dollars = _plain(args.quantity), _plain(args.amount)
        return (
            f"Is {money(args.amount)} the price of one share or of all? Say “{args.side} {count} {args.symbol} at "
            f"{dollars}” for a limit per share, or “{args.side} ${dollars} of {args.symbol}” for the whole."
        )
    return "Please name one size: a number of shares, an amount of dollars, or a part of what you hold."


def _price_trouble(args: OrderArguments, state: AccountState) -> str | None:
    close = state.marks[args.symbol].close
    last = f"the last close, {money(units_to_decimal(close))}"
    if args.limit == 0 or args.stop == 0:
        return "A price must be above zero."
    if args.stop is None:
        return None
    stop = to_units(args.stop)
    if args.side == "sell" and stop >= close:
        return (
            f"A stop sells when the price falls to it, and {money(args.stop)} is not below {last}: it would sell at "
            f"once. Name a lower stop, or leave it out to sell at the market."
        )
    if args.side == "buy" and stop <= close:
        return (
            f"A stop to buy waits until the price rises to it, and {money(args.stop)} is not above {last}. "
            f"To buy when it is cheaper, say “buy … {args.symbol} at {_plain(args.stop)}”."
        )
    return None


def _shares(args: OrderArguments, quantity: Decimal, state: AccountState) -> Wish:
    side, symbol = args.side, args.symbol
    if quantity == 0:
        return _no(f"0 shares is no order. The smallest is one: “{side} 1 {symbol}”.")
    if quantity < 0:
        count = _plain(-quantity)
        return _no(
            f"I cannot {side} less than nothing. Did you mean “buy {count} {symbol}” or “sell {count} {symbol}”?"
        )
    if quantity != quantity.to_integral_value():
        below = int(quantity.to_integral_value(ROUND_FLOOR))
        close = state.marks[symbol].close
        near = [
            f"“{side} {count} {symbol}” (about {money(cents_to_decimal(notional_cents(count, close)))})"
            for count in (below, below + 1)
            if count
        ]
        return _no(f"Only whole shares are traded here. The nearest: {' or '.join(near)}.")
    return _order(args, int(quantity), state)


def _worth(args: OrderArguments, amount: Decimal, state: AccountState) -> Wish:
    symbol, mark = args.symbol, state.marks[args.symbol]
    close = units_to_decimal(mark.close)
    each = next((price for price in (args.limit, args.stop) if price is not None), close)
    shares = int((amount / each).to_integral_value(ROUND_FLOOR))
    if shares == 0:
        return _no(
            f"{money(amount)} does not reach one {symbol}: it closed at {money(close)} on "
            f"{day(ns_to_datetime(mark.at))}. The smallest order is “{args.side} 1 {symbol}”."
        )
    basis = "at that price" if each != close else "at the last close"
    noun = "share" if shares == 1 else "shares"
    note = (
        f"You asked for {money(amount)} of {symbol}: {shares:,} whole {noun} {basis}, {money(each * shares)}; "
        "one more would go over."
    )
    return _order(args, shares, state, note)


def _part(args: OrderArguments, part: Fraction, state: AccountState) -> Wish:
    symbol = args.symbol
    held = state.quantity(symbol)
    if args.side == "buy":
        return _no(f"A part of what? To buy, name a number of shares or dollars: “buy 5 {symbol}” or “buy $500 of …”.")
    if not held:
        return _no(f"You hold no {symbol}, so there is nothing to sell.")
    if part <= 0 or part > 1:
        return _no(f"That is no part of the {held:,} {symbol} you hold. Say for example “sell half my {symbol}”.")
    exact = held * part
    shares = int(exact)
    name = {Fraction(1, 2): "Half", Fraction(1, 3): "A third", Fraction(1, 4): "A quarter"}.get(
        part, f"{float(part):.0%}"
    )
    if shares == 0:
        return _no(f"{name} of {held:,} {symbol} is less than one share. “sell 1 {symbol}” sells one.")
    rounded = "" if exact == shares else ", rounded down to whole shares"
    return _order(args, shares, state, f"{name} of the {held:,} {symbol} you hold is {shares:,}{rounded}.")


def _order(args: OrderArguments, quantity: int, state: AccountState, note: str = "") -> Wish:
    limit = None if args.limit is None else to_units(args.limit)
    stop = None if args.stop is None else to_units(args.stop)
    kind: OrderType = "limit" if limit is not None else "stop" if stop is not None else "market"
    side: Side = "sell" if args.side == "sell" else "buy"
    return Wish(price_order(state, args.symbol, side, quantity, kind, limit=limit, stop=stop), note)


def _plain(number: Decimal) -> str:
    """A number as a person types it: ``95``, ``27.50``."""
    return format(number.quantize(Decimal(1)) if number == number.to_integral_value() else number, "f")
