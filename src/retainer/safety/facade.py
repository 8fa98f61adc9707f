"""``SafetyProtocols``: the safety rules as plain calls, with or without a running service.

``begin``, ``plan``, ``check``, ``approved``, ``record`` and ``output`` guard one turn of any agent; the rest says who
may talk to it. What needs no object is in :mod:`retainer.safety.plain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from retainer.core.clock import Clock, SystemClock
from retainer.core.effects import Decision, Effect, EffectClass, Turn, Verdict
from retainer.core.errors import InvalidInputError, RefusedError
from retainer.core.labels import OWNER, Label
from retainer.safety import people, policy
from retainer.safety.counts import Counts
from retainer.safety.facts import account_of, is_live
from retainer.safety.limits import Limits, Rate, frees
from retainer.safety.local import LocalStore, SyncStore
from retainer.safety.redact import default_redactor
from retainer.safety.table import Line, read_label, read_table
from retainer.safety.turns import GuardedTurn

REFUSAL = "This number is not authorised to use this service."
"""What somebody who is not authorised is told where silence is not possible. It reveals nothing else."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SEPARATORS = re.compile(r"[\s().\-/]+")


def phone_number(number: str) -> str:
    """``number`` with a leading plus and digits only (E.164), so that one number has one spelling.

    Raises :class:`InvalidInputError` for what is no international number.
    """
    text = _SEPARATORS.sub("", number.strip())
    text = f"+{text[2:]}" if text.startswith("00") else text
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and 3 <= len(digits) <= 15):
        raise InvalidInputError(f"{number!r} is not a phone number.", hint="Write it like +15550100.")
    return f"+{digits}"


