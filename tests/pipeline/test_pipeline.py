"""One door for raw input of every kind; what does not fit is named by row and field."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retainer import DataPipeline
from retainer.chat.processors import ChatInput, ChatProcessor
from retainer.core.errors import InvalidInputError, NotFoundError
from retainer.core.protocols import IncomingMessage
from retainer.pipeline.stages import chain, normalise_text

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawx"


def frame(**changes: Any) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "date": pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]),
            "open": [10.0, 11.0, 12.0],
            "high": [11.0, 12.0, 13.0],
            "low": [9.0, 10.0, 11.0],
            "close": [10.5, 11.5, 12.5],
            "volume": [1000, 1100, 1200],
            "symbol": "IBM",
        }
    )
    for name, values in changes.items():
        table[name] = values
    return table


# --- chat ------------------------------------------------------------------------------------------------------------
def test_chat_text_takes_one_form() -> None:
    ready = DataPipeline().process("chat", " Cafe\u0301\r\nbuy\x00 5\u202e LPAA\n\n\n\nnow ")
    assert ready == ChatInput(text="Café\nbuy 5 LPAA\n\nnow")


def test_chat_secrets_are_taken_out_and_it_is_said() -> None:
    ready = DataPipeline().process("chat", f"my token is {TOKEN}")
    assert ready.redacted
    assert "AAHdq" not in ready.text


def test_chat_takes_what_a_bridge_heard() -> None:
    message = IncomingMessage(
        channel="t",
        sender_id="1",
        chat_id="1",
        message_id="1",
        text="hi",
        quoted="q\x07",
        occurred_at=datetime.now(UTC),
    )
    assert DataPipeline().process("chat", message) == ChatInput(text="hi", quoted="q")
    assert DataPipeline().process("chat", {"text": "hi", "attachment": "photo"}).attachment == "photo"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("  \n ", "The message is empty"),
        (b"\xff\xfe\x00binary", "binary, not UTF-8"),
        ("x" * 32_001, "32,001 characters; at most 32,000"),
        (42, "is int, not text"),
        ({"text": "hi", "colour": "red"}, "colour: Extra inputs"),
        ({"text": ["hi"]}, "text"),
    ],
)
def test_chat_says_what_is_wrong(raw: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        DataPipeline().process("chat", raw)


@given(st.text(max_size=300))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once
    once.encode()


def test_stages_chain_in_order() -> None:
    assert chain(str.strip, str.title, lambda text: text + "!")(" anna ") == "Anna!"
    assert ChatProcessor(longest=5).normalise(b" anna ") == "anna"


# --- trading ---------------------------------------------------------------------------------------------------------
def test_trading_frames_become_bars() -> None:
    (bars,) = DataPipeline().process("trading", frame()).values()
    assert (bars.symbol, len(bars), list(bars.close)) == ("IBM", 3, [10.5, 11.5, 12.5])
    assert DataPipeline().process("trading", bars) == {"IBM": bars}
    assert DataPipeline().process("trading", {"IBM": bars}) == {"IBM": bars}
    rows = frame().to_dict("records")
    assert list(DataPipeline().process("trading", rows)["IBM"].open) == [10.0, 11.0, 12.0]


@pytest.mark.parametrize(
    "raw",
    [
        frame(close=[10.5, float("nan"), 12.5]),
        frame(low=[9.0, -1.0, 11.0]),
        frame(high=[11.0, 5.0, 13.0]),
        frame().drop(columns="close"),
        frame().iloc[:0],
        {"open": [1, 2], "close": [1]},
        [1, 2],
        "prices",
    ],
)
def test_trading_refuses_bad_prices(raw: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DataPipeline().process("trading", raw)
    assert caught.value.hint


# --- the door --------------------------------------------------------------------------------------------------------
def test_kinds_can_be_added_by_object_or_name() -> None:
    class Upper:
        def transform(self, raw: str) -> str:
            return raw.upper()

    pipeline = DataPipeline({"loud": Upper(), "text": "retainer.chat.processors:ChatProcessor"})
    assert pipeline.process("loud", "a") == "A"
    assert pipeline.process("text", "a").text == "a"
    assert pipeline.kinds() == ["analysis", "chat", "loud", "text", "trading"]


@pytest.mark.parametrize(
    ("processors", "kind", "error"),
    [
        ({}, "weather", NotFoundError),
        ({"x": "nowhere:Thing"}, "x", NotFoundError),
        ({"x": "retainer.chat.processors:Nothing"}, "x", NotFoundError),
        ({"x": "nodots"}, "x", InvalidInputError),
        ({"x": "retainer.pipeline.pipeline:object"}, "x", NotFoundError),
        ({"x": "decimal:Decimal"}, "x", InvalidInputError),
    ],
)
def test_a_wrong_configuration_is_named(processors: dict[str, Any], kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        DataPipeline(processors).process(kind, "raw")


def test_chat_input_needs_no_numeric_library() -> None:
    code = (
        "import sys; from retainer import DataPipeline, MemoryManager, ToolManager;"
        "DataPipeline().process('chat', 'hi'); MemoryManager().remember('hi'); ToolManager().call('tools.date');"
        "print([m for m in ('pandas', 'numpy', 'talib', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
