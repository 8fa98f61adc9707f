"""Tables of the runtime. Texts live in ``body`` only; every other row holds ids, so erasing a body erases the text.

``INTEGER PRIMARY KEY AUTOINCREMENT`` is the one SQLite spelling; a PostgreSQL store reads it as ``BIGSERIAL PRIMARY
KEY``. Times are epoch seconds (REAL), JSON and labels are TEXT, truth values are 0 or 1.
"""

from __future__ import annotations

from retainer.core.protocols import Migration

_FIRST = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE body (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    salt TEXT NOT NULL,
    bytes TEXT NOT NULL
);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    external_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    lane TEXT NOT NULL,
    kind TEXT NOT NULL,
    body_id INTEGER NOT NULL,
    sender TEXT,
    label TEXT NOT NULL,
    cause TEXT,
    reply_to TEXT,
    occurred_at REAL NOT NULL,
    received_at REAL NOT NULL,
    urgent INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    not_before REAL NOT NULL,
    begun_at REAL,
    done_at REAL,
    error_id INTEGER,
    UNIQUE (source, external_id)
);
CREATE INDEX event_waiting ON event (lane, urgent DESC, seq) WHERE state = 'waiting';
CREATE INDEX event_broken ON event (state, seq) WHERE state IN ('dead', 'parked');
CREATE INDEX event_cause ON event (cause) WHERE cause IS NOT NULL;
CREATE INDEX event_sender ON event (sender, seq) WHERE sender IS NOT NULL;
CREATE INDEX event_lane ON event (lane, seq);
CREATE TABLE step (
    event_seq INTEGER NOT NULL REFERENCES event (seq),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    input_digest TEXT NOT NULL,
    label TEXT,
    body_id INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (event_seq, name)
);
CREATE TABLE effect (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    event_seq INTEGER NOT NULL REFERENCES event (seq),
    name TEXT NOT NULL,
    lane TEXT NOT NULL,
    agent TEXT NOT NULL,
    tool TEXT NOT NULL,
    effect_class TEXT NOT NULL,
    repeat TEXT NOT NULL,
    queue TEXT NOT NULL,
    label TEXT NOT NULL,
    result_label TEXT,
    args_id INTEGER NOT NULL,
    summary_id INTEGER,
    reply_to TEXT,
    approver_lane TEXT,
    state TEXT NOT NULL,
    held INTEGER NOT NULL,
    was_asked INTEGER NOT NULL,
    approval_id TEXT,
    ref TEXT,
    result_id INTEGER,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    not_before REAL NOT NULL,
    audited INTEGER NOT NULL,
    own INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE INDEX effect_state ON effect (state, queue, id);
CREATE INDEX effect_event ON effect (event_seq, id);
CREATE INDEX effect_lane ON effect (lane, id);
CREATE INDEX effect_queue ON effect (queue, id);
CREATE INDEX effect_unaudited ON effect (id) WHERE audited = 0;
CREATE TABLE timer (
    lane TEXT NOT NULL,
    name TEXT NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    next_at REAL NOT NULL,
    cron TEXT,
    zone TEXT,
    misfire TEXT NOT NULL,
    body_id INTEGER NOT NULL,
    sender TEXT,
    label TEXT NOT NULL,
    cause TEXT,
    reply_to TEXT,
    event_seq INTEGER NOT NULL,
    PRIMARY KEY (lane, name)
);
CREATE INDEX timer_next ON timer (next_at);
CREATE TABLE control (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    audited INTEGER NOT NULL
);
CREATE INDEX control_unaudited ON control (id) WHERE audited = 0;
"""

_ASIDE = "ALTER TABLE event ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;"

_DEATHS = """
ALTER TABLE event ADD COLUMN running TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
"""

_HOPS = "ALTER TABLE event ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;"

MIGRATIONS: tuple[Migration, ...] = (
    Migration(name="runtime/001", sql=_FIRST),
    Migration(name="runtime/002", sql=_ASIDE),
    Migration(name="runtime/003", sql=_DEATHS),
    Migration(name="runtime/004", sql=_HOPS),
)
"""``event.state``: waiting, done, dead, parked. ``effect.held`` = 1: owned by the running handler (a call or an open
placeholder), the deliverer leaves it alone. ``effect.audited`` = 0: its present state is not in the audit yet.
``effect.own`` = 1: said by the runtime itself because the handler could not. ``event.aside`` = 1: its handler stepped
aside, so it is handled after the others of its lane that did, while the lane goes on. ``event.running``: the run of
the service that is handling it, ``event.deaths``: how often such a run ended in the middle of it. ``event.state``
*kept* and ``effect.held`` = 2: kept back by safe mode."""
