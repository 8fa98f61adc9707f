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

from bench.crash_judge import Findings, judge_chats, judge_errands, shown_by  # noqa: E402  found by the path above
from bench.crash_traffic import Pressed, Said  # noqa: E402

HARNESS = ROOT / "bench" / "crash.py"
CARD = "Buy 3 AAPL (paper account)\nPrice $38.35\nApprove or reject within 5 minutes (typed: approve hayn25nh)."


def test_four_kills_lose_nothing_and_double_nothing() -> None:
    command = [sys.executable, str(HARNESS), "--kills", "4", "--seed", "5", "--phones", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all bounds hold" in done.stdout


def test_kills_at_chosen_requests_and_commits_lose_nothing_and_double_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(HARNESS), "--search", "3", "--seed", "3"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
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


def test_an_order_of_thousands_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    said = [Said(42, "order", "buy 1349 AAPL", "buy 1349 AAPL", 0.0)]
    card = CARD.replace("3 AAPL", "1,349 AAPL")
    assert card != CARD
    texts = [f"{card}\n\nApproved at 19:37.", "Accepted: buy 1,349 AAPL. It fills soon."]
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


ERRANDS = ("1 (enforced)", "2 (lookup)", "3 (none)", "4 (order)", "5 (enforced)")
TOLD = dict.fromkeys(ERRANDS, "done")
YES = "Errand 4 (order)\nApprove or reject within 5 minutes (typed: approve hayn25nh).\n\nApproved at 19:37."


def errands_judged(folder: Path, accepted: Sequence[str], told: dict[str, str], card: str = YES) -> dict[str, int]:
    """What the judge of errands makes of a far side that accepted these, in this order."""
    lines = [{"for": "telegram:42", "errand": int(key[0]), "way": key[3:-1]} for key in accepted]
    (folder / "far.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = [
        f"I do not know whether this happened: Errand {key}\nI will not repeat it."
        if end == "unknown"
        else f"Errand {key}: {end}"
        for key, end in told.items()
    ]
    log = folder / "bot.jsonl"
    shown = [{"message_id": number, "chat": 42, "text": text} for number, text in enumerate([card, *texts])]
    log.write_text("".join(json.dumps(line) + "\n" for line in shown))
    said = [Said(42, "errand", key, f"errand {key[0]} {key[3:-1]}", 0.0) for key in ERRANDS]
    return broken(judge_errands(folder / "far.jsonl", shown_by(log), said))


def test_errands_each_accepted_once_in_order_are_found_whole(tmp_path: Path) -> None:
    assert errands_judged(tmp_path, ERRANDS, TOLD) == {}
    assert errands_judged(tmp_path, [key for key in ERRANDS if key[0] != "3"], {**TOLD, "3 (none)": "unknown"}) == {}
    assert errands_judged(tmp_path, ERRANDS, {**TOLD, "3 (none)": "unknown"}) == {}
    rejected = {**TOLD, "4 (order)": "not done. Rejected."}
    assert errands_judged(tmp_path, [key for key in ERRANDS if key[0] != "4"], rejected, card="") == {}


@pytest.mark.parametrize(
    ("accepted", "told", "card", "verdict"),
    [
        (ERRANDS[1:], TOLD, YES, {"errands lost": 1}),
        (ERRANDS[:1] + ERRANDS[2:], TOLD, YES, {"errands lost": 1}),
        (ERRANDS[:2] + ERRANDS[3:], TOLD, YES, {"errands lost": 1}),
        (ERRANDS[:3] + ERRANDS[4:], TOLD, YES, {"errands lost": 1}),
        ((*ERRANDS, "1 (enforced)"), TOLD, YES, {"errands doubled": 1}),
        ((*ERRANDS, "3 (none)"), TOLD, YES, {"errands doubled": 1}),
        ((*ERRANDS, "9 (none)"), TOLD, YES, {"errands doubled": 1}),
        (ERRANDS[::-1], TOLD, YES, {"errands out of order": 2}),
        (ERRANDS, TOLD, YES.partition("\n\n")[0], {"errands without a yes": 1}),
        (ERRANDS, {**TOLD, "4 (order)": "not done. Rejected."}, YES, {"errands told wrong": 1}),
        (ERRANDS, {**TOLD, "2 (lookup)": "unknown"}, YES, {"errands told wrong": 1}),
    ],
)
def test_each_fault_of_an_errand_is_named(
    tmp_path: Path, accepted: Sequence[str], told: dict[str, str], card: str, verdict: dict[str, int]
) -> None:
    assert errands_judged(tmp_path, accepted, told, card) == verdict


def test_an_errand_whose_end_was_never_told_is_lost(tmp_path: Path) -> None:
    said = [Said(42, "errand", "3 (none)", "errand 3 none", 0.0)]
    assert broken(judged(tmp_path, [], said)) == {"messages lost": 1}
    assert broken(judged(tmp_path, ["Errand 3 (none): done"], said)) == {}
    assert broken(judged(tmp_path, ["Errand 3 (none): done", "Errand 3 (none): done"], said)) == {"replies doubled": 1}
