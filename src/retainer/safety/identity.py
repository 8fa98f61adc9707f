"""People and their devices: who may talk to the service, from where, and with how much power.

Deny by default. A device is a (channel, stable id) pair; it is paired once, with a code shown on this machine (see
:mod:`retainer.safety.pairing`), and its scope can only shrink afterwards. Display names and forwarded texts never
identify anybody.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from retainer.core.clock import to_epoch
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import writable
from retainer.runtime import effects
from retainer.safety import audit

SCOPES: tuple[str, ...] = ("chat", "propose", "trade", "admin")
"""What a device may do, each including the ones before it: talk and read, ask for orders, approve them, administer."""

RESTRICTED_CHANNELS: dict[str, str] = {"sms": "propose"}
"""Channels whose sender can be forged, with the highest scope a device there may have."""

OWNER_ID = "owner"
"""Person id of the owner of this machine."""
LOCAL_CHANNEL = "terminal"
LOCAL_ID = "local"


@dataclass(frozen=True, slots=True)
class Principal:
    """A paired person on one of their devices."""

    person_id: str
    name: str
    scope: str
    channel: str
    stable_id: str

    def may(self, scope: str) -> bool:
        """Whether this device's scope includes ``scope``."""
        return covers(self.scope, scope)


@dataclass(frozen=True, slots=True)
class Device:
    """A paired device as people see it in a list."""

    person_id: str
    name: str
    channel: str
    stable_id: str
    address: str
    scope: str
    paired_at: float
    last_seen: float | None


def rank(scope: str) -> int:
    """Position of ``scope`` in :data:`SCOPES`. Raises :class:`InvalidInputError` for an unknown word."""
    if scope not in SCOPES:
        raise InvalidInputError(f"{scope!r} is not a scope.", hint=f"Use one of {', '.join(SCOPES)}.")
    return SCOPES.index(scope)


def covers(held: str, needed: str) -> bool:
    """Whether a device holding ``held`` may do what needs ``needed``. An unknown word covers nothing."""
    return held in SCOPES and needed in SCOPES and SCOPES.index(held) >= SCOPES.index(needed)


def keepable(*texts: object) -> bool:
    """Whether these are texts that every database can hold: without NUL and half characters."""
    return all(isinstance(text, str) and "\0" not in text and writable(text) for text in texts)


def channel_name(channel: str) -> str:
    """The one spelling of a channel's name. Raises :class:`InvalidInputError` for what is no name."""
    if not channel or not keepable(channel):
        raise InvalidInputError(f"{channel!r} is not the name of a channel.", hint="Pass one such as 'telegram'.")
    return channel.casefold()


def capped(channel: str, scope: str) -> str:
    """``scope``, lowered to what devices of ``channel`` may have at most."""
    limit = RESTRICTED_CHANNELS.get(channel.casefold())
    return limit if limit is not None and rank(scope) > rank(limit) else scope


_SELECT = (
    "SELECT i.person_id, p.name, i.scope, i.channel, i.stable_id, i.address, i.paired_at, i.last_seen "
    "FROM identity i JOIN person p ON p.id = i.person_id "
    "WHERE i.revoked_at IS NULL AND p.revoked_at IS NULL"
)


def _principal(row: Row) -> Principal:
    return Principal(
        row["person_id"], row["name"], capped(row["channel"], row["scope"]), row["channel"], row["stable_id"]
    )


def identify(view: View, channel: str, stable_id: str) -> Principal | None:
    """Who this device belongs to, or ``None`` for a stranger or a revoked device."""
    if not keepable(channel, stable_id):
        return None
    row = view.one(f"{_SELECT} AND i.channel = ? AND i.stable_id = ?", (channel.casefold(), stable_id))
    return None if row is None else _principal(row)


