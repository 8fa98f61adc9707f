"""An approval that comes too late does nothing and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.running import Service, chatting


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Service]:
    """A service whose cards wait for ten seconds only, the least that can be set."""
    with Service(tmp_path / "data", {"RETAINER_SAFETY__TAP_SECONDS": "10"}) as running:
        yield running


def test_a_late_yes_does_nothing_and_says_so(impatient: Service) -> None:
    impatient.caught_up()
    with chatting(impatient) as chat:
        card = chat.say("buy 5 AAPL", r"approve (?P<id>[0-9a-z]{8})\)")
        before = impatient.positions()
        chat.expect(r"(?i)expired|not placed[^\n]*")
        chat.say(f"approve {card['id']}", r"(?i)expired|too late|no longer|already")
        impatient.next_bar()
        impatient.next_bar()
        assert impatient.positions().get("AAPL", 0) == before.get("AAPL", 0)
        assert not impatient.query("SELECT id FROM effect WHERE tool = 'paper.order' AND state IN ('asked', 'ready')")
        states = {row["state"] for row in impatient.query("SELECT state FROM approval WHERE id = ?", (card["id"],))}
        assert states == {"expired"}
