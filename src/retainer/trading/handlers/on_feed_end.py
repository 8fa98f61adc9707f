"""The recorded bars are over: note it, and tell people once."""

from __future__ import annotations

from datetime import datetime

from retainer.core.clock import to_epoch
from retainer.core.events import Event
from retainer.core.protocols import Context, Tx
from retainer.safety.people import addresses
from retainer.trading.book import Desk
from retainer.trading.handlers.say import say
from retainer.trading.words import day


async def on_feed_end(desk: Desk, ctx: Context, event: Event) -> None:
    """Record where the data ended; the first time, say so at every paired address."""
    at = datetime.fromisoformat(str(event.body["at"]))
    feed = str(event.body.get("feed", ""))
    known = ctx.view.one("SELECT at FROM feed_end WHERE account = ?", (desk.account,))

    def note(tx: Tx) -> None:
        tx.execute("DELETE FROM feed_end WHERE account = ?", (desk.account,))
        tx.execute("INSERT INTO feed_end (account, at, feed) VALUES (?, ?, ?)", (desk.account, to_epoch(at), feed))

    ctx.apply(note)
    if known is not None:
        return
    text = f"The recorded prices end on {day(at)}. The {desk.account} account stands still there; questions still work."
    for number, address in enumerate(addresses(ctx.view)):
        say(ctx, address, text, name=f"end:{number}")
