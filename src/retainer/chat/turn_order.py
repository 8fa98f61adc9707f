"""What may be answered while a model still words an earlier reply, what keeps its place, and waiting for a model.

Whatever is read exactly from a message is answered at once; what needs the model steps aside (``ctx.step_aside``) and
is answered in order. Kept in its place, behind what stepped aside, is only what refers to the talk ahead of it: a bare
yes or no while no card waits (the reply may end with a question), and erasing (the reply may repeat what is to be
erased). The decision is a function of the message and of recorded rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from retainer.agent.engine import Intent
from retainer.chat.commands import card_answer, half_yes
from retainer.chat.services import ChatServices
from retainer.chat.understanding import Understanding
from retainer.core.protocols import ChatModel, Context, View
from retainer.runtime.inbox import select_events

ERASING = frozenset({"chat.forget"})
SHOWS_MEMORY = frozenset({"chat.facts", "chat.export"})
_LOOK = 0.1


def ahead(view: View, lane: str, before: int) -> list[str]:
    """Texts of the messages of ``lane`` that stepped aside, came before the event ``before`` and are not done."""
    events = select_events(
        view, "e.lane = ? AND e.state = 'waiting' AND e.aside = 1 AND e.seq < ?", (lane, before), limit=100
    )
    return [str(event.body.get("text") or "") for event in events]


def may_answer_talk(text: str) -> bool:
    """Whether ``text`` may be the answer to a question that is still being worded: a bare yes or no."""
    answer = card_answer(text)
    return half_yes(text) or (answer is not None and not answer.explicit and not answer.approval)


def keeps_place(intent: Intent, texts: Sequence[str], understanding: Understanding) -> bool:
    """Whether ``intent`` must not overtake the messages ``texts`` that wait ahead of it."""
    if not texts:
        return False
    if intent.capability in ERASING:
        return True
    erasing = any(match.capability.name in ERASING for text in texts for match in understanding.matches(text))
    return erasing and intent.capability in SHOWS_MEMORY


def on_its_way(services: ChatServices) -> bool:
    """Whether there is a model, or will be shortly."""
    return services.model() is not None or services.loading()


async def model_soon(ctx: Context, services: ChatServices) -> ChatModel | None:
    """The model, waited for while it is being loaded, for at most ``settings.model_wait`` seconds."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + services.settings.model_wait
    while (model := services.model()) is None:  # loaded by another task, or thread: there is nothing to be told by
        if not services.loading() or ctx.interrupted or loop.time() >= ends:
            return None
        await asyncio.sleep(_LOOK)
    return model
