"""The guard: the one place where an effect is allowed, refused or held for a yes, and the only maker of permits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from retainer.core.clock import to_epoch
from retainer.core.effects import (
    Decision,
    Effect,
    EffectClass,
    EffectState,
    Permit,
    StoredEffect,
    Turn,
    Verdict,
)
from retainer.core.errors import RefusedError
from retainer.core.orders import cancels, increases_exposure
from retainer.core.protocols import Button, Card, Tx, View
from retainer.core.values import Json, canonical
from retainer.runtime.control import read_control
from retainer.safety import approvals as requests
from retainer.safety import audit, mandate, policy
from retainer.safety.approvals import Approval, Approvals
from retainer.safety.facts import EquityOf, account_of, gather, is_live, orders_lately, revoked_address
from retainer.safety.identity import Device, covers, devices, known
from retainer.safety.limits import Limits

_ALLOW = Verdict(Decision.ALLOW)


class SafetyGuard:
    """Implements :class:`retainer.core.protocols.Guard` over the rows of this room and the runtime's.

    ``equity`` gives an account's equity in dollars, for caps that are shares of it and for the maximum loss; without
    it both use the equity written into the mandate, so a maximum loss cannot be noticed. ``totp_secret`` gives the
    authenticator secret, ``None`` while none is set up.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        equity: EquityOf | None = None,
        totp_secret: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.limits = limits or Limits()
        self._equity = equity
        self.approvals = Approvals(self._still, limits=self.limits, totp_secret=totp_secret)
        """Where answers go: ``guard.approvals.answer(tx, ...)``."""

    # --- deciding ---------------------------------------------------------------------------------------------------
    def check(self, view: View, effect: Effect, turn: Turn, now: datetime) -> Verdict:
        """Gather the facts, then :func:`retainer.safety.policy.check`."""
        facts = gather(view, effect, turn, now, limits=self.limits, equity=self._equity)
        return policy.check(effect, turn, facts)

    def recheck(self, view: View, effect: StoredEffect, now: datetime) -> Verdict:
        """Just before sending: *stop*, a spent or withdrawn permission, a yes that is too old. Never asks."""
        if effect.effect_class is EffectClass.COMMUNICATE and revoked_address(view, effect.queue):
            return _deny("That device is no longer paired.")
        if effect.effect_class is EffectClass.MONEY:
            held = policy.controlled(effect, read_control(view).state)
            if held:
                return _deny(held)
        approval = requests.for_effect(view, effect.key)
        if approval is not None:
            return self._approved(view, effect, approval, now)
        if effect.effect_class is EffectClass.MONEY and not cancels(effect):
            outside = self._outside(view, effect, now)
            if outside:
                return _deny(outside)
        return _ALLOW

    def _outside(self, view: View, effect: StoredEffect, now: datetime) -> str:
        """Why a strategy's own order may not leave any more: its mandate ended, shrank or is used up."""
        account, strategy = account_of(effect), effect.args.get("strategy")
        signed = mandate.active(view, account, strategy, now) if isinstance(strategy, str) else None
        if signed is None:
            return "The mandate is no longer in force."
        if effect.state is EffectState.SENDING:
            return ""  # it may have left already; that what has changed since is a reason to look, not to deny it
        equity = None if self._equity is None else self._equity(view, account)
        facts = policy.Facts(mandate=signed, equity=equity, limits=self.limits)
        if signed.signed_at > effect.created_at:  # not the one that it was checked against
            spent = orders_lately(view, effect, now, own=True, limits=self.limits)[2]
            return policy.mandate_reason(effect, replace(facts, spent_today=spent))
        return policy.loss_reason(facts, signed) if increases_exposure(effect) else ""

    def _approved(self, view: View, effect: StoredEffect, approval: Approval, now: datetime) -> Verdict:
        if approval.state != "approved" or approval.answered_at is None:
            return _deny("It was not approved.")
        row = view.one("SELECT digest FROM approval WHERE id = ?", (approval.id,))
        if row is None or row["digest"] != effect.digest:
            return _deny("It is not the call that was approved.")
        if not any(_gave(device, approval) for device in devices(view, approval.answered_by or "")):
            return _deny("Whoever approved it may not approve any more.")
        live = effect.effect_class is EffectClass.MONEY and is_live(account_of(effect))
        window = self.limits.live_send_seconds if live else self.limits.send_seconds
        if effect.state is not EffectState.SENDING and abs(now - approval.answered_at) > timedelta(seconds=window):
            return _deny("It was approved too long ago; ask again.")
        return _ALLOW

    def _still(self, view: View, effect: StoredEffect, now: datetime) -> Verdict:
        """At the moment of the yes: what may have changed since the question."""
        if effect.effect_class is not EffectClass.MONEY:
            return _ALLOW
        held = policy.controlled(effect, read_control(view).state)
        if held:
            return _deny(held)
        minute, day, spent = orders_lately(view, effect, now, own=False, limits=self.limits)
        crowded = policy.rate_reason(policy.Facts(orders_minute=minute, orders_day=day, limits=self.limits), own=False)
        if crowded:
            return _deny(crowded)
        account = account_of(effect)
        approval = requests.for_effect(view, effect.key)
        if approval is not None and approval.level == "tap" and is_live(account):
            equity = None if self._equity is None else self._equity(view, account)
            facts = policy.Facts(spent_today=spent, equity=equity, limits=self.limits)
            signed = next(iter(mandate.in_force(view, now, account=account)), None)
            if signed is None or policy.cap_reason(effect, facts, signed):
                return _deny("With what was approved since it was asked, a tap is not enough; ask for it again.")
        return _ALLOW

    # --- asking -----------------------------------------------------------------------------------------------------
    def ask(self, tx: Tx, effect: StoredEffect, turn: Turn, verdict: Verdict, now: datetime) -> Card:
        """Record the request and word its card: what exactly, why it is asked, how to say yes and until when."""
        person = turn.sender is not None and known(tx, turn.sender)
        personal = policy.personal(effect, turn, policy.Facts(person=person))
        approval = self.approvals.ask(tx, effect, turn, verdict, now, personal=personal)
        buttons = [Button("Reject", f"r:{approval.id}")]
        if approval.level == "tap":
            buttons.insert(0, Button("Approve", f"a:{approval.id}"))
        return Card(
            approval_id=approval.id,
            address=approval.address,
            text=_card_text(effect, verdict, approval, personal=personal),
            buttons=tuple(buttons),
            expires_at=approval.expires_at,
        )

    # --- permits and the chain --------------------------------------------------------------------------------------
    def permit(self, effect: StoredEffect) -> Permit:
        """The permit for exactly this call. Raises :class:`RefusedError` for one that waits or was refused."""
        if effect.state in {EffectState.ASKED, EffectState.REFUSED}:
            raise RefusedError(f"{effect.key} is {effect.state.value}: there is no permit for it.")
        return Permit(effect.key, effect.digest)

    def record(self, tx: Tx, lane: str, kind: str, ref: str, data: Mapping[str, Json], now: datetime) -> None:
        """Append to the audit chain of ``lane``."""
        audit.append(tx, lane, kind, ref, data, now)


