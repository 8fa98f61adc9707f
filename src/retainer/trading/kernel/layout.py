"""How an account lies in memory for the kernels, and what each number means.

An account is two vectors of one length and one division into rows: ``f`` holds floats, ``w`` whole numbers. A row is
named by its offset, which is the same in both: ``f[o + O_LIMIT]`` is the limit and ``w[o + O_SIDE]`` the side of the
order at ``o``. The rows: one header, one per symbol, then room for orders, recent orders, peaks and events. ``r`` is
the vector of rules. Plain Python uses lists, the compiled twin NumPy arrays.

Where money is rounded, prices are whole 1/10,000 dollars, amounts whole cents and quantities whole shares; sums,
differences and products of whole numbers are exact in float64 below 2**53: prices times shares up to 900 billion
dollars, targets of accounts up to 90 million. Floats were chosen over int64 because the same source then also runs
unrounded (for comparison with engines that do not round), because an overflow of int64 is silent when compiled, and
because a float division is several times faster than an integer one. Only basic IEEE operations are used, so both
twins agree bit for bit.
"""

from __future__ import annotations

from collections.abc import MutableSequence

Reals = MutableSequence[float]
Wholes = MutableSequence[int]

# --- header: amounts (f)
CASH = 0
REALISED = 1
DIVIDENDS = 2
FEES = 3
BORROWED = 4
"""Paid for borrowed shares so far."""
SLIPPAGE = 5
"""Difference between fills and the market's prices so far."""
UNSETTLED = 6
"""Proceeds of sales: of this session, of the one before, of the one before that (three columns)."""
DAY_EQUITY = 9
"""Equity at the last close before this day."""
VALUE = 10
"""Positions at their last close, price units; shorts count negative."""
GROSS = 11
"""As VALUE, shorts counted positive."""
SHORTS = 12
"""Shorts alone, positive."""
PROMISED = 13
"""Money promised to resting orders that add exposure."""
EQUITY = 14

# --- header: counters and offsets (w)
AT = 0
"""Close time of the row, nanoseconds UTC."""
DAY = 1
"""Market date of the last row, as a day number; 0 before the first."""
ROW_DAY = 2
ROW = 3
TRADING = 4
"""1 while the exchange trades, by the calendar."""
NEXT_SEQ = 5
NEXT_GROUP = 6
ALIVE_ORDERS = 7
BUYS_MINUTE = 8
BUYS_DAY = 9
FILLS = 10
REFUSALS = 11
SKIPS = 12
NEXT_ACTION = 13
NEXT_PLANNED = 14
SYMBOLS_END = 15
ORDERS_END = 16
ORDERS_STOP = 17
"""Orders lie from SYMBOLS_END on; used up to ORDERS_END, room up to ORDERS_STOP. So the others."""
RECENT_FIRST = 18
RECENT_END = 19
RECENT_STOP = 20
PEAK_FIRST = 21
PEAK_END = 22
PEAK_STOP = 23
EVENTS_END = 24
EVENTS_STOP = 25
SYMBOLS = 26
"""How many."""
ACTIONS = 27
"""Symbols with a split or a dividend before this row's bars."""
SESSION = 28
"""Market date of the last row on which the exchange traded, as a day number."""
HEADER = 29

# --- a symbol: position (f)
QUANTITY = 0
COST = 1
OWN = 2
"""Shares the strategy holds; the rest are the owner's."""
MARK = 3
"""Last close, price units; 0 before the first bar."""
TARGET = 4
"""Last target: basis points of equity, or shares."""
DAY_VOLUME = 5
MEAN_VOLUME = 6
"""Exponential mean of the volume of whole sessions (weight 1/20); 0 before the first."""
BOUGHT = 7
"""Shares bought in this session and not sold in it."""
TRIPS = 8
"""Round trips in this session."""
RESERVED = 9
"""Money promised to resting orders that add exposure in this symbol."""
LEFT = 10
"""Quantity that this bar's volume still allows."""
OPEN = 11
"""The bar of the row; a close of 0 is a missing bar. Open, high and low are there where orders rest."""
HIGH = 12
LOW = 13
CLOSE = 14
BAR_VOLUME = 15
WISH = 16
"""The plan's target at this close; NaN: none."""
WISH_LOSS = 17
"""Exits that go with an entry decided now, millionths of its fill price; 0: none."""
WISH_PROFIT = 18
WISH_TRAIL = 19
ACTION_NEW = 20
"""A split or a dividend before this bar: ``ACTION_NEW`` shares for ``ACTION_OLD``; 0: nothing happened."""
ACTION_OLD = 21
ACTION_DIVIDEND = 22
"""Money per share."""
# (w)
SEEN = 0
"""Close time of the last bar; 0: none."""
ALLOWED = 1
BLOCKED = 2
"""1 while an order of unknown fate is about."""
FIRST = 3
"""First order of the symbol in this row; 0: none."""
LAST = 4
SYMBOL_COLUMNS = 24