class SafetyProtocols:
    """Who may talk to the agents, and what an agent may do.

    With no argument it keeps its records in memory and authorises nobody but ``owner``, who runs the program;
    ``store`` puts them into the database of a service (:class:`retainer.runtime.sqlite.SqliteStore` fits).
    ``authorized`` are phone numbers to allow from the start, with scope chat. ``tools`` is the tool table that turns
    are guarded by (:class:`~retainer.safety.table.Tool` has its fields); it may be given first. With ``limits`` the
    messages, actions and approval requests of each person and the orders of each account are counted from turn to
    turn as well.
    """

    def __init__(
        self,
        authorized: Iterable[str] | Mapping[str, Line] = (),
        *,
        tools: Mapping[str, Line] | None = None,
        store: SyncStore | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(authorized, Mapping):
            tools, authorized = {**authorized, **(tools or {})}, ()
        self.tools = read_table(tools or {})
        self.limits = limits or Limits()
        self._rate = None if limits is None else Rate(limits.messages_per_minute, timedelta(minutes=1))
        self._turn: GuardedTurn | None = None
        self._changes = 0
        """How often somebody was let in or sent away; a turn that began before looks again."""
        self._clock = clock or SystemClock()
        self._counts = None if limits is None else Counts(limits, self._clock)
        if store is None:
            store = LocalStore()
            now = self._clock.now()
            store.write_now(lambda tx: people.ensure_local_owner(tx, now))
        self._store: SyncStore = store
        for number in authorized:
            self.authorize(number)

    # --- a guarded turn ---------------------------------------------------------------------------------------------
    def begin(
        self,
        owner_text: str,
        principal: people.Principal | str | None,
        channel: str,
        label: Label | str | None = None,
    ) -> GuardedTurn:
        """A message arrived: a new turn begins, and :meth:`plan` to :meth:`output` are about it from now on.

        ``principal`` is who wrote it: a stable id of ``channel``, or a :class:`~retainer.safety.people.Principal`. At
        the terminal of this machine, and on a channel with no paired device (nobody's name means anything there), it
        may be a person's id; ``owner`` is who runs this program. Where senders choose their names, pair their devices
        first, or pass a ``Principal``. In the turn of anybody who is not paired, every call is denied, from the moment
        on where somebody's access is taken away. ``label`` is that of what the model has read before, such as the talk
        so far; it is joined to the turn.
        The turn is returned as well; it has the same methods, for several conversations side by side. Raises
        :class:`InvalidInputError` where a text is none.
        """
        self._turn = None  # where this one cannot begin, nothing more happens in the one before
        for what, given in (("message", owner_text), ("channel", channel)):
            if not isinstance(given, str):
                raise InvalidInputError(f"The {what} is a text, not a {type(given).__name__}.")
        if not isinstance(principal, str | people.Principal | None):
            raise InvalidInputError(f"The principal is a text or a Principal, not a {type(principal).__name__}.")
        channel = people.channel_name(channel)
        before = OWNER if label is None else read_label("The message", label)
        now = self._clock.now()
        seen, who = self._changes, self._who(principal, channel)
        present = who

        def again(acts: bool) -> people.Principal | None:
            """The sender as the records have them: looked up for what acts, and for what reads after a change here."""
            nonlocal seen, present
            if present is not None and (acts or seen != self._changes):
                seen, found = self._changes, self._who(principal, channel)
                present = found if found is not None and found.person_id == present.person_id else None
            return present

        refused = "" if who is not None else "The sender is not paired."
        text = self._text(owner_text)
        if text.decision is Decision.DENY:
            refused = refused or text.reason
        elif who is not None and self._rate is not None and not self._rate.hit(who.person_id, now).ok:
            wait = frees(self._rate.free_at(who.person_id, now), now)
            refused = f"{self.limits.messages_per_minute} messages a minute is the limit; {wait}."
        self._turn = GuardedTurn(
            self.tools,
            owner_text,
            who,
            channel,
            self._clock,
            again,
            limits=self.limits,
            counts=self._counts,
            label=before,
            refused=refused,
        )
        return self._turn

    def plan(self, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[bool]:
        """See :meth:`retainer.safety.turns.GuardedTurn.plan`."""
        return self._begun().plan(calls)

    def check(self, tool: str, args: Mapping[str, Any]) -> Verdict:
        """Allow, ask or deny one call, with the reason. See :meth:`retainer.safety.turns.GuardedTurn.check`."""
        return self._begun().check(tool, args)

    def approved(self, tool: str, args: Mapping[str, Any], code: str | None = None) -> bool:
        """The owner said yes to exactly this call. See :meth:`retainer.safety.turns.GuardedTurn.approved`."""
        return self._begun().approved(tool, args, code)

    def record(self, tool: str, args: Mapping[str, Any], result: Any, label: Label | str | None = None) -> Label:
        """A result was read; returns its label. See :meth:`retainer.safety.turns.GuardedTurn.record`."""
        return self._begun().record(tool, args, result, label)

    def output(self, text: str) -> str:
        """The reply as it may be shown. See :meth:`retainer.safety.turns.GuardedTurn.output`."""
        return self._begun().output(text)

    def _begun(self) -> GuardedTurn:
        if self._turn is None:
            raise RefusedError("No turn has begun.", hint="Call begin(owner_text, principal, channel) first.")
        return self._turn

    def _who(self, principal: people.Principal | str | None, channel: str) -> people.Principal | None:
        """The paired person behind ``principal`` as the records have them now."""
        if isinstance(principal, people.Principal):
            return people.present(self._store.view(), principal)
        if principal is None or not people.keepable(principal):
            return None
        found = self.principal(principal, channel)
        if found is not None:
            return found
        view = self._store.view()
        named = channel == people.LOCAL_CHANNEL or not people.has_devices(view, channel)
        return people.principal_at(view, principal, None, channel) if named else None

    # --- people -----------------------------------------------------------------------------------------------------
    def authorize(
        self, number: str, *, scope: str = "chat", channel: str = "phone", name: str = "", person_id: str | None = None
    ) -> people.Principal:
        """Let this number (or stable id of another ``channel``) in, with ``scope``; ``person_id`` joins it to a person.

        This is a decision of whoever runs the program: it is no tool, and no message can reach it.
        """
        stable_id = self._stable(number, channel)
        now = self._clock.now()
        held = people.identify(self._store.view(), channel, stable_id)
        joined = person_id or (held.person_id if held is not None else None)
        made = self._store.write_now(
            lambda tx: people.add_device(
                tx, channel, stable_id, scope, now, person_id=joined, name=name or (held.name if held else stable_id)
            )
        )
        self._changes += 1
        return made

    def authorized_user(self, phone_number_or_id: str, channel: str = "phone") -> bool:
        """Whether this number (or stable id of another ``channel``) may talk to the agents. Never raises."""
        return self.principal(phone_number_or_id, channel) is not None

    def principal(self, phone_number_or_id: str, channel: str = "phone") -> people.Principal | None:
        """Who that is and what they may do, or ``None`` for a stranger."""
        try:
            stable_id = self._stable(phone_number_or_id, channel)
        except InvalidInputError:
            return None
        return people.identify(self._store.view(), channel, stable_id)

    def block_unauthorized(self, phone_number_or_id: str, channel: str = "phone") -> str:
        """Drop a stranger: count the attempt, keep nothing else, return the refusal. Empty when authorised."""
        if self.authorized_user(phone_number_or_id, channel):
            return ""
        now = self._clock.now()
        try:
            stable_id = self._stable(phone_number_or_id, channel)
        except InvalidInputError:
            stable_id, channel = "malformed", channel if people.keepable(channel) and channel else "malformed"
        self._store.write_now(lambda tx: people.drop(tx, channel, stable_id, now))
        return REFUSAL

    def blocked_today(self) -> dict[str, int]:
        """Messages of strangers dropped today, per channel."""
        return people.counts(self._store.view(), self._clock.now())

    def revoke(self, number: str, channel: str = "phone") -> bool:
        """Take this number's access away at once, in turns that have begun as well; whether it had any."""
        stable_id, now = self._stable(number, channel), self._clock.now()
        gone = self._store.write_now(lambda tx: people.revoke(tx, now, channel=channel, stable_id=stable_id))
        self._changes += 1
        return gone > 0

    # --- effects and texts ------------------------------------------------------------------------------------------
    def validate(
        self, what: str | bytes | Effect, turn: Turn | None = None, facts: policy.Facts | None = None
    ) -> Verdict:
        """Whether a text may be handled, or what is to become of an effect.

        An effect is judged by the same policy as everywhere: ``turn`` says who asked and what was read before
        (default: nobody, nothing), ``facts`` what else matters (default: running, no mandate). A text is refused when
        it is empty, too long, or not text.
        """
        if isinstance(what, Effect):
            return policy.check(what, turn or Turn(), facts or self._facts(what, turn or Turn()))
        return self._text(what)

    def redact(self, text: str) -> str:
        """``text`` without known secrets and without what looks like one."""
        return default_redactor().clean(text)

    def _text(self, what: str | bytes) -> Verdict:
        if isinstance(what, bytes | bytearray):
            return Verdict(Decision.DENY, "That is not text; I read text only.")
        if not what.strip():
            return Verdict(Decision.DENY, "The message is empty.")
        if len(what) > self.limits.message_characters:
            return Verdict(
                Decision.DENY,
                f"The message has {len(what):,} characters; I read up to {self.limits.message_characters:,}.",
            )
        if _CONTROL.search(what):
            return Verdict(Decision.DENY, "The message holds control characters; send plain text.")
        return policy.ALLOW

    def _facts(self, effect: Effect, turn: Turn) -> policy.Facts:
        view = self._store.view()
        person = turn.sender is not None and people.known(view, turn.sender)
        device = people.principal_at(view, turn.sender, turn.reply_to, turn.channel) if person and turn.sender else None
        money = effect.effect_class is EffectClass.MONEY
        return policy.Facts(
            person=person,
            scope=None if device is None else device.scope,
            paired_address=effect.queue in people.addresses(view),
            own_address=effect.queue in people.addresses(view, turn.sender or people.OWNER_ID),
            live=money and is_live(account_of(effect)),
            limits=self.limits,
        )

    @staticmethod
    def _stable(number: str, channel: str) -> str:
        if not people.keepable(number):
            raise InvalidInputError("A number or an id is a text without NUL and half characters.")
        return phone_number(number) if people.channel_name(channel) in {"phone", "sms"} else number.strip()