def _gave(device: Device, approval: Approval) -> bool:
    """Whether a yes can have come from this device: it dies with the one that gave it."""
    then = approval.answered_at is not None and device.paired_at <= to_epoch(approval.answered_at)
    same = device.channel == approval.answered_on and approval.answered_from in {None, device.stable_id}
    return then and same and covers(device.scope, approval.scope)


def _deny(reason: str) -> Verdict:
    return Verdict(Decision.DENY, reason)


def _card_text(effect: StoredEffect, verdict: Verdict, approval: Approval, *, personal: bool) -> str:
    """What is asked in the words of its maker; unless a person asked for this order itself, the exact call and why."""
    lines = [effect.summary.strip() or f"{effect.tool}?"]
    ordered = effect.effect_class is EffectClass.MONEY and personal
    if not ordered or not effect.summary.strip():
        lines.append(f"Exactly: {effect.tool} {canonical(dict(effect.args)).decode()}")
    if verdict.reason and not ordered:
        lines.append(f"Why I ask: {verdict.reason}")
    minutes = max(1, round((approval.expires_at - approval.created_at).total_seconds() / 60))
    within = f"within {minutes} minute{'s' if minutes != 1 else ''}"
    if approval.level == "tap":
        lines.append(f"Approve or reject {within} (typed: approve {approval.id}).")
    elif approval.level == "code":
        lines.append(f"To approve, type {within}: YES {requests.code_of(effect.digest)}")
    else:
        lines.append(f"To approve, type {within}: YES and the six digits of your authenticator app.")
    return "\n".join(lines)
