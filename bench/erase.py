"""Whether erased texts are really gone: 200 texts said to the real service, erased by its command, looked for in files.

    .venv/bin/python bench/erase.py
    .venv/bin/python bench/erase.py --peers /tmp/peers        # others beside it (see bench/README.md)

Each text has a word of its own that nothing else contains. It is said on a phone as small talk, as something to
remember, as a reminder, as a message that was cut off by a kill; a backup is taken; then a third is erased by its words
while the service runs, a third as a conversation while it is stopped, the rest as a person while it runs again. After
each, every file is searched for the words: plain, in 16-bit characters, and inside what is packed. Ends with 1 if one
is found, if the audit does not verify, or if a text that should stay is gone.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.crash_parts import BotServer, Service, reading  # noqa: E402  found by the path above

CHATS = (42, 43, 44)
SHAPES = (
    "I met {} at the station",
    "remember that my doctor is called {}",
    "remind me tomorrow at 9 to write to {}",
    "what do you think of {}?",
    "my sister {} lives in Bergen",
    "wrong, I meant {} of course",
    "I don't like {} very much",
)
PATIENCE = 120.0


def word(chance: random.Random) -> str:
    """A word that nobody else says: fourteen letters, no stem that a search index would cut off."""
    return "".join(chance.choices("bdfgkmprtvz", k=12)) + "ob"


def files(folder: Path, leave_out: set[Path]) -> Iterator[tuple[Path, bytes]]:
    """Every file and what is in it, unpacked where it is packed."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path in leave_out:
            continue
        data = path.read_bytes()
        yield path, gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def search(folder: Path, words: Sequence[str], leave_out: set[Path]) -> dict[str, list[str]]:
    """Words found, each with the files."""
    found: dict[str, list[str]] = {}
    for path, data in files(folder, leave_out):
        folded = data.lower()
        for each in words:
            if any(each.encode(coding) in folded for coding in ("utf-8", "utf-16-le", "utf-16-be")):
                found.setdefault(each, []).append(str(path.relative_to(folder)))
    return found


class Trial:
    """One service with people who say things they will want back."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.server = BotServer(folder)
        self.service = Service(
            folder, self.server.url, {"RETAINER_SAFETY__MESSAGES_PER_MINUTE": "600", "RETAINER_LOG__LEVEL": "DEBUG"}
        )
        self.words = [word(self.chance) for _ in range(count)]
        self.kept = [word(self.chance) for _ in range(3)]
        self.texts = {each: SHAPES[n % len(SHAPES)].format(each) for n, each in enumerate(self.words)}
        self.left_out = {self.server.log, self.server.log.with_name("bot.typing.jsonl")}

    def close(self) -> None:
        """Leave nothing running."""
        self.service.close()
        self.server.close()

    def run(self) -> list[tuple[str, int, dict[str, list[str]]]]:
        """(how, how many, what was found) of each third."""
        self.service.start()
        for chat in CHATS:
            self.service.pair(self.server, chat)
        thirds = [self.words[part :: len(CHATS)] for part in range(len(CHATS))]
        for number in range(max(map(len, thirds))):
            for chat, part in zip(CHATS, thirds, strict=True):
                if number < len(part):
                    self.server.say(chat, self.texts[part[number]])
            if number == len(thirds[0]) // 2:
                time.sleep(0.2)
                self.service.kill()
                self.service.start()
        for each in self.kept:
            self.server.say(CHATS[2], f"this one stays: {each}")
        self._settle(len(self.words) + len(self.kept))
        self.command("backup")
        there = search(self.folder, self.words, self.left_out)
        if len(there) != len(self.words):
            raise RuntimeError(f"Only {len(there)} of {len(self.words)} texts were stored: nothing to prove.")
        by_words = self.folder.parent / f"{self.folder.name}.words"
        by_words.write_text("\n".join(thirds[0]) + "\n")
        results = [self._erase("by words, running", thirds[0], "--text-file", str(by_words))]
        by_words.unlink()
        stays = search(self.folder / "data", self.kept, self.left_out)
        if len(stays) != len(self.kept):
            raise RuntimeError("A text that nobody wanted erased is gone.")
        self.service.stop()
        results.append(self._erase("a conversation, stopped", thirds[1], "--conversation", f"telegram:{CHATS[1]}"))
        self.service.start()
        self.server.say(CHATS[2], "7 + 8")
        self._settle(1, kind="7 + 8")
        rest = [*thirds[2], *self.kept]
        results.append(self._erase("a person, running", rest, "--person", "owner"))
        print(self.command("audit", "verify").strip())
        self.service.stop()
        return results

    def _erase(self, how: str, words: Sequence[str], *options: str) -> tuple[str, int, dict[str, list[str]]]:
        began = time.monotonic()
        said = self.command("erase", "--yes", *options)
        print(f"{how} ({time.monotonic() - began:.1f} s): {' '.join(said.split())}")
        return how, len(words), search(self.folder, words, self.left_out)

    def command(self, *words: str) -> str:
        """A command of the program; raises ``RuntimeError`` when it fails."""
        done = self.service.run(*words)
        if done.returncode != 0:
            raise RuntimeError(f"retainer {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _settle(self, count: int, kind: str = "") -> None:
        """Until so many messages (with ``kind`` in them) are stored and nothing waits."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with reading(self.service.database) as database:
                stored = database.execute(
                    "SELECT COUNT(*) FROM event e JOIN body b ON b.id = e.body_id"
                    " WHERE e.kind = 'message' AND instr(b.bytes, ?) > 0",
                    (kind,),
                ).fetchone()[0]
                waiting = database.execute(
                    "SELECT (SELECT COUNT(*) FROM event WHERE state = 'waiting' AND kind <> 'bar')"
                    " + (SELECT COUNT(*) FROM effect WHERE state IN ('ready', 'sending'))"
                ).fetchone()[0]
            if stored >= count and not waiting:
                return
            time.sleep(0.3)
        raise RuntimeError(f"{stored} of {count} messages after {PATIENCE:.0f} s.\n{self.service.tail()}")


