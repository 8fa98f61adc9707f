"""People, their devices, pairing and strangers: the names other rooms use.

``identify`` before anything else happens with a message; ``redeem`` for ``/start CODE``; ``drop`` for everybody else.
"""

from __future__ import annotations

from retainer.safety.identity import (
    LOCAL_CHANNEL,
    LOCAL_ID,
    OWNER_ID,
    RESTRICTED_CHANNELS,
    SCOPES,
    Device,
    Principal,
    add_device,
    addresses,
    approver_address,
    channel_name,
    covers,
    devices,
    ensure_local_owner,
    has_devices,
    identify,
    keepable,
    known,
    present,
    principal_at,
    rank,
    revoke,
    shrink,
    touch,
)
from retainer.safety.pairing import NEW_PERSON, Redeemed, issue_code, looks_like_code, new_code, open_codes, redeem
from retainer.safety.strangers import Dropped, counts, drop

__all__ = [
    "LOCAL_CHANNEL",
    "LOCAL_ID",
    "NEW_PERSON",
    "OWNER_ID",
    "RESTRICTED_CHANNELS",
    "SCOPES",
    "Device",
    "Dropped",
    "Principal",
    "Redeemed",
    "add_device",
    "addresses",
    "approver_address",
    "channel_name",
    "counts",
    "covers",
    "devices",
    "drop",
    "ensure_local_owner",
    "has_devices",
    "identify",
    "issue_code",
    "keepable",
    "known",
    "looks_like_code",
    "new_code",
    "open_codes",
    "present",
    "principal_at",
    "rank",
    "redeem",
    "revoke",
    "shrink",
    "touch",
]
