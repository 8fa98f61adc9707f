"""Tables of the safety room. People's texts are never kept here: ids, digests, counts and decisions only."""

from __future__ import annotations

from retainer.core.protocols import Migration

_FIRST = """
CREATE TABLE person (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
);
CREATE TABLE identity (
    channel TEXT NOT NULL,
    stable_id TEXT NOT NULL,
    person_id TEXT NOT NULL REFERENCES person (id),
    address TEXT NOT NULL,
    scope TEXT NOT NULL,
    paired_at REAL NOT NULL,
    last_seen REAL,
    revoked_at REAL,
    PRIMARY KEY (channel, stable_id)
);
CREATE INDEX identity_person ON identity (person_id);
CREATE INDEX identity_address ON identity (address);
CREATE TABLE pairing (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    scope TEXT NOT NULL,
    person_id TEXT,
    salt TEXT NOT NULL,
    code_hash TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    tries INTEGER NOT NULL,
    used_at REAL,
    used_by TEXT
);
CREATE INDEX pairing_channel ON pairing (channel, expires_at);
CREATE TABLE pairing_try (
    channel TEXT NOT NULL,
    who TEXT NOT NULL,
    tries INTEGER NOT NULL,
    last_at REAL NOT NULL,
    locked_until REAL NOT NULL,
    PRIMARY KEY (channel, who)
);
CREATE TABLE stranger (
    channel TEXT NOT NULL,
    day TEXT NOT NULL,
    who TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (channel, day, who)
);
CREATE TABLE safety_salt (
    name TEXT PRIMARY KEY,
    salt TEXT NOT NULL
);
CREATE TABLE approval (
    id TEXT PRIMARY KEY,
    effect_key TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    effect_class TEXT NOT NULL,
    level TEXT NOT NULL,
    scope TEXT NOT NULL,
    lane TEXT NOT NULL,
    address TEXT NOT NULL,
    account TEXT,
    requester TEXT,
    origin TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    answered_by TEXT,
    answered_on TEXT,
    answered_at REAL
);
CREATE INDEX approval_state ON approval (state, expires_at);
CREATE INDEX approval_created ON approval (created_at);
CREATE TABLE totp_slot (
    slot INTEGER PRIMARY KEY,
    used_at REAL NOT NULL
);
CREATE TABLE mandate (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    strategy TEXT NOT NULL,
    symbols TEXT NOT NULL,
    order_cap TEXT,
    order_cap_share TEXT,
    daily_cap TEXT,
    daily_cap_share TEXT,
    max_loss TEXT,
    max_loss_share TEXT,
    equity_at_signing TEXT NOT NULL,
    expires_at REAL NOT NULL,
    signed_by TEXT NOT NULL,
    signed_at REAL NOT NULL,
    revoked_at REAL,
    revoked_by TEXT
);
CREATE INDEX mandate_account ON mandate (account, strategy);
CREATE TABLE audit (
    lane TEXT NOT NULL,
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    data TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (lane, n)
);
CREATE INDEX audit_ref ON audit (ref);
CREATE INDEX audit_at ON audit (at)
"""

_SECOND = """
CREATE TABLE consent (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    level TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    answered_by TEXT,
    answered_on TEXT
);
CREATE TABLE webhook_seen (
    source TEXT NOT NULL,
    message_id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (source, message_id)
);
CREATE INDEX webhook_seen_at ON webhook_seen (at)
"""

_THIRD = """
CREATE TABLE model_use (
    at INTEGER NOT NULL,
    person_id TEXT NOT NULL,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (at, person_id)
);
CREATE TABLE model_told (
    person_id TEXT PRIMARY KEY,
    until REAL NOT NULL
)
"""

_FOURTH = """
ALTER TABLE pairing ADD COLUMN issuer_channel TEXT;
ALTER TABLE pairing ADD COLUMN issuer_id TEXT;
ALTER TABLE approval ADD COLUMN answered_from TEXT;
UPDATE identity SET channel = LOWER(channel) WHERE channel <> LOWER(channel) AND NOT EXISTS (
    SELECT 1 FROM identity AS other
    WHERE LOWER(other.channel) = LOWER(identity.channel) AND other.stable_id = identity.stable_id
    AND other.channel <> identity.channel
)
"""
"""A channel has one spelling from here on; of a device paired under several, the row in small letters counts."""

MIGRATIONS: tuple[Migration, ...] = (
    Migration("safety/001", _FIRST),
    Migration("safety/002", _SECOND),
    Migration("safety/003", _THIRD),
    Migration("safety/004", _FOURTH),
)
"""Forward steps of this room, never edited once released."""
