"""Mandates: the owner's standing permission for a strategy's own orders. Signed by the owner, never by an agent.

Caps are dollars, or shares of the account's equity; where both are given the lower one counts. They bind what adds
exposure; an order that only reduces it needs the mandate to name its account, strategy and symbol, nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from retainer.core.clock import from_epoch, to_epoch
from retainer.core.errors import InvalidInputError, NotFoundError, RefusedError
from retainer.core.protocols import Row, Tx, View
from retainer.core.values import digest
from retainer.safety import audit
from retainer.safety.identity import Principal, present

CAPS: Final = ("order_cap", "order_cap_share", "daily_cap", "daily_cap_share", "max_loss", "max_loss_share")
_BEYOND: Final = Decimal(10) ** 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """What the owner signed. Dollars as ``Decimal``; ``*_share`` are shares of equity (0.5 is half)."""

    id: str
    account: str
    strategy: str
    symbols: frozenset[str]
    order_cap: Decimal | None
    order_cap_share: Decimal | None
    daily_cap: Decimal | None
    daily_cap_share: Decimal | None
    max_loss: Decimal | None
    max_loss_share: Decimal | None
    equity_at_signing: Decimal
    expires_at: datetime
    signed_by: str
    signed_at: datetime

    def order_limit(self, equity: Decimal) -> Decimal | None:
        """Most that one order may cost, in dollars; ``None``: no cap."""
        return _lower(self.order_cap, self.order_cap_share, equity)

    def daily_limit(self, equity: Decimal) -> Decimal | None:
        """Most that a day's orders may cost together, in dollars."""
        return _lower(self.daily_cap, self.daily_cap_share, equity)

    def loss_limit(self) -> Decimal | None:
        """Loss since signing, in dollars, at which the mandate ends for new exposure."""
        return _lower(self.max_loss, self.max_loss_share, self.equity_at_signing)


def _lower(dollars: Decimal | None, share: Decimal | None, equity: Decimal) -> Decimal | None:
    if share is None:
        return dollars
    of_equity = share * equity
    return of_equity if dollars is None else min(dollars, of_equity)


