"""Agents in your service, on your own machine.

The public names are importable from here and loaded on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retainer.agent.engine import DecisionEngine
    from retainer.agent.universal import UniversalAgent
    from retainer.chat.agent import LocalChatAgent
    from retainer.chat.hub import PhoneBridge
    from retainer.chat.personality import ChatPersonality
    from retainer.memory.manager import MemoryManager
    from retainer.models.scripted import ScriptedModel
    from retainer.models.server import LocalLLM, ModelServer
    from retainer.pipeline.pipeline import DataPipeline
    from retainer.safety.facade import SafetyProtocols
    from retainer.tools.manager import ToolManager
    from retainer.trading.agent import TradingBotAgent
    from retainer.trading.brokers.robinhood import RobinhoodAPI
    from retainer.trading.feeds.stream import MarketDataStream
    from retainer.trading.risk import RiskManager
    from retainer.trading.technical import TechnicalAnalysis

__version__ = "0.1.0"

_PUBLIC = {
    "ChatPersonality": "retainer.chat.personality",
    "DataPipeline": "retainer.pipeline.pipeline",
    "DecisionEngine": "retainer.agent.engine",
    "LocalChatAgent": "retainer.chat.agent",
    "LocalLLM": "retainer.models.server",
    "MarketDataStream": "retainer.trading.feeds.stream",
    "MemoryManager": "retainer.memory.manager",
    "ModelServer": "retainer.models.server",
    "PhoneBridge": "retainer.chat.hub",
    "RiskManager": "retainer.trading.risk",
    "RobinhoodAPI": "retainer.trading.brokers.robinhood",
    "SafetyProtocols": "retainer.safety.facade",
    "ScriptedModel": "retainer.models.scripted",
    "TechnicalAnalysis": "retainer.trading.technical",
    "ToolManager": "retainer.tools.manager",
    "TradingBotAgent": "retainer.trading.agent",
    "UniversalAgent": "retainer.agent.universal",
}

__all__ = [
    "ChatPersonality",
    "DataPipeline",
    "DecisionEngine",
    "LocalChatAgent",
    "LocalLLM",
    "MarketDataStream",
    "MemoryManager",
    "ModelServer",
    "PhoneBridge",
    "RiskManager",
    "RobinhoodAPI",
    "SafetyProtocols",
    "ScriptedModel",
    "TechnicalAnalysis",
    "ToolManager",
    "TradingBotAgent",
    "UniversalAgent",
    "__version__",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'retainer' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
