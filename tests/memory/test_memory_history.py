"""A conversation as a prompt sees it, and a file from which any pattern of turns can be taken out."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retainer import MemoryManager
from retainer.memory.person import compact, estimate_tokens


@given(order=st.permutations(range(8)), erased=st.sets(st.integers(0, 7), max_size=6))
@settings(max_examples=30, deadline=None)
def test_erasing_in_any_pattern_leaves_no_copy_in_neighbours(order: list[int], erased: set[int]) -> None:
    memory = MemoryManager()
    for number in order:
        memory.remember(f"word{number} is here", source=f"m{number}", seq=number + 1)
    memory.person("owner").erase([f"m{number}" for number in erased])
    rows = memory.person("owner")._db.execute("SELECT text, prev, next FROM recall").fetchall()
    text = " ".join(cell for row in rows for cell in row)
    assert not any(f"word{number} " in text for number in erased)
    kept = sorted(set(range(8)) - erased)
    for row in rows:
        place = kept.index(int(row["text"][4]))
        assert row["prev"] == (f"word{kept[place - 1]} is here" if place else "")
        assert row["next"] == (f"word{kept[place + 1]} is here" if place + 1 < len(kept) else "")


# --- history ---------------------------------------------------------------------------------------------------------
def test_history_grows_at_its_end_and_loses_its_older_half_at_once() -> None:
    memory = MemoryManager()
    starts: list[str] = []
    shown: list[str] = []
    for number in range(120):
        memory.remember(f"question {number} " + "x" * 60, source=f"q{number}")
        memory.remember(f"answer {number} " + "y" * 60, source=f"a{number}", role="assistant")
        turns = memory.history("library:local", limit_tokens=600)
        sources = [turn.source for turn in turns]
        assert sum(estimate_tokens(turn.text) for turn in turns) <= 600
        assert turns[0].role == "person"
        if sources[: len(shown)] != shown:
            starts.append(sources[0])
        shown = sources
    assert 5 <= len(starts) <= 120 // 7, "one loss of the prefix in seven exchanges"


@given(
    tokens=st.lists(st.tuples(st.integers(1, 80), st.sampled_from(["person", "assistant"])), max_size=60),
    budget=st.integers(50, 200),
)
def test_the_remembered_start_changes_nothing(tokens: list[tuple[int, str]], budget: int) -> None:
    whole = compact(tokens, budget)
    start = 0
    for end in range(1, len(tokens) + 1):
        start += compact(tokens[start:end], budget)
    assert start == whole


def test_people_with_odd_ids_get_files_of_their_own(tmp_path: Path) -> None:
    memory = MemoryManager(tmp_path)
    for person in ("+47 99", "../anna", "Anna", "anna"):
        memory.remember(f"I am {person}", person=person)
    memory.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len([name for name in files if name.endswith(".db")]) == 4
    assert "anna.db" in files


# --- many hands, sudden ends -----------------------------------------------------------------------------------------
def test_threads_share_a_memory(tmp_path: Path) -> None:
    memory = MemoryManager(tmp_path)

    def work(thread: int) -> None:
        for number in range(25):
            memory.remember(f"thread {thread} wrote line {number}", source=f"{thread}:{number}")
            memory.recall("wrote line")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({turn.seq for turn in memory.person("owner").turns()}) == 100


WRITER = """
import sys
from retainer import MemoryManager
memory = MemoryManager(sys.argv[1])
print("ready", flush=True)
for number in range(100000):
    memory.remember(f"line {number}", source=f"m{number}")
    if number % 7 == 3:
        memory.person("owner").erase([f"m{number - 1}"])
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.05 + rng.random() / 5)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    memory = MemoryManager(tmp_path)
    rows = memory.person("owner")._db.execute(
        "SELECT m.text, r.prev, r.next, p.text AS before, n.text AS after"
        " FROM message m JOIN recall r ON r.rowid = m.id"
        " LEFT JOIN message p ON p.id = m.prev_id LEFT JOIN message n ON n.id = m.next_id ORDER BY m.seq"
    )
    found = rows.fetchall()
    assert len(found) > 10
    for row, later in zip(found, [*found[1:], None], strict=True):
        assert (row["prev"], row["next"]) == (row["before"] or "", row["after"] or "")
        assert row["after"] == (later["text"] if later else None)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_erased_bytes_are_gone_at_any_place(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("erase")
    memory = MemoryManager(folder)
    secret = f"secretquokka{seed}"
    count, place = rng.randint(3, 250), rng.random()
    for number in range(count):
        extra = f" and {secret} too" if number == int(place * count) else ""
        memory.remember(f"message {number} about {rng.choice(['sea', 'tax', 'choir'])}{extra}")
    receipt = memory.forget(f"everything about {secret}")
    assert (receipt.messages, receipt.bytes_left) == (1, False)
    assert not any(secret.encode() in path.read_bytes().lower() for path in folder.iterdir())
    memory.close()
    assert not any(secret.encode() in path.read_bytes().lower() for path in folder.iterdir())
