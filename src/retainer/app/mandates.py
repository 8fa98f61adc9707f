"""``retainer mandate ...``: what the strategies may do without asking, signed and taken back by the owner here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from getpass import getpass
from typing import Any

from retainer.app.asking import agreed
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.store import open_outside, open_view
from retainer.app.totp_setup import totp_secret, typed_code
from retainer.core.clock import Clock, SystemClock
from retainer.core.errors import InvalidInputError, RefusedError
from retainer.core.protocols import Tx, View
from retainer.safety import mandate
from retainer.safety.facts import is_live
from retainer.safety.mandate import Mandate
from retainer.safety.people import LOCAL_CHANNEL, LOCAL_ID, Principal, ensure_local_owner, identify
from retainer.safety.secrets import Secrets
from retainer.trading.book import equity_of
from retainer.trading.settings import TradingSettings

DAYS = 365
"""How long a mandate lasts when nothing is said."""


def paper_caps(trading: TradingSettings) -> dict[str, Decimal | None]:
    """Caps of a paper account's mandate where none are named: the order limit, all a day, half as a loss."""
    return {
        "order_cap_share": trading.limits.order,
        "daily_cap_share": Decimal(1),
        "max_loss_share": Decimal("0.50"),
    }


def sign_first(tx: Tx, trading: TradingSettings, owner: Principal, now: datetime) -> None:
    """At a first start: the paper account's mandate for the configured strategy, once; a live account gets none."""
    strategy = trading.make_strategy().name
    known = tx.one("SELECT id FROM mandate WHERE account = ? AND strategy = ?", (trading.account, strategy))
    if known is None and not is_live(trading.account):
        mandate.sign(
            tx,
            account=trading.account,
            strategy=strategy,
            symbols=trading.symbols,
            equity=trading.cash,
            expires_at=now + timedelta(days=DAYS),
            by=owner,
            now=now,
            **paper_caps(trading),
        )


def show_mandates(settings: Settings, *, ended: bool, as_json: bool, clock: Clock | None = None) -> int:
    """Those in force, or with ``ended`` all there ever were, each in two sentences."""
    now = (clock or SystemClock()).now()
    with open_view(settings) as view:
        found = mandate.every(view) if ended else mandate.in_force(view, now)
        current = {each.id for each in mandate.in_force(view, now)}
    if as_json:
        sys.stdout.write(json.dumps([_plain(each, each.id in current) for each in found], indent=1) + "\n")
        return 0
    for each in found:
        state = "" if each.id in current else " (ended)"
        sys.stdout.write(f"{each.id}{state}: {mandate.words(each)}\n")
    if not found:
        sys.stdout.write("No mandate is in force: the strategies ask for every order.\n")
    return 0


def _plain(signed: Mandate, in_force: bool) -> dict[str, Any]:
    caps = {name: getattr(signed, name) for name in mandate.CAPS}
    return {
        "id": signed.id,
        "in_force": in_force,
        "account": signed.account,
        "strategy": signed.strategy,
        "symbols": sorted(signed.symbols),
        **{name: None if value is None else str(value) for name, value in caps.items()},
        "equity_at_signing": str(signed.equity_at_signing),
        "signed_by": signed.signed_by,
        "signed_at": signed.signed_at.isoformat(),
        "expires_at": signed.expires_at.isoformat(),
    }


def sign_mandate(
    settings: Settings,
    *,
    account: str | None,
    strategy: str | None,
    symbols: Sequence[str],
    order_cap: Sequence[str],
    daily_cap: Sequence[str],
    max_loss: Sequence[str],
    days: int,
    yes: bool,
    read: Callable[[str], str] | None = None,
    clock: Clock | None = None,
) -> int:
    """Sign as the owner at this machine; an earlier mandate of the same strategy and account ends with it.

    What is not named is that of the configuration; the caps of an account with real money must be named, and signing
    for it takes a code of the authenticator app.
    """
    clock, trading = clock or SystemClock(), settings.trading
    account = account or trading.account
    caps: dict[str, Decimal | None] = {}
    for name, given in (("order_cap", order_cap), ("daily_cap", daily_cap), ("max_loss", max_loss)):
        caps |= read_cap(name, given)
    live = is_live(account)
    if not caps and not live:
        caps = paper_caps(trading)

    def terms(view: View) -> dict[str, Any]:
        """As they are at this moment: what the account is worth, and who is the owner."""
        worth = equity_of(view, account) or (None if live else trading.cash)
        if worth is None:
            raise RefusedError(
                f"What the account {account} is worth is not known yet.", hint="Start with it once: retainer up"
            )
        owner, now = identify(view, LOCAL_CHANNEL, LOCAL_ID), clock.now()
        if owner is None:
            raise RefusedError("Only the owner signs mandates, and this terminal is not paired any more.")
        return {
            "account": account,
            "strategy": strategy or trading.make_strategy().name,
            "symbols": [symbol.strip().upper() for symbol in symbols] or trading.symbols,
            "equity": worth,
            "expires_at": now + timedelta(days=days),
            "by": owner,
            "now": now,
            **caps,
        }

    with open_outside(settings) as store:
        sys.stdout.write(f"{mandate.words(mandate.draft(**terms(store.view())))}\n")
        if live:
            _demand_code(settings, read or getpass, clock)
        elif not yes and not agreed("Sign it?"):
            sys.stdout.write("Nothing was signed.\n")
            return 1
        signed = store.write_now(lambda tx: mandate.sign(tx, **terms(tx)))
    sys.stdout.write(f"Signed as {signed.id}. It ends at once with: retainer mandate revoke {signed.id}\n")
    return 0


def revoke_mandate(settings: Settings, mandate_id: str, *, clock: Clock | None = None) -> int:
    """End a mandate; orders that wait on it are not sent. Raises :class:`NotFoundError` when none such is in force."""
    now = (clock or SystemClock()).now()
    with open_outside(settings) as store:
        store.write_now(lambda tx: mandate.revoke(tx, mandate_id, ensure_local_owner(tx, now), now))
    sys.stdout.write(f"{mandate_id} is revoked: from now on its strategy asks for every order.\n")
    return 0


def read_cap(name: str, given: Sequence[str]) -> dict[str, Decimal]:
    """``2500`` is dollars, ``30%`` a share of equity; both together: the lower counts.

    Raises :class:`InvalidInputError` for anything else.
    """
    found: dict[str, Decimal] = {}
    for text in given:
        share = text.strip().endswith("%")
        try:
            number = Decimal(text.strip().removesuffix("%").strip().lstrip("$").replace(",", ""))
            number = number / 100 if share else number
        except ArithmeticError as error:
            raise InvalidInputError(
                f"{text!r} is no amount.", hint="Write dollars (2500) or a share of equity (30%)."
            ) from error
        key = f"{name}_share" if share else name
        if key in found:
            raise InvalidInputError(f"The cap {text!r} is the second of its kind.", hint="Give each once.")
        found[key] = number
    return found


def _demand_code(settings: Settings, read: Callable[[str], str], clock: Clock) -> None:
    """Real money: a code of the authenticator app, used once."""
    secret = totp_secret(Secrets(DataFolder(settings.data).secrets))()
    if secret is None:
        raise RefusedError(
            "A mandate for real money is signed with an authenticator app.", hint="Set it up first: retainer totp"
        )
    if not typed_code(settings, secret, read, clock, "The six digits of your authenticator app: "):
        raise RefusedError("That is not its present code; nothing was signed.", hint="Wait for the next one.")
