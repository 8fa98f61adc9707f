"""The guard's parts as plain functions, one import for programs that use them without a service.

Those that remember something take a transaction (``tx``) first; :class:`LocalStore` gives one, in memory or in a file.
"""

from __future__ import annotations

from retainer.safety.audit import Anchor, anchors, append, verify
from retainer.safety.consent import answer, ask, spend
from retainer.safety.files import check_path, open_inside
from retainer.safety.local import LocalStore
from retainer.safety.net import Pinned, check_redirect, check_url
from retainer.safety.outgoing import clean_output
from retainer.safety.people import Principal, add_device, ensure_local_owner, identify, issue_code, redeem, revoke
from retainer.safety.redact import Redactor, redact
from retainer.safety.sql import check_sql, read_sql
from retainer.safety.table import Tool
from retainer.safety.webhooks import first_time, meta_signed, telegram_signed, timed_signed, twilio_signed

__all__ = [
    "Anchor",
    "LocalStore",
    "Pinned",
    "Principal",
    "Redactor",
    "Tool",
    "add_device",
    "anchors",
    "answer",
    "append",
    "ask",
    "check_path",
    "check_redirect",
    "check_sql",
    "check_url",
    "clean_output",
    "ensure_local_owner",
    "first_time",
    "identify",
    "issue_code",
    "meta_signed",
    "open_inside",
    "read_sql",
    "redact",
    "redeem",
    "revoke",
    "spend",
    "telegram_signed",
    "timed_signed",
    "twilio_signed",
    "verify",
]
