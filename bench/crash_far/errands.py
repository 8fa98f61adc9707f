"""An agent of one's own, as ``retainer.toml`` names it: it runs errands at a far side, by every way of repeating.

``errand 17 enforced`` is done at once, ``errand 17 none later`` by a timer, and ``errand 17 order`` is an order on an
account of its own, so it needs a yes. Each is told how it ended; of one that nobody can know, the runtime tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

import httpx2
from pydantic import BaseModel, ConfigDict

from retainer.core.capabilities import Capability
from retainer.core.effects import Effect, EffectClass, Permit, RepeatClass, StoredEffect
from retainer.core.errors import NotSentError, RefusedError, RejectedError
from retainer.core.events import Event
from retainer.core.protocols import Adapter, Context, OutgoingMessage
from retainer.core.replies import reply_effect
from retainer.core.values import Json

LATER = timedelta(seconds=1)
ACCOUNT = "paper-far"
TIMEOUT = 10.0
"""Seconds that a request may take."""


class Errand(BaseModel):
    """What a person asks for; ``number`` names it."""

    model_config = ConfigDict(extra="forbid")

    number: int
    way: Literal["enforced", "lookup", "none", "order"]
    when: Literal["now", "later"] = "now"

    @property
    def words(self) -> str:
        """How it is called in everything that is said about it."""
        return f"Errand {self.number} ({self.way})"


class Way:
    """One way of the far side: how it is asked to do something."""

    def __init__(self, url: str, way: str, repeat: RepeatClass) -> None:
        self.repeat = repeat
        self._url = url
        self._way = way

    async def execute(self, effect: StoredEffect, permit: Permit) -> Json:
        """Have it written down."""
        if not permit.covers(effect):
            raise RefusedError("The permit is for something else.")
        answer = await self._ask("POST", self._way, {"key": effect.key, **effect.args})
        return dict(answer)

    async def _ask(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> Mapping[str, Json]:
        async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            try:
                answer = await client.request(method, f"{self._url}/{path}", json=body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                raise NotSentError("The far side cannot be reached.") from error
        if answer.is_client_error:
            raise RejectedError(f"The far side says {answer.status_code}.")
        answer.raise_for_status()
        return dict(answer.json())


class AskableWay(Way):
    """One that can be asked whether a key arrived."""

    async def lookup(self, effect: StoredEffect) -> Json:
        """What is known of the effect, or ``None``."""
        answer = await self._ask("GET", f"{self._way}/{effect.key}")
        return {"known": True} if answer["known"] else None


class ErrandAgent:
    """Passes errands on and says how they ended."""

    name = "errands"

    def __init__(self, url: str) -> None:
        self._url = url

    def capabilities(self) -> Sequence[Capability]:
        """One: to run an errand."""
        return (
            Capability(
                name="errands.run",
                agent=self.name,
                description="Run an errand.",
                parameters=Errand,
                effect_class=EffectClass.WRITE_OWN,
                phrases=("errand {number} {way} [{when}]",),
                examples=("errand 17 enforced",),
            ),
        )

    def adapters(self) -> Mapping[str, Adapter]:
        """How its own effects are carried out."""
        return {
            "errands.enforced": Way(self._url, "enforced", RepeatClass.ENFORCED),
            "errands.lookup": AskableWay(self._url, "lookup", RepeatClass.LOOKUP),
            "errands.none": Way(self._url, "none", RepeatClass.NONE),
            "errands.order": AskableWay(self._url, "order", RepeatClass.LOOKUP),
        }

    async def handle(self, ctx: Context, event: Event) -> None:
        """Begin one, now or by a timer, or tell how it ended."""
        match event.kind:
            case "request":
                errand = Errand.model_validate(event.body["args"])
                if errand.when == "later":
                    ctx.timer(f"errand:{errand.number}", at=ctx.now + LATER, body={"errand": errand.model_dump()})
                else:
                    ctx.send(self._effect(errand, event))
            case "timer":
                ctx.send(self._effect(Errand.model_validate(event.body["errand"]), event))
            case "outcome" if event.reply_to and event.body["state"] != "unknown":
                how = "done" if event.body["state"] == "done" else f"not done. {event.body['reason']}"
                message = OutgoingMessage(text=f"{event.body['summary']}: {how}")
                ctx.send(reply_effect(event.reply_to, message, label=event.label))

    def _effect(self, errand: Errand, event: Event) -> Effect:
        """The effect; one queue for each way, so that each keeps its order."""
        args: dict[str, Json] = {"errand": errand.number, "for": event.reply_to}
        if errand.way == "order":
            args |= {"account": ACCOUNT, "symbol": "FAR", "side": "buy", "quantity": 1, "notional": 1}
        return Effect(
            name="errand",
            tool=f"errands.{errand.way}",
            args=args,
            effect_class=EffectClass.MONEY if errand.way == "order" else EffectClass.WRITE_OWN,
            queue=f"account:{ACCOUNT}" if errand.way == "order" else f"far:{errand.way}",
            label=event.label,
            summary=errand.words,
            reply_to=event.reply_to,
        )
