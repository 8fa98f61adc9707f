"""Tables of the trading agent. Every row belongs to one account's lane and is written in that lane's close.

The one exception is ``paper_order``: the paper broker writes it in the very transaction that marks the order's effect
done, and the lane takes it into its state with its next event. Cash and amounts are whole cents, prices 1/10,000
dollar, instants epoch seconds UTC of the account's own clock.
"""

from __future__ import annotations

from retainer.core.protocols import Migration

_FIRST = """
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    digest TEXT NOT NULL,
    event_seq INTEGER NOT NULL
);
CREATE TABLE bar (
    account TEXT NOT NULL,
    at REAL NOT NULL,
    symbol TEXT NOT NULL,
    open INTEGER NOT NULL,
    high INTEGER NOT NULL,
    low INTEGER NOT NULL,
    close INTEGER NOT NULL,
    volume INTEGER NOT NULL,
    factor REAL NOT NULL,
    PRIMARY KEY (account, at, symbol)
);
CREATE TABLE paper_order (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    at REAL NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    taken_by INTEGER,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX paper_order_waiting ON paper_order (account, taken_by);
CREATE TABLE fill (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    order_id TEXT NOT NULL,
    at REAL NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price INTEGER NOT NULL,
    reference INTEGER NOT NULL,
    fee INTEGER NOT NULL,
    realised INTEGER NOT NULL,
    strategy TEXT NOT NULL
);
CREATE INDEX fill_at ON fill (account, at);
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    symbol TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    realised INTEGER NOT NULL,
    order_id TEXT NOT NULL
);
CREATE INDEX ledger_at ON ledger (account, at);
CREATE TABLE equity (
    account TEXT NOT NULL,
    at REAL NOT NULL,
    equity INTEGER NOT NULL,
    cash INTEGER NOT NULL,
    PRIMARY KEY (account, at)
);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    at REAL NOT NULL,
    author TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price INTEGER NOT NULL,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL,
    indicators TEXT NOT NULL,
    signal TEXT NOT NULL,
    risk TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX decision_symbol ON decision (account, symbol, at);
CREATE INDEX decision_order ON decision (order_id);
CREATE TABLE evaluation (
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    at REAL NOT NULL,
    target INTEGER NOT NULL,
    indicators TEXT NOT NULL,
    signal TEXT NOT NULL,
    PRIMARY KEY (account, symbol)
);
CREATE TABLE feed_end (
    account TEXT PRIMARY KEY,
    at REAL NOT NULL,
    feed TEXT NOT NULL
);
"""

_SECOND = """
CREATE TABLE account_step (
    account TEXT NOT NULL,
    version INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    at REAL NOT NULL,
    inputs TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (account, version)
);
"""
"""What made each version of the state, and the state's digest: replay folds it (:mod:`retainer.trading.replaying`)."""

MIGRATIONS: tuple[Migration, ...] = (Migration("trading/001", _FIRST), Migration("trading/002", _SECOND))
"""Applied once each, in this order; never edited after a release."""