def present(view: View, principal: Principal) -> Principal | None:
    """The device of ``principal`` as it is paired now, with no more power than ``principal`` says: whoever passes one
    may have kept it for long, or speaks for a channel that may do less.
    """
    found = identify(view, principal.channel, principal.stable_id)
    if found is None or found.person_id != principal.person_id:
        return None
    return found if covers(principal.scope, found.scope) else replace(found, scope=principal.scope)


def devices(view: View, person_id: str | None = None) -> list[Device]:
    """All paired devices (of one person), in the order they were paired."""
    where, params = (" AND i.person_id = ?", (person_id,)) if person_id is not None else ("", ())
    rows = view.query(f"{_SELECT}{where} ORDER BY i.paired_at, i.channel, i.stable_id", params)
    return [
        Device(
            r["person_id"],
            r["name"],
            r["channel"],
            r["stable_id"],
            r["address"],
            capped(r["channel"], r["scope"]),
            r["paired_at"],
            r["last_seen"],
        )
        for r in rows
    ]


def has_devices(view: View, channel: str) -> bool:
    """Whether a device is or ever was paired on ``channel``."""
    return view.one("SELECT stable_id FROM identity WHERE channel = ? LIMIT 1", (channel.casefold(),)) is not None


def addresses(view: View, person_id: str | None = None) -> frozenset[str]:
    """Addresses (``telegram:42``) of paired devices: where the service may speak without being asked first."""
    return frozenset(device.address for device in devices(view, person_id))


def principal_at(view: View, person_id: str, address: str | None, channel: str | None = None) -> Principal | None:
    """The device a turn speaks for: that person's device at ``address``.

    Where the address is not one of their devices, the *least* powerful device on that channel (or else of all) is
    taken, with no more than the turn's channel may have, so that losing track of the device never raises anybody's
    power. ``None``: the person has no device left, or the turn is of one that was revoked or is somebody else's now.
    """
    channel = channel or (address.partition(":")[0] if address else None)
    channel = None if channel is None else channel.casefold()
    rows = view.query(f"{_SELECT} AND i.person_id = ?", (person_id,))
    found = [_principal(r) for r in rows if r["address"] == address]
    if not found:
        near = [_principal(r) for r in rows if r["channel"] == channel]
        if _revoked(view, person_id, address, None if near else channel):
            return None
        found = near or [_principal(r) for r in rows]
    least = min(found, key=lambda p: rank(p.scope), default=None)
    return least if least is None or channel is None else replace(least, scope=capped(channel, least.scope))


def _revoked(view: View, person_id: str, address: str | None, channel: str | None) -> bool:
    """Whether the person had a device at ``address`` or on ``channel``, and it was taken away, or given to another."""
    row = view.one(
        "SELECT stable_id FROM identity WHERE (person_id = ? AND revoked_at IS NOT NULL"
        " AND (address = ? OR channel = ?)) OR (person_id <> ? AND address = ?) LIMIT 1",
        (person_id, address or "", channel or "", person_id, address or ""),
    )
    return row is not None


def known(view: View, person_id: str) -> bool:
    """Whether ``person_id`` is or was a person (and not the name of an agent)."""
    return view.one("SELECT id FROM person WHERE id = ?", (person_id,)) is not None


def approver_address(view: View, scope: str) -> str | None:
    """Where to ask when the requester may not approve: a device with ``scope``, last heard from most recently."""
    fit = [d for d in devices(view) if covers(d.scope, scope)]
    best = max(fit, key=lambda d: (d.last_seen or d.paired_at, d.address), default=None)
    return None if best is None else best.address


