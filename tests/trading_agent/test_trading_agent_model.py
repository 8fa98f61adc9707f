"""The learned model is shown beside the constant it must beat, and never oversold."""

from __future__ import annotations

from retainer.agent.grammar import Grammar
from retainer.tools.manager import NoRecords
from retainer.trading.agent import TradingBotAgent
from retainer.trading.learned import train_default


async def test_the_model_is_shown_beside_the_constant() -> None:
    match = Grammar(TradingBotAgent().capabilities()).match("How good is your trading model?")
    assert match is not None
    assert match.capability.run is not None
    answer = await match.capability.run(NoRecords(), match.capability.parameters())
    scores = train_default().artefact.scores
    assert f"{scores.log_loss:.5f}" in answer.text
    assert f"{scores.constant_log_loss:.5f}" in answer.text
    assert "no edge" in answer.text
