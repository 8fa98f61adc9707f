"""The crash harness in small: the real service is killed four times under traffic, other people's records judge.

The whole of it is ``bench/crash.py --kills 30``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.crash_judge import Findings, judge_chats, shown_by  # noqa: E402  found by the path above
from bench.crash_traffic import Pressed, Said  # noqa: E402

HARNESS = ROOT / "bench" / "crash.py"
CARD = "Buy 3 AAPL (paper account)\nPrice $38.35\nApprove or reject within 5 minutes (typed: approve hayn25nh)."


def test_four_kills_lose_nothing_and_double_nothing() -> None:
    command = [sys.executable, str(HARNESS), "--kills", "4", "--seed", "5", "--phones", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all bounds hold" in done.stdout


# --- the judge itself must be able to say no -------------------------------------------------------------------------
def judged(folder: Path, texts: Sequence[str], said: Sequence[Said], pressed: Sequence[Pressed] = ()) -> Findings:
    """What the judge makes of a chat that ends up showing ``texts``."""
    log = folder / "bot.jsonl"
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(["Paired.", "It works.", *texts], 1):
        lines += [{"message_id": number, "chat": 42, "text": shown} for shown in ("…", text)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return judge_chats(shown_by(log), said, pressed)


def asked(*sums: str) -> list[Said]:
    return [Said(42, "sum", f"{text} =", text, 0.0) for text in sums]


def broken(found: Findings) -> dict[str, int]:
    return {name: len(cases) for name, cases in found.cases.items() if cases}


def test_a_whole_conversation_is_found_whole(tmp_path: Path) -> None:
    said = [*asked("1 + 2", "3 + 4"), Said(42, "order", "buy 3 AAPL", "buy 3 AAPL", 0.0)]
    texts = ["1 + 2 = 3", "3 + 4 = 7", f"{CARD}\n\nApproved at 19:37.", "Accepted: buy 3 AAPL. It fills soon."]
    assert broken(judged(tmp_path, texts, said, [Pressed(42, "hayn25nh", True, 0.0)])) == {}


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        (["1 + 2 = 3"], {"messages lost": 1}),
        (["1 + 2 = 3", "3 + 4 = 7", "3 + 4 = 7"], {"replies doubled": 1}),
        (["3 + 4 = 7", "1 + 2 = 3"], {"replies out of order": 2}),
        (["1 + 2 = 3", "3 + 4 = 7", "I have no answer."], {"unexpected": 1}),
        (["1 + 2 = 3", "…", "3 + 4 = 7"], {"placeholders left": 1}),
        (["1 + 2 = 3", "3 + 4 = 7", "Approved."], {"replies doubled": 1}),
    ],
)
def test_each_fault_is_named(tmp_path: Path, texts: list[str], verdict: dict[str, int]) -> None:
    assert broken(judged(tmp_path, texts, asked("1 + 2", "3 + 4"))) == verdict


def test_an_order_whose_fate_was_never_told_is_lost(tmp_path: Path) -> None:
    said = [Said(42, "order", "buy 3 AAPL", "buy 3 AAPL", 0.0)]
    assert broken(judged(tmp_path, [], said)) == {"messages lost": 1}
    assert broken(judged(tmp_path, [CARD], said)) == {"messages lost": 1}
    assert broken(judged(tmp_path, [CARD, "Accepted: buy 3 AAPL. So.", "Accepted: buy 3 AAPL. So."], said)) == {
        "replies doubled": 1
    }
