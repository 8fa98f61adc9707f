"""Ideas in words: sentences about buying and selling that become strategies by grammar, not by guessing."""

from __future__ import annotations

from retainer.trading.phrases.ideas import Idea, idea_of, read_idea

__all__ = ["Idea", "idea_of", "read_idea"]