def positive(value: object) -> Decimal | None:
    """``value`` as a positive number that sums and caps can hold (below 10^15), or ``None``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 < number < _BEYOND else None


def draft(
    *,
    account: str,
    strategy: str,
    symbols: Iterable[str],
    equity: Decimal,
    expires_at: datetime,
    by: Principal,
    now: datetime,
    order_cap: Decimal | None = None,
    order_cap_share: Decimal | None = None,
    daily_cap: Decimal | None = None,
    daily_cap_share: Decimal | None = None,
    max_loss: Decimal | None = None,
    max_loss_share: Decimal | None = None,
) -> Mandate:
    """A mandate as it would be signed, with no id yet; ``equity`` is the account's in dollars, now.

    Raises :class:`InvalidInputError` for terms that bind nothing.
    """
    names = frozenset(symbols)
    caps = dict(
        zip(CAPS, (order_cap, order_cap_share, daily_cap, daily_cap_share, max_loss, max_loss_share), strict=True)
    )
    for name, value in caps.items():
        if value is not None and positive(value) is None:
            raise InvalidInputError(f"{name} must be a positive number, not {value}.")
    if not names or not account or not strategy or positive(equity) is None or expires_at <= now:
        raise InvalidInputError(
            "A mandate names account, strategy, symbols, the account's equity and an end in the future."
        )
    if all(caps[n] is None for n in CAPS[:2]) or all(caps[n] is None for n in CAPS[4:]):
        raise InvalidInputError(
            "A mandate needs a cap per order and a maximum loss.", hint="Give each as dollars or as a share of equity."
        )
    return Mandate(
        id="",
        account=account,
        strategy=strategy,
        symbols=names,
        equity_at_signing=equity,
        expires_at=expires_at,
        signed_by=by.person_id,
        signed_at=now,
        **caps,
    )


def sign(tx: Tx, *, by: Principal, now: datetime, **terms: Any) -> Mandate:
    """Store a mandate of the ``terms`` of :func:`draft`, signed by the owner (scope admin, by the rows of this
    moment); an earlier one of the same strategy on the same account ends.

    Raises :class:`RefusedError` for anybody else, :class:`InvalidInputError` for terms that bind nothing.
    """
    _demand(tx, by, "admin", "Only the owner signs mandates.", "Sign it on this machine: retainer mandate sign")
    made = draft(by=by, now=now, **terms)
    names = sorted(made.symbols)
    caps = [getattr(made, name) for name in CAPS]
    account, strategy, equity, at = made.account, made.strategy, made.equity_at_signing, to_epoch(now)
    tx.execute(
        "UPDATE mandate SET revoked_at = ?, revoked_by = ? WHERE account = ? AND strategy = ? AND revoked_at IS NULL",
        (at, by.person_id, account, strategy),
    )
    known = tx.one("SELECT COUNT(*) AS n FROM mandate")
    words = [account, strategy, names, equity, *caps, to_epoch(made.expires_at), by.person_id, at]
    mandate_id = f"m{digest([*words, known['n'] if known else 0])[:8]}"
    tx.execute(
        "INSERT INTO mandate (id, account, strategy, symbols, order_cap, order_cap_share, daily_cap, daily_cap_share, "
        "max_loss, max_loss_share, equity_at_signing, expires_at, signed_by, signed_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            mandate_id,
            account,
            strategy,
            json.dumps(names),
            *(None if v is None else str(v) for v in caps),
            str(equity),
            to_epoch(made.expires_at),
            by.person_id,
            at,
        ),
    )
    audit.append(tx, "safety", "mandate.signed", mandate_id, {"account": account, "by": by.person_id}, now)
    return get(tx, mandate_id)


def revoke(tx: Tx, mandate_id: str, by: Principal, now: datetime) -> None:
    """End a mandate at once. Needs scope trade: taking power away is easier than giving it.

    Raises :class:`RefusedError` for anybody without it, :class:`NotFoundError` where no such mandate is in force.
    """
    _demand(tx, by, "trade", "This device may not change mandates.", "Use a device with scope trade.")
    at = to_epoch(now)
    changed = tx.execute(
        "UPDATE mandate SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at IS NULL AND expires_at > ?",
        (at, by.person_id, mandate_id, at),
    )
    if not changed:
        raise NotFoundError(f"There is no mandate {mandate_id} in force.", hint="List them with: retainer mandate list")
    audit.append(tx, "safety", "mandate.revoked", mandate_id, {"by": by.person_id}, now)


def _demand(tx: Tx, by: Principal, scope: str, words: str, hint: str) -> None:
    """Raise unless the device that ``by`` names is paired now and has ``scope``."""
    who = present(tx, by)
    if who is None or not who.may(scope):
        raise RefusedError(words, hint=hint)


def every(view: View) -> list[Mandate]:
    """All that were ever signed, oldest first."""
    return [_mandate(row) for row in view.query("SELECT * FROM mandate ORDER BY signed_at, id")]


def get(view: View, mandate_id: str) -> Mandate:
    """The mandate with this id, in force or not. Raises :class:`NotFoundError`."""
    row = view.one("SELECT * FROM mandate WHERE id = ?", (mandate_id,))
    if row is None:
        raise NotFoundError(f"There is no mandate {mandate_id}.")
    return _mandate(row)


def in_force(view: View, now: datetime, *, account: str | None = None) -> list[Mandate]:
    """Mandates neither revoked nor expired (of one account), oldest first."""
    rows = view.query(
        "SELECT * FROM mandate WHERE revoked_at IS NULL AND expires_at > ? ORDER BY signed_at, id", (to_epoch(now),)
    )
    return [_mandate(row) for row in rows if account in {None, row["account"]}]


def active(view: View, account: str, strategy: str, now: datetime) -> Mandate | None:
    """The mandate in force for this strategy on this account, or ``None``."""
    return next((m for m in in_force(view, now, account=account) if m.strategy == strategy), None)


def _mandate(row: Row) -> Mandate:
    caps = {name: None if row[name] is None else Decimal(row[name]) for name in CAPS}
    return Mandate(
        id=row["id"],
        account=row["account"],
        strategy=row["strategy"],
        symbols=frozenset(json.loads(row["symbols"])),
        equity_at_signing=Decimal(row["equity_at_signing"]),
        expires_at=from_epoch(row["expires_at"]),
        signed_by=row["signed_by"],
        signed_at=from_epoch(row["signed_at"]),
        **caps,
    )


def words(mandate: Mandate) -> str:
    """The mandate in two sentences a phone can show."""
    limits = [
        _cap("an order", mandate.order_cap, mandate.order_cap_share),
        _cap("a day", mandate.daily_cap, mandate.daily_cap_share),
        _cap("loss in all", mandate.max_loss, mandate.max_loss_share),
    ]
    return (
        f"{mandate.strategy} may trade {', '.join(sorted(mandate.symbols))} on {mandate.account} by itself, "
        f"at most {'; '.join(limit for limit in limits if limit)}. "
        f"Signed {mandate.signed_at:%d %b %Y}, until {mandate.expires_at:%d %b %Y}."
    )


def _cap(what: str, dollars: Decimal | None, share: Decimal | None) -> str:
    parts = [f"${dollars:,.2f}"] if dollars is not None else []
    if share is not None:
        parts.append(f"{float(share) * 100:.4g} % of equity")
    return f"{' or '.join(parts)} {what}" if parts else ""