def ensure_local_owner(tx: Tx, now: datetime, name: str = "Owner") -> Principal:
    """The owner at this machine's terminal, made at first start. Whoever has the data folder has this already."""
    at = to_epoch(now)
    tx.execute(
        "INSERT INTO person (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", (OWNER_ID, name, at)
    )
    made = tx.execute(
        "INSERT INTO identity (channel, stable_id, person_id, address, scope, paired_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (channel, stable_id) DO NOTHING",
        (LOCAL_CHANNEL, LOCAL_ID, OWNER_ID, f"{LOCAL_CHANNEL}:{LOCAL_ID}", "admin", at),
    )
    if made:
        audit.append(tx, "safety", "device.paired", f"{LOCAL_CHANNEL}:{OWNER_ID}", {"scope": "admin"}, now)
    found = identify(tx, LOCAL_CHANNEL, LOCAL_ID)
    if found is None:
        raise RefusedError(
            "The owner's terminal was revoked in this data folder.", hint="Start with a new data folder."
        )
    return found


def add_device(
    tx: Tx,
    channel: str,
    stable_id: str,
    scope: str,
    now: datetime,
    *,
    person_id: str | None = None,
    name: str = "",
    address: str | None = None,
) -> Principal:
    """Pair a device. Only a redeemed code or a command on this machine may call it.

    ``person_id`` ``None`` makes a new person called ``name``. A device paired before is moved to the new owner and
    scope, and what it had given before ends. The scope is lowered to what the channel allows.
    """
    if not channel or not stable_id:
        raise InvalidInputError("A device needs a channel and a stable id.", hint="Pass both, e.g. 'telegram', '42'.")
    if not keepable(stable_id, name, person_id or "", address or ""):
        raise InvalidInputError("The ids and the name of a device are texts without NUL and half characters.")
    channel = channel_name(channel)
    rank(scope)
    at = to_epoch(now)
    if person_id is None:
        person_id = f"p{secrets.token_hex(4)}"
        tx.execute(
            "INSERT INTO person (id, name, created_at) VALUES (?, ?, ?)", (person_id, name.strip() or "Guest", at)
        )
    elif tx.one("SELECT id FROM person WHERE id = ? AND revoked_at IS NULL", (person_id,)) is None:
        raise NotFoundError(f"There is no person {person_id}.", hint="List them with: retainer people")
    scope = capped(channel, scope)
    held = identify(tx, channel, stable_id)
    if held is not None and held.person_id != person_id:  # cards that wait there were shown to somebody else
        revoke(tx, now, channel=channel, stable_id=stable_id)
    values: tuple[Any, ...] = (person_id, address or f"{channel}:{stable_id}", scope, at, channel, stable_id)
    changed = tx.execute(
        "UPDATE identity SET person_id = ?, address = ?, scope = ?, paired_at = ?, last_seen = NULL, "
        "revoked_at = NULL WHERE channel = ? AND stable_id = ?",
        values,
    )
    if changed:
        _end_given(tx, channel, stable_id, now)
    else:
        tx.execute(
            "INSERT INTO identity (person_id, address, scope, paired_at, channel, stable_id) VALUES (?, ?, ?, ?, ?, ?)",
            values,
        )
    audit.append(tx, "safety", "device.paired", f"{channel}:{person_id}", {"scope": scope}, now)
    found = identify(tx, channel, stable_id)
    if found is None:
        raise NotFoundError(f"The device on {channel} was not stored.", hint="Issue a new code and try again.")
    return found


def shrink(tx: Tx, channel: str, stable_id: str, scope: str, now: datetime) -> Principal:
    """Lower a device's scope; open codes that it handed out and that give as much end.

    Raises :class:`RefusedError` when that would raise it: pair again for more.
    """
    held = identify(tx, channel, stable_id)
    if held is None:
        raise NotFoundError(f"No paired device {channel}:{stable_id}.", hint="List them with: retainer people")
    if rank(scope) > rank(held.scope):
        raise RefusedError(
            f"This device has scope {held.scope}; scopes only shrink.",
            hint="Pair it again with a new code from this machine.",
        )
    tx.execute("UPDATE identity SET scope = ? WHERE channel = ? AND stable_id = ?", (scope, held.channel, stable_id))
    _end_codes(tx, held.channel, stable_id, to_epoch(now), giving=scope)
    audit.append(tx, "safety", "device.scope", f"{held.channel}:{held.person_id}", {"scope": scope}, now)
    return replace(held, scope=scope)


