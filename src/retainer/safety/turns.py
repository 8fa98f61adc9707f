"""One guarded turn, usable without a service: begin, plan, check, approved, record, output.

The turn starts with the owner's message. What the model means to do before it has read anything is *planned*; every
planned call whose arguments are all in the owner's words is committed, once. Reading a result joins its label to the
turn. From the first untrusted result on only committed calls run unasked; orders, deletions and administration always
ask. The decision itself is :func:`retainer.safety.policy.check`, the same as in a running service.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from retainer.core.clock import Clock
from retainer.core.effects import Decision, Effect, EffectClass, Turn, Verdict
from retainer.core.errors import InvalidInputError, RefusedError
from retainer.core.labels import OWNER, Label, Trust
from retainer.core.values import Json
from retainer.safety import policy
from retainer.safety.approvals import code_of, is_code
from retainer.safety.counts import Counts
from retainer.safety.facts import account_of, is_live
from retainer.safety.identity import Principal
from retainer.safety.limits import Limits, over
from retainer.safety.outgoing import clean_output, returned, urls_in
from retainer.safety.table import Tool, plain_args, plain_value, read_label, records
from retainer.safety.words import Words

_QUESTIONS = frozenset({"q", "query", "url"})
"""What the argument of a question is called; any other name could itself carry something out."""


@dataclass(slots=True, eq=False)
class _Planned:
    """A call that was meant before anything was read; ``later`` are the arguments that were not in the words."""

    tool: str
    names: frozenset[str]
    """Of all its arguments, the empty ones included."""
    known: dict[str, Json]
    later: dict[str, Json]
    spent: bool = False


@dataclass(slots=True)
class _Lookup:
    """A question for handles in the owner's words."""

    tool: str
    names: frozenset[str]
    asked: dict[str, Json]
    planned: bool
    found: dict[str, Json] | None
    """The handles of the one record that it found; ``None``: it found several, or another one each time."""


