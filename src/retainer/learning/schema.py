"""Tables of learning."""

from __future__ import annotations

from retainer.core.protocols import Migration

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        name="learning/001",
        sql="""
CREATE TABLE outcome (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    decision TEXT NOT NULL,
    outcome TEXT NOT NULL,
    value REAL,
    at REAL NOT NULL,
    known_at REAL NOT NULL,
    UNIQUE (agent, event_seq, decision)
);
CREATE INDEX outcome_known ON outcome (agent, known_at);
CREATE TABLE correction (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person TEXT NOT NULL,
    phrase TEXT NOT NULL,
    meant TEXT NOT NULL,
    source_seq INTEGER NOT NULL,
    at REAL NOT NULL,
    active INTEGER NOT NULL,
    UNIQUE (person, phrase, source_seq)
);
CREATE INDEX correction_person ON correction (person, phrase, active);
CREATE TABLE artefact (
    sha256 TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    parent TEXT,
    lineage TEXT NOT NULL,
    content TEXT NOT NULL,
    trial INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX artefact_family ON artefact (family, trial);
CREATE TABLE champion (
    family TEXT PRIMARY KEY,
    champion TEXT NOT NULL,
    previous TEXT,
    since REAL NOT NULL
);
CREATE TABLE gate (
    family TEXT NOT NULL,
    challenger TEXT NOT NULL,
    champion TEXT NOT NULL,
    rules TEXT NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT NOT NULL,
    opened_at REAL NOT NULL,
    closed_at REAL,
    PRIMARY KEY (family, challenger, champion)
);
""",
    ),
)
"""``outcome.known_at``: when the outcome could first be known; nothing may learn from it before that instant."""
