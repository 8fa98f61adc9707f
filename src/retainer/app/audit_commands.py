"""``retainer audit verify`` and ``retainer audit anchor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from retainer.app.anchoring import SHAPE, append_line, read_anchors, unkept
from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.operations.backups import in_server
from retainer.app.store import open_outside, open_view
from retainer.core.clock import SystemClock
from retainer.core.errors import InvalidInputError, RetainerError
from retainer.core.protocols import Tx
from retainer.safety import audit
from retainer.safety.audit import Anchor, Anchored, Problem, Report


def parse_anchor(text: str) -> Anchor:
    """``COUNT:HEAD`` as the owner was told it. Raises :class:`InvalidInputError`."""
    found = SHAPE.fullmatch(text)
    if found is None:
        raise InvalidInputError(
            f"{text!r} is no anchor.", hint="Copy it whole from a message: the count, a colon, 64 letters and digits."
        )
    return Anchor(int(found[1]), found[2])


def check(settings: Settings, told: Sequence[Anchor] = ()) -> tuple[Report, int]:
    """Every chain recomputed and compared with the anchors told, with those in the file and with those in the records,
    and how many the file has.
    """
    path, problems = DataFolder(settings.data).anchors, list[Problem]()
    kept: list[Anchor] = []
    try:
        kept = read_anchors(path).made  # before the records are looked at: what is made meanwhile is in none of both
    except OSError as error:
        problems.append(Problem(audit.ANCHORS, 0, f"unreadable: {path.name}: {error.strerror or error}"))
    with open_view(settings) as view:
        try:
            report = audit.verify_anchored(view, list(dict.fromkeys([*told, *kept, *audit.made(view)])))
            if not problems and not in_server(settings):  # of several machines on a server each has only its own
                problems += unkept(view, path)
        except RetainerError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever writes past us may take tables and columns away
            report = Report(0, {}, (Problem("?", 0, f"unreadable: the records: {' '.join(str(error).split())}"),))
    return replace(report, problems=(*report.problems, *problems)), len(kept)


def run_verify(settings: Settings, told: Sequence[str], *, as_json: bool) -> int:
    """Say what :func:`check` found; 1 when something differs."""
    given = [parse_anchor(text) for text in told]
    report, kept = check(settings, given)
    if as_json:
        problems = [{"chain": each.lane, "entry": each.n, "what": each.what} for each in report.problems]
        sys.stdout.write(
            json.dumps(
                {"ok": report.ok, "entries": report.entries, "anchors": len(given) + kept} | {"problems": problems}
            )
            + "\n"
        )
        return 0 if report.ok else 1
    lines = [f"Audit: {report.words}."]
    lines += [f"  {each.lane}, entry {each.n}: {each.what}" for each in report.problems]
    if given or kept:
        lines.append(f"Compared with {len(given)} anchors told and {kept} in the file.")
    else:
        lines.append("There is no anchor yet: a chain cut or rewritten as a whole cannot be seen without one.")
    if not report.ok:
        lines.append("  -> Keep this folder as it is; `retainer backup --list` shows copies to compare with.")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if report.ok else 1


def run_anchor(settings: Settings) -> int:
    """Make an anchor now, put it into the file and print it."""
    now, path = SystemClock().now(), DataFolder(settings.data).anchors

    def make(tx: Tx) -> Anchored:
        made = audit.anchor(tx, now)
        append_line(path, Anchor(made.count, made.head), now, begun=True)
        return made

    try:
        with open_outside(settings) as store:
            made = store.write_now(make)
        append_line(path, Anchor(made.count, made.head), now)
    except OSError as error:
        raise RetainerError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Move away what is there, or mend its permissions.",
        ) from error
    sys.stdout.write(
        f"{made.count}:{made.head}\n"
        f"It speaks for {made.entries:,} entries in {made.chains} chains. Keep it outside this machine.\n"
    )
    return 0