class GuardedTurn:
    """The handling of one message. Made by :meth:`retainer.safety.facade.SafetyProtocols.begin`."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        owner_text: str,
        principal: Principal | None,
        channel: str,
        clock: Clock,
        again: Callable[[bool], Principal | None],
        *,
        limits: Limits | None = None,
        counts: Counts | None = None,
        label: Label = OWNER,
        refused: str = "",
    ) -> None:
        self.principal = principal
        self.label = label
        """Joined over everything read so far."""
        self.sources: list[str] = [] if label.trust is not Trust.UNTRUSTED else ["the conversation"]
        """Tools whose untrusted results were read, in order."""
        self._tools = tools
        self._clock = clock
        self._again = again
        self._lock = threading.RLock() if counts is None else counts.lock
        self._words = Words(owner_text, today=clock.now().date())
        self._urls = set(urls_in(owner_text))
        self._channel = channel
        self._limits = limits or Limits()
        self._counts = counts
        self._asked: set[str] = set()
        self._refused = refused
        self._planned: list[_Planned] = []
        self._approved: dict[str, datetime] = {}
        """Digests of calls with when their yes is too old."""
        self._wrong = 0
        self._lookups: list[_Lookup] = []
        self._known: dict[tuple[bool, bool], policy.Facts] = {}
        self._seen: Turn | None = None
        self._calls = 0
        self._effects = 0

    # --- before reading ---------------------------------------------------------------------------------------------
    def plan(self, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[bool]:
        """Say what is meant to be called, before anything is read; returns which calls are committed as they stand.

        An argument that is not in the owner's words counts as not known yet: it has to be resolved by code later (a
        handle that a planned lookup found alone), or the call asks. A tool that is not in the table is not committed.
        Raises :class:`RefusedError` once something untrusted was read, :class:`InvalidInputError` for what is no call.
        """
        with self._lock:
            return self._plan(_pairs(calls))

    def _plan(self, calls: list[tuple[str, Mapping[str, Any]]]) -> list[bool]:
        if self._tainted:
            raise RefusedError("Something untrusted was read before this plan.", hint="Plan first, then read.")
        made: list[_Planned] = []
        for name, given in calls:
            every = plain_args(given)
            args = {key: value for key, value in every.items() if not _empty(value)}
            line = self._tools.get(name) or Tool(EffectClass.FETCH)
            known = {key: value for key, value in args.items() if self._words.hold(value, strict=key in line.sinks)}
            asks_out = line.class_of(every) is EffectClass.FETCH
            if asks_out and self.label.private and not self._worded(every, line):
                args, known = every, {}
            later = {key: value for key, value in args.items() if key not in known}
            before = (each for each in (*self._planned, *made) if each.tool == name and not (each.later or later))
            again = next((each for each in before if _same(each.known, known)), None)  # still for once
            made.append(again or _Planned(name, frozenset(every), known, later))
            finds = line.handles and not later and (known or "*" in line.handles)
            if finds and self._lookup(name, every, known) is None:
                self._lookups.append(_Lookup(name, frozenset(every), known, planned=True, found={}))
        self._planned += [each for each in made if each not in self._planned]
        return [not each.later and not each.spent and each.tool in self._tools for each in made]

    # --- deciding ---------------------------------------------------------------------------------------------------
    def check(self, tool: str, args: Mapping[str, Any]) -> Verdict:
        """Allow, ask (``level`` says how a yes must be given) or deny, with the reason.

        An *allow* is for one call: it spends the commitment or the approval that it rests on.
        """
        with self._lock:
            return self._check(tool, args)

    def _check(self, tool: str, args: Mapping[str, Any]) -> Verdict:
        if self._refused:
            return Verdict(Decision.DENY, self._refused)
        line = self._line(tool)
        if line is None:
            return Verdict(Decision.DENY, f"There is no tool {tool} in the table.")
        reads = line.effect_class is EffectClass.READ and isinstance(args, Mapping)
        reads = reads and (not line.sinks or all(_empty(args.get(sink)) for sink in line.sinks))
        if not self._present(acts=not reads):
            return Verdict(Decision.DENY, self._refused)
        full = self._full(reads=reads)
        if full:
            return Verdict(Decision.DENY, full)
        if reads:
            self._calls += 1
            return policy.ALLOW
        try:
            effect = self._effect(tool, line, args)
        except InvalidInputError as error:
            return Verdict(Decision.DENY, str(error))
        verdict = self._decide(effect, line)
        if verdict.decision is Decision.ASK and self._approved:
            until = self._approved.pop(effect.digest, None)
            if until is not None and self._clock.now() < until:
                verdict = policy.ALLOW
        if verdict.decision is Decision.ALLOW:
            self._calls += 1
            self._effects += 1
            self._spend(effect)
        self._count(effect, verdict)
        return verdict

    def approved(self, tool: str, args: Mapping[str, Any], code: str | None = None) -> bool:
        """The owner said yes to exactly this call: the next :meth:`check` of it allows it, once, within five minutes.

        ``code`` is what the owner typed; the guard compares it with the code of the call (an empty text is a tap, and
        enough where no more is demanded); for what needs an authenticator (``level`` totp) no such code counts, and
        after three wrong ones none does in this turn. ``None``: whoever calls this has seen to the ``level`` itself.
        Returns whether the yes counts.
        """
        with self._lock:
            return self._yes(tool, args, code)

    def _yes(self, tool: str, args: Mapping[str, Any], code: str | None) -> bool:
        line = self._line(tool)
        if line is None or self._refused or not self._present(acts=True):
            return False
        try:
            effect = self._effect(tool, line, args)
        except InvalidInputError:
            return False
        verdict = self._decide(effect, line)
        if verdict.decision is not Decision.ASK:
            return False
        if code is not None and not self._typed(code, verdict.level, effect):
            return False
        limits, live = self._limits, effect.effect_class is EffectClass.MONEY and is_live(account_of(effect))
        seconds = limits.live_seconds if live else limits.tap_seconds
        self._approved[effect.digest] = self._clock.now() + timedelta(seconds=seconds)
        return True

    def _typed(self, code: object, level: str, effect: Effect) -> bool:
        """Whether what was typed is a yes at this level; what is none counts as a guess."""
        if code == "" or level == "totp":
            return level == "tap"
        if over(self._wrong, self._limits.wrong_codes):
            return False
        right = is_code(code, effect.digest)
        self._wrong += not right
        return right

    def code(self, tool: str, args: Mapping[str, Any]) -> str:
        """What the owner has to type for a yes above a tap: the beginning of the call's digest.

        Raises :class:`InvalidInputError` for a tool that is not in the table and for what is no call.
        """
        line = self._line(tool)
        if line is None:
            raise InvalidInputError(f"There is no tool {tool} in the table.")
        return code_of(self._effect(tool, line, args).digest)

    # --- after a call -----------------------------------------------------------------------------------------------
    def record(self, tool: str, args: Mapping[str, Any], result: Any, label: Label | str | None = None) -> Label:
        """The result of a call was read: join its label to the turn and return that label.

        Whatever it holds: what is no JSON taints the turn like anything else, and nothing more is taken from it.
        ``label`` is that of what the result was once made from, such as a note's; it can only lower the trust. Where
        it is no label, the result counts as untrusted and private, and :class:`InvalidInputError` says so.
        """
        with self._lock:
            try:
                given = OWNER if label is None else read_label(str(tool), label)
            except InvalidInputError:
                self._record(tool, args, result, Label(Trust.UNTRUSTED, True))
                raise
            return self._record(tool, args, result, given)

    def _record(self, tool: str, args: Mapping[str, Any], result: Any, given: Label) -> Label:
        line, clean = self._line(tool) or Tool(EffectClass.FETCH), not self._tainted
        label = line.result_label.join(given)
        if label.trust is Trust.UNTRUSTED and str(tool) not in self.sources:
            self.sources.append(str(tool))
        self.label = self.label.join(label)
        with suppress(Exception):  # what a result's own code raises says nothing more than that it is no JSON
            self._urls |= returned(plain_value(args, loose=True), plain_value(result, loose=True))
            if line.handles and label.trust >= line.label.trust:  # a record of a stranger's names nobody
                self._remember(tool, line, plain_args(args), result, clean=clean)
        return label

    def output(self, text: str) -> str:
        """The reply as the sender may see it: without secrets, and with its untrusted sources named."""
        if not isinstance(text, str):
            raise InvalidInputError(f"A reply is a text, not a {type(text).__name__}.")
        return clean_output(text, seen=self._urls, sources=self.sources)

    # --- inside -----------------------------------------------------------------------------------------------------
    def _line(self, tool: str) -> Tool | None:
        return self._tools.get(tool) if isinstance(tool, str) else None

    def _present(self, *, acts: bool) -> bool:
        """Whether the sender is still let in, with the scope that they have now."""
        principal = self._again(acts)
        if principal is None:
            self._refused = "The sender is no longer paired."
        elif principal != self.principal:
            self.principal = principal
            self._known.clear()
        return principal is not None

    @property
    def _tainted(self) -> bool:
        return self.label.trust is Trust.UNTRUSTED

    def _effect(self, tool: str, line: Tool, args: Mapping[str, Any]) -> Effect:
        plain = plain_args(args)
        return Effect(name="call", tool=tool, args=plain, effect_class=line.class_of(plain), queue=f"tool:{tool}")

    def _full(self, *, reads: bool) -> str:
        limits = self._limits
        if over(self._calls, limits.tool_calls_per_event):
            most = limits.tool_calls_per_event
            return f"{most} tool calls for one message is the limit; it frees with the next message."
        if not reads and over(self._effects, limits.effects_per_event):
            return f"{limits.effects_per_event} actions for one message is the limit; it frees with the next message."
        return ""

    def _decide(self, effect: Effect, line: Tool) -> Verdict:
        named = effect.effect_class is EffectClass.COMMUNICATE and self._named(effect, line)
        facts = self._facts(named, effect.effect_class is EffectClass.MONEY and is_live(account_of(effect)))
        if effect.effect_class is EffectClass.FETCH and self.label.private:
            facts = replace(facts, worded=self._worded(effect.args, line))
        turn = self._turn()
        if self._committed(effect):
            turn = replace(turn, commitments=frozenset({effect.digest}))
        if self._counts is not None and self.principal is not None:
            known = effect.digest in self._asked
            facts = self._counts.facts(self.principal.person_id, effect, facts, clean=not self._tainted, known=known)
        verdict = policy.check(effect, turn, facts)
        if verdict.decision is Decision.ALLOW and effect.effect_class is EffectClass.MONEY:
            # Only a strategy's orders and cancellations pass unasked, and here a model says which this is.
            return Verdict(Decision.ASK, "An order: every order of a person or an agent needs a yes.", "code")
        orders = effect.effect_class is EffectClass.MONEY  # whose account is what a model says it is
        if verdict.level == "tap" and (orders or self._to_others(effect, line)):
            return replace(verdict, level="code")
        return verdict

    def _count(self, effect: Effect, verdict: Verdict) -> None:
        if self._counts is None or self.principal is None:
            return
        if verdict.decision is Decision.ALLOW:
            self._counts.allowed(self.principal.person_id, effect)
        elif verdict.decision is Decision.ASK and effect.digest not in self._asked:
            self._asked.add(effect.digest)
            self._counts.asked(self.principal.person_id, clean=not self._tainted)

    def _facts(self, named: bool, live: bool) -> policy.Facts:
        """The facts of a call; there are four of them in a turn."""
        found = self._known.get((named, live))
        if found is None:
            scope = None if self.principal is None else self.principal.scope
            found = policy.Facts(
                person=True, scope=scope, paired_address=named, own_address=named, live=live, limits=self._limits
            )
            self._known[named, live] = found
        return found

    def _turn(self) -> Turn:
        """The turn as the policy sees it; made anew when something was read."""
        if self._seen is None or self._seen.label is not self.label:
            sender = None if self.principal is None else self.principal.person_id
            self._seen = Turn(label=self.label, sender=sender, channel=self._channel, reply_to="", kind="message")
        return self._seen

    def _named(self, effect: Effect, line: Tool) -> bool:
        """Whether every receiver is in the owner's words, or was looked up for them in the owner's own records."""
        sinks = [effect.args[sink] for sink in line.sinks if not _empty(effect.args.get(sink))]
        return bool(sinks) and all(self._words.hold(value, strict=True) or self._resolved(value) for value in sinks)

    def _worded(self, args: Mapping[str, Json], line: Tool) -> bool:
        """Whether a question holds nothing but the owner's words, the names of its arguments included."""
        return all(
            (name in line.sinks or name in _QUESTIONS or self._words.hold(name, strict=True))
            and self._words.hold(value, strict=True)
            for name, value in args.items()
        )

    def _to_others(self, effect: Effect, line: Tool) -> bool:
        return effect.effect_class is EffectClass.COMMUNICATE or any(effect.args.get(sink) for sink in line.sinks)

    def _committed(self, effect: Effect) -> bool:
        return self._commitment(effect) is not None

    def _commitment(self, effect: Effect) -> _Planned | None:
        args = {key: value for key, value in effect.args.items() if not _empty(value)}
        spare = effect.args.keys() - args.keys()
        asks_out = effect.effect_class is EffectClass.FETCH and self.label.private
        for planned in self._planned:
            if planned.tool != effect.tool or planned.spent or (planned.later and asks_out):
                continue
            if not spare <= planned.names.union(self._tools[effect.tool].sinks):
                continue
            if args.keys() != planned.known.keys() | planned.later.keys():
                continue
            same = all(_same(args[key], value) for key, value in planned.known.items())
            if same and all(self._fills(args[key], value) for key, value in planned.later.items()):
                return planned
        return None

    def _spend(self, effect: Effect) -> None:
        planned = self._commitment(effect)
        if planned is not None:
            planned.spent = True

    def _remember(self, tool: str, line: Tool, args: Mapping[str, Json], result: Any, *, clean: bool) -> None:
        """Keep the handles of a lookup that the owner's words led to and that found one record.

        It has to be a planned one, unless it was made while the turn was ``clean``.
        """
        asked = {key: value for key, value in args.items() if not _empty(value)}
        if not all(self._words.hold(value) for value in asked.values()):
            return
        if asked and not any(self._words.hold(value, strict=True) for value in asked.values()):
            return
        lookup = self._lookup(tool, args, asked)
        if lookup is None and not clean:
            return
        found = records(result)
        if not asked:
            found = [each for each in found if isinstance(each, str) and self._words.begins(each)]
        handles = _handles(found[0], line) if len(found) == 1 else {}
        if lookup is None and handles:
            self._lookups.append(_Lookup(tool, frozenset(args), asked, planned=False, found=handles))
        elif lookup is not None and (len(found) > 1 or handles):
            lookup.found = handles if len(found) == 1 and lookup.found in ({}, handles) else None

    def _lookup(self, tool: str, args: Mapping[str, Json], asked: Mapping[str, Json]) -> _Lookup | None:
        same = (each for each in self._lookups if each.tool == tool and args.keys() <= each.names)
        return next((each for each in same if _same(each.asked, asked)), None)

    def _resolved(self, value: Json) -> bool:
        if isinstance(value, list | tuple):
            return bool(value) and all(self._resolved(each) or self._words.hold(each, strict=True) for each in value)
        return _is_handle(value) and any(value in (each.found or {}).values() for each in self._lookups)

    def _fills(self, value: Json, planned: Json) -> bool:
        """Whether ``value`` was found for what was ``planned`` there, and no other choice of handles was left."""
        values, places = (each if isinstance(each, list) else [each] for each in (value, planned))
        if len(values) != len(places):
            return False
        chosen = []
        for each, place in zip(values, places, strict=True):
            same = _same(each, place)
            worded = place is not planned and self._words.hold(place, strict=True)
            if not (same if worded else _is_handle(each) and self._resolved(each)):
                return False
            if not same:
                chosen.append(each)
        return not chosen or any(self._no_choice(field, chosen) for field in self._fields())

    def _fields(self) -> set[str]:
        return {field for lookup in self._lookups for field in self._tools[lookup.tool].handles}

    def _no_choice(self, field: str, chosen: list[Json]) -> bool:
        """Whether every planned lookup of ``field`` found its handle, and ``chosen`` are all of them."""
        near = [each for each in self._lookups if field in self._tools[each.tool].handles]
        if any(each.planned and field not in (each.found or {}) for each in near):
            return False
        return {each.found[field] for each in near if each.found and field in each.found} == set(chosen)


def _pairs(calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        pairs = [(name, args) for name, args in calls]
    except (TypeError, ValueError) as error:
        raise InvalidInputError("A plan is a list of (tool, args).") from error
    for name, _ in pairs:
        if not isinstance(name, str):
            raise InvalidInputError(f"A tool's name is a text, not a {type(name).__name__}.")
    return pairs


def _empty(value: Json) -> bool:
    return value is None or value in ("", [], {}, ())


def _same(one: Json, other: Json) -> bool:
    """Whether two values are one: as Python has it, but yes is not 1 and no is not 0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _handles(record: Json, line: Tool) -> dict[str, Json]:
    """The handles in a record; a mere text is one where the table says ``*``."""
    if isinstance(record, Mapping):
        return {field: record[field] for field in line.handles if _is_handle(record.get(field))}
    return {"*": record} if isinstance(record, str) and "*" in line.handles else {}


def _is_handle(value: Json) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