# --- an order (f)
O_QUANTITY = 0
O_LIMIT = 1
O_STOP = 2
"""Trigger; of a trailing order the level it has reached."""
O_TRAIL = 3
"""Trailing distance, millionths of the price."""
O_LOSS = 4
"""Exits to set up when it fills: stop, profit limit, trailing distance; 0: none."""
O_PROFIT = 5
O_CHILD_TRAIL = 6
# (w)
O_SYMBOL = 0
"""Offset of its symbol."""
O_SIDE = 1
"""1 buys, -1 sells."""
O_TYPE = 2
O_AT = 3
O_SEQ = 4
O_STRATEGY = 5
O_PROTECTIVE = 6
O_TRIGGERED = 7
O_GROUP = 8
"""Orders of one group cancel each other; 0: none."""
O_PARENT = 9
"""Sequence number of the entry it guards; 0: none."""
O_EXPIRES = 10
"""-1: good till cancelled; 0: for the session of its first bar; above: the day it ends with."""
O_REF = 11
"""The caller's number of it; -1: made by the kernel."""
O_NEXT = 12
"""Next order of the symbol in this row; 0: none."""
O_ALIVE = 13
O_STUCK = 14
"""Row (plus 1) in which nothing more can be filled of it."""
O_RELATIVE = 15
"""Whether O_LOSS and O_PROFIT are millionths of the fill price."""
ORDER_COLUMNS = 16

MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING, ON_CLOSE = 0, 1, 2, 3, 4, 5

# --- a recent order (f: quantity; w)
R_QUANTITY = 0
R_AT = 0
R_SYMBOL = 1
R_SIDE = 2
R_INCREASES = 3
R_SEQ = 4
RECENT_COLUMNS = 5

# --- a peak: equity (f) at (w); one column

# --- an event (f)
E_QUANTITY = 0
E_PRICE = 1
E_REFERENCE = 2
E_AMOUNT = 3
E_FEE = 4
E_REALISED = 5
E_UNFILLED = 6
# (w)
E_KIND = 0
E_ROW = 1
E_SYMBOL = 2
E_SIDE = 3
E_SEQ = 4
E_TYPE = 5
E_DECIDED = 6
E_BITS = 7
"""Reasons of a refusal, or the reason of a cancellation."""
E_REF = 8
E_PARENT = 9
EVENT_COLUMNS = 10

FILLED, DIVIDEND, SPLIT, CANCELLED, BORROW_COST, REFUSED, SKIPPED, WANTED = 1, 2, 3, 4, 5, 6, 7, 8
NO_CASH, NO_SHARES, SPLIT_AWAY, PARTNER, OVERTAKEN, EXPIRED, PARENT_CLOSED, EXIT_ORDERED = 1, 2, 3, 4, 5, 6, 7, 8

# --- rules (r)
UNIT = 0
"""Price units in one unit of money: 100 where prices are 1/10,000 dollar and money is cents, else 1."""
LOTS = 1
"""Quantity units in one share."""
STEP = 2
"""Smallest quantity: 1, or 0 where any quantity goes."""
TICK = 3
ROUND = 4
PER_SHARE = 5
COMMISSION = 6
MINIMUM = 7
SELL_PPM = 8
SELL_MICRO = 9
SELL_CAP = 10
SLIP_PPM = 11
SLIP_UNITS = 12
IMPACT_PPM = 13
VOLUME_SHARE = 14
SHORT_ALLOWED = 15
BORROW_RATE = 16
SETTLE = 17
FILL_ON = 18
ORDER_BPS = 19
POSITION_BPS = 20
GROSS_BPS = 21
RESERVE_BPS = 22
LOSS_BPS = 23
DRAWDOWN_BPS = 24
COLLAR_BPS = 25
ORDER_MONEY = 26
VOLUME_PPM = 27
TRIPS_LIMIT = 28
LIMIT_ONLY = 29
OPEN_LIMIT = 30
PER_MINUTE = 31
PER_DAY = 32
REMEMBER = 33
"""Whether accepted orders are remembered, for rates and duplicates."""
IN_SHARES = 34
"""Whether targets are numbers of shares."""
DUPLICATE_NS = 35
STALE_NS = 36
FUTURE_NS = 37
TO_CENTS = 38
"""Whether unrounded amounts and fees are rounded to the cent at every fill."""
PEAKS = 39
"""Whether peaks of equity are kept: live, and where a limit looks at them; so the next."""
COUNTS = 40
"""Whether a session's volumes and round trips are counted."""
WISHES = 41
"""Whether the log has what was wanted and what there was no room for: live."""
RULES = 42

NEXT_OPEN, NEXT_CLOSE, SAME_CLOSE = 0, 1, 2

# --- the tape: columns of the cells (a bar of a symbol in a row), and of what is given with them
BAR_COLUMNS = 4
"""open, high, low, volume; a cell has these and its close"""
ACTION_COLUMNS = 3
"""new, old, dividend"""
EXIT_COLUMNS = 3
"""loss, profit, trail"""
CURVES = 3
"""equity, cash, gross value: one after the other"""

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
PEAK_WINDOW = 90 * DAY_NS
"""How far back the highest equity is looked for, so that a drawdown stop is a pause and not the end."""
BPS = 10_000.0
PPM = 1_000_000.0