# --- beside it -------------------------------------------------------------------------------------------------------
def plain_sqlite(folder: Path, texts: Sequence[str]) -> None:
    """A table and a search index as they come, rows deleted, database closed."""
    with closing(sqlite3.connect(folder / "plain.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE message (text TEXT)")
        database.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
        for text in texts:
            database.execute("INSERT INTO message VALUES (?)", (text,))
            database.execute("INSERT INTO found VALUES (?)", (text,))
        database.commit()
        database.execute("DELETE FROM message")
        database.execute("DELETE FROM found")
        database.commit()


PEERS = {
    "langgraph": "LangGraph SqliteSaver.delete_thread",
    "mem0": "mem0 delete, delete_all",
    "chroma": "Chroma collection.delete",
}
"""Environments in the folder of ``--peers``, each with its way of deleting."""


def beside(folder: Path, peers: Path | None, texts: dict[str, str]) -> Iterator[tuple[str, int]]:
    """What others leave of the same texts after their own way of deleting."""
    place = folder / "plain"
    place.mkdir()
    plain_sqlite(place, list(texts.values()))
    yield "SQLite and FTS5 as they come", len(search(place, list(texts), set()))
    for name, words in PEERS.items():
        python = peers / name / "bin" / "python" if peers is not None else None
        if python is None or not python.exists():
            continue
        place = folder / name
        place.mkdir()
        script = Path(__file__).with_name("erase_peers") / f"{name}_.py"
        done = subprocess.run(
            [str(python), str(script), str(place)],
            input="\n".join(texts.values()),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
        yield words, len(search(place, list(texts), set()))


def main() -> int:
    """Command line; 0 when nothing is left."""
    parser = argparse.ArgumentParser(description="Erased texts looked for in every file.")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", type=Path, help="folder with an environment each: langgraph, mem0, chroma")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="retainer-erase-"))
    os.chmod(folder, 0o700)
    ours = folder / "ours"
    ours.mkdir()
    left = 0
    with closing(Trial(ours, options.texts, options.seed)) as trial:
        for how, count, found in trial.run():
            left += len(found)
            print(f"  {how:<36}{count:>5} texts erased{len(found):>5} found   bound 0 {'BROKEN' if found else 'ok'}")
            for each, where in list(found.items())[:5]:
                print(f"    {each}: {', '.join(where)}")
        for name, count in beside(folder, options.peers, trial.texts):
            print(f"  beside: {name:<36}{count:>5} of {options.texts} found")
    if left:
        print(f"  records: {folder}")
    else:
        shutil.rmtree(folder)
    print("all bounds hold" if not left else "A BOUND IS BROKEN")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
