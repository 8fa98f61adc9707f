"""``retainer audit verify`` and ``retainer audit anchor``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from retainer.app.anchoring import append_line, read_lines
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.backups import in_server
from retainer.app.store import open_outside, open_view
from retainer.core.clock import SystemClock
from retainer.core.errors import InvalidInputError
from retainer.safety import audit
from retainer.safety.audit import Anchor, Problem

_SHAPE = re.compile(r"\s*(\d{1,12}):([0-9a-f]{64})\s*")


def parse_anchor(text: str) -> Anchor:
    """``COUNT:HEAD`` as the owner was told it. Raises :class:`InvalidInputError`."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise InvalidInputError(
            f"{text!r} is no anchor.", hint="Copy it whole from a message: the count, a colon, 64 letters and digits."
        )
    return Anchor(int(found[1]), found[2])


def run_verify(settings: Settings, told: Sequence[str], *, as_json: bool) -> int:
    """Recompute every chain and compare it with the anchors told and with those in the file; 1 when one differs."""
    given = [parse_anchor(text) for text in told]
    kept = [Anchor(count, head) for count, head in read_lines(DataFolder(settings.data).anchors)]
    with open_view(settings) as view:
        report = audit.verify_anchored(view, [*given, *kept])
        lost = [] if in_server(settings) else _not_kept(audit.made(view), kept)
    report = replace(report, problems=(*report.problems, *lost))
    if as_json:
        problems = [{"chain": each.lane, "entry": each.n, "what": each.what} for each in report.problems]
        sys.stdout.write(
            json.dumps(
                {"ok": report.ok, "entries": report.entries, "anchors": len(given) + len(kept)} | {"problems": problems}
            )
            + "\n"
        )
        return 0 if report.ok else 1
    lines = [f"Audit: {report.words}."]
    lines += [f"  {each.lane}, entry {each.n}: {each.what}" for each in report.problems]
    if given or kept:
        lines.append(f"Compared with {len(given)} anchors told and {len(kept)} in the file.")
    else:
        lines.append("There is no anchor yet: a chain cut or rewritten as a whole cannot be seen without one.")
    if not report.ok:
        lines.append("  -> Keep this folder as it is; `retainer backup --list` shows copies to compare with.")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if report.ok else 1


def _not_kept(made: Sequence[Anchor], kept: Sequence[Anchor]) -> list[Problem]:
    """Anchors that the file had and has no more; the newest may still be on its way there. Of several machines on one
    database each has only its own.
    """
    lines = set(kept)
    lost = [each for each in made[:-1] if each not in lines]
    words = f"deleted: {len(lost)} of the {len(made)} anchors are missing in their file"
    return [Problem(audit.ANCHORS, lost[0].count, words)] if lost else []


def run_anchor(settings: Settings) -> int:
    """Make an anchor now, put it into the file and print it."""
    now = SystemClock().now()
    with open_outside(settings) as store:
        made = store.write_now(lambda tx: audit.anchor(tx, now))
    append_line(DataFolder(settings.data).anchors, made.count, made.head, now)
    sys.stdout.write(
        f"{made.count}:{made.head}\n"
        f"It speaks for {made.entries:,} entries in {made.chains} chains. Keep it outside this machine.\n"
    )
    return 0
