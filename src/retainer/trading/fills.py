"""How a bar acts on resting orders: the account opened up for one bar set. Used only by :func:`~.kernels.fill`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from retainer.trading.actions import Action, corporate_action
from retainer.trading.bars import Bar
from retainer.trading.limits import Fees
from retainer.trading.state import AccountState, Cancelled, Fill, Order, Position, Posting, PostingKind, Side
from retainer.trading.units import UNITS_PER_CENT, ceil_div, div_half_even, notional_cents

_PPM = 1_000_000


def fee_cents(side: Side, quantity: int, price: int, fees: Fees) -> int:
    """Commission and, on sells, regulatory fees of one fill, each rounded up to the cent."""
    value = quantity * price
    commission = ceil_div(quantity * fees.per_share * _PPM + value * fees.commission_ppm, UNITS_PER_CENT * _PPM)
    regulatory = ceil_div(value * fees.sell_ppm, UNITS_PER_CENT * _PPM) if side == "sell" else 0
    return max(commission, fees.minimum) + regulatory


def fill_price(side: Side, reference: int, slippage_ppm: int, fees: Fees) -> int:
    """The reference price made worse by the slippage and rounded to the tick against the account; at least a tick."""
    tick = fees.tick
    if side == "buy":
        return ceil_div(reference * (_PPM + slippage_ppm), _PPM * tick) * tick
    return max(tick, reference * (_PPM - slippage_ppm) // (_PPM * tick) * tick)


class Work:
    """The account while one bar set acts on it."""

    def __init__(self, state: AccountState, at: int, fees: Fees) -> None:
        self._state = state
        self._at = at
        self._fees = fees
        self._cash = state.cash
        self._realised, self._dividends, self._paid = state.realised, state.dividends, state.fees
        self._positions = dict(state.positions)
        self._orders = list(state.orders)
        self.fills: list[Fill] = []
        self.postings: list[Posting] = []
        self.cancelled: list[Cancelled] = []

    def account(self) -> AccountState:
        """The account as it stands; marks and time are the caller's."""
        return replace(
            self._state,
            cash=self._cash,
            realised=self._realised,
            dividends=self._dividends,
            fees=self._paid,
            positions={s: self._positions[s] for s in sorted(self._positions)},
            orders=tuple(self._orders),
        )

    # --- corporate actions
    def corporate_action(self, bar: Bar) -> None:
        """Apply what happened to ``bar``'s symbol since its last bar."""
        mark = self._state.marks.get(bar.symbol)
        action = corporate_action(mark.close, mark.factor, bar.factor) if mark else None
        if mark is None or action is None:
            return
        if action.is_split:
            self._split(bar.symbol, action, mark.close)
        else:
            self._dividend(bar.symbol, action.dividend)

    def _dividend(self, symbol: str, per_share: int) -> None:
        position = self._positions.get(symbol)
        if position is None:
            return
        amount = position.quantity * per_share
        self._cash += amount
        self._dividends += amount
        self._post("dividend", symbol, price=per_share * UNITS_PER_CENT, amount=amount)

    def _split(self, symbol: str, action: Action, close: int) -> None:
        new, old = action.new, action.old
        self._orders = [resting for o in self._orders if (resting := self._split_order(o, symbol, new, old))]
        position = self._positions.get(symbol)
        if position is None:
            return
        shares, rest = divmod(position.quantity * new, old)
        lieu = div_half_even(rest * close, new * UNITS_PER_CENT)
        part = div_half_even(position.cost * rest, position.quantity * new)
        self._cash += lieu
        self._realised += lieu - part
        own = min(shares, position.own * new // old)
        self._keep(replace(position, quantity=shares, cost=position.cost - part, own=own))
        price = div_half_even(close * old, new)
        self._post("split", symbol, shares - position.quantity, price, lieu, realised=lieu - part)

    def _split_order(self, order: Order, symbol: str, new: int, old: int) -> Order | None:
        if order.symbol != symbol:
            return order
        quantity = order.quantity * new // old
        if quantity == 0:
            self.cancelled.append(Cancelled(order=order, reason=f"a split ({new} for {old}) left less than one share"))
            return None
        return replace(
            order,
            quantity=quantity,
            limit=self._split_price(order.limit, new, old),
            stop=self._split_price(order.stop, new, old),
        )

    def _split_price(self, price: int | None, new: int, old: int) -> int | None:
        tick = self._fees.tick
        return None if price is None else max(tick, div_half_even(price * old, new * tick) * tick)

    # --- the path of a bar: open, low, high
    def at_open(self, bars: Mapping[str, Bar]) -> None:
        """Market orders and what the open has already passed, sells of all symbols first."""
        for side in ("sell", "buy"):
            for order in [o for o in self._orders if o.side == side and o.symbol in bars]:
                price = bars[order.symbol].open
                if order.type == "market" or self._passed(order, price):
                    self._execute(order, price)

    def at_low(self, bar: Bar) -> None:
        """From the open down to the low: buy limits and sell stops, the highest trigger first."""
        waiting = [o for o in self._orders if o.symbol == bar.symbol and _falling(o) and self._passed(o, bar.low)]
        for order in sorted(waiting, key=lambda o: (-_trigger(o), o.side == "buy", o.seq)):
            self._execute(order, _trigger(order))

    def at_high(self, bar: Bar) -> None:
        """From the low up to the high: sell limits and buy stops, the lowest trigger first."""
        waiting = [o for o in self._orders if o.symbol == bar.symbol and not _falling(o) and self._passed(o, bar.high)]
        for order in sorted(waiting, key=lambda o: (_trigger(o), o.side == "buy", o.seq)):
            self._execute(order, _trigger(order))

    @staticmethod
    def _passed(order: Order, price: int) -> bool:
        if order.type == "market":
            return False
        return price <= _trigger(order) if _falling(order) else price >= _trigger(order)

    def _execute(self, order: Order, reference: int) -> None:
        self._orders.remove(order)
        slippage = 0 if order.type == "limit" else self._fees.slippage_ppm
        price = fill_price(order.side, reference, slippage, self._fees)
        if order.limit is not None:
            price = min(price, order.limit) if order.side == "buy" else max(price, order.limit)
        position = self._positions.get(order.symbol) or Position(symbol=order.symbol, quantity=0, cost=0)
        if order.side == "buy":
            quantity, lacking = self._affordable(order.quantity, price), "the cash did not reach for one share"
        else:
            there = position.own if order.strategy else position.quantity
            quantity, lacking = min(order.quantity, there), "the shares were gone before it could be filled"
        if quantity == 0:
            self.cancelled.append(Cancelled(order=order, reason=lacking))
            return
        fee = fee_cents(order.side, quantity, price, self._fees)
        amount = notional_cents(quantity, price)
        realised = self._buy(position, order, quantity, amount) if order.side == "buy" else 0
        if order.side == "sell":
            realised = self._sell(position, order, quantity, amount)
        self._cash -= fee
        self._paid += fee
        self._record(order, quantity, price, reference, fee, realised)

    def _affordable(self, quantity: int, price: int) -> int:
        """The most shares, up to ``quantity``, whose value and fee the cash covers."""
        low, high = 0, quantity
        while low < high:
            middle = (low + high + 1) // 2
            cost = notional_cents(middle, price) + fee_cents("buy", middle, price, self._fees)
            low, high = (middle, high) if cost <= self._cash else (low, middle - 1)
        return low

    def _buy(self, position: Position, order: Order, quantity: int, amount: int) -> int:
        self._cash -= amount
        own = position.own + (quantity if order.strategy else 0)
        self._keep(replace(position, quantity=position.quantity + quantity, cost=position.cost + amount, own=own))
        return 0

    def _sell(self, position: Position, order: Order, quantity: int, amount: int) -> int:
        self._cash += amount
        part = div_half_even(position.cost * quantity, position.quantity)
        owners = 0 if order.strategy else min(quantity, position.quantity - position.own)
        self._keep(
            replace(
                position,
                quantity=position.quantity - quantity,
                cost=position.cost - part,
                own=position.own - (quantity - owners),
            )
        )
        self._realised += amount - part
        return amount - part

    def _keep(self, position: Position) -> None:
        if position.quantity:
            self._positions[position.symbol] = position
        else:
            self._positions.pop(position.symbol, None)

    def _record(self, order: Order, quantity: int, price: int, reference: int, fee: int, realised: int) -> None:
        self.fills.append(
            Fill(
                order_id=order.id,
                symbol=order.symbol,
                side=order.side,
                quantity=quantity,
                price=price,
                reference=reference,
                at=self._at,
                fee=fee,
                realised=realised,
                strategy=order.strategy,
                reply_to=order.reply_to,
                unfilled=order.quantity - quantity,
            )
        )
        sign = 1 if order.side == "buy" else -1
        amount = -sign * notional_cents(quantity, price)
        self._post("fill", order.symbol, sign * quantity, price, amount, realised=realised, order_id=order.id)
        if fee:
            self._post("fee", order.symbol, amount=-fee, order_id=order.id)

    def _post(
        self,
        kind: PostingKind,
        symbol: str,
        quantity: int = 0,
        price: int = 0,
        amount: int = 0,
        *,
        realised: int = 0,
        order_id: str = "",
    ) -> None:
        self.postings.append(
            Posting(
                at=self._at,
                kind=kind,
                symbol=symbol,
                quantity=quantity,
                price=price,
                amount=amount,
                realised=realised,
                order_id=order_id,
            )
        )


def _falling(order: Order) -> bool:
    """Whether a falling price triggers it: buy limits and sell stops."""
    return (order.type == "limit") == (order.side == "buy")


def _trigger(order: Order) -> int:
    return order.limit or order.stop or 0