def touch(tx: Tx, channel: str, stable_id: str, now: datetime) -> None:
    """Note that the device was heard from."""
    tx.execute(
        "UPDATE identity SET last_seen = ? WHERE channel = ? AND stable_id = ?",
        (to_epoch(now), channel.casefold(), stable_id),
    )


def revoke(
    tx: Tx,
    now: datetime,
    *,
    person_id: str | None = None,
    channel: str | None = None,
    stable_id: str | None = None,
) -> int:
    """Take away one device (``channel`` and ``stable_id``) or all devices of a person; returns how many.

    What they asked for, what was asked at their addresses and what they gave is over in the same transaction.
    """
    if person_id is None and (channel is None or stable_id is None):
        raise InvalidInputError("Say whom to revoke: a person id, or a channel and a stable id.")
    gone = [
        d
        for d in devices(tx, person_id)
        if (channel is None or d.channel.casefold() == channel.casefold())
        and (stable_id is None or d.stable_id == stable_id)
    ]
    at = to_epoch(now)
    for device in gone:
        tx.execute(
            "UPDATE identity SET revoked_at = ? WHERE channel = ? AND stable_id = ?",
            (at, device.channel, device.stable_id),
        )
        _end_given(tx, device.channel, device.stable_id, now)
        audit.append(tx, "safety", "device.revoked", f"{device.channel}:{device.person_id}", {}, now)
    if person_id is not None and channel is None and stable_id is None:
        tx.execute("UPDATE person SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (at, person_id))
        tx.execute(
            "UPDATE pairing SET expires_at = ? WHERE person_id = ? AND used_at IS NULL AND expires_at > ?",
            (at, person_id, at),
        )
    _drop_approvals(tx, gone, now)
    return len(gone)


def _end_given(tx: Tx, channel: str, stable_id: str, now: datetime) -> None:
    """End what a device gave and nobody has used yet, so that it does not come back with who is paired there next."""
    tx.execute(
        "UPDATE consent SET state = 'rejected' WHERE state = 'approved' AND answered_on = ? AND answered_by = ?",
        (channel, stable_id),
    )
    for row in tx.query(
        "SELECT effect_key FROM approval WHERE state = 'approved' AND answered_on = ? AND answered_from = ?",
        (channel, stable_id),
    ):
        effects.refuse(tx, row["effect_key"], "the device that approved it is no longer paired", now)
    _end_codes(tx, channel, stable_id, to_epoch(now), giving=SCOPES[0])


def _end_codes(tx: Tx, channel: str, stable_id: str, at: float, *, giving: str) -> None:
    """End the open codes that a device handed out and that give ``giving`` or more."""
    for scope in SCOPES[rank(giving) :]:
        tx.execute(
            "UPDATE pairing SET expires_at = ? WHERE issuer_channel = ? AND issuer_id = ? AND scope = ? "
            "AND used_at IS NULL AND expires_at > ?",
            (at, channel, stable_id, scope, at),
        )


def _drop_approvals(tx: Tx, gone: list[Device], now: datetime) -> None:
    """Void what waits at the revoked addresses, and what people without any device left had asked for."""
    lost = {d.address for d in gone}
    homeless = {d.person_id for d in gone if not devices(tx, d.person_id)}
    for row in tx.query("SELECT id, effect_key, address, requester FROM approval WHERE state = 'pending'"):
        if row["address"] not in lost and row["requester"] not in homeless:
            continue
        tx.execute(
            "UPDATE approval SET state = 'void', answered_at = ? WHERE id = ? AND state = 'pending'",
            (to_epoch(now), row["id"]),
        )
        effects.refuse(tx, row["effect_key"], "the device that was asked is no longer paired", now)
        audit.append(tx, "safety", "approval.void", row["effect_key"], {"approval": row["id"]}, now)
