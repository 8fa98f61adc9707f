"""How messages, cards and the status line look in a terminal. Pure: values in, text with ANSI colours out."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retainer.chat.bridges.text import FENCE
from retainer.core.protocols import Button, OutgoingMessage

if TYPE_CHECKING:
    from rich.text import Text

MAX_WIDTH = 100
"""Wider lines are hard to read; narrower terminals are used whole."""
_BOLD = re.compile(r"(?<![*\w])\*([^*\n]+)\*(?![*\w])")
_STATE_STYLE = {"running": "ansigreen", "paused": "ansiyellow", "stopped": "ansired"}
_STATE_SIGN = {"running": "●", "paused": "‖", "stopped": "■"}


@dataclass(frozen=True, slots=True)
class TerminalStatus:
    """What the status line shows. Empty fields are left out."""

    bot: str = ""
    """``running``, ``paused`` or ``stopped``."""
    model: str = ""
    """The model and what it does, in a few words."""
    progress: float | None = None
    """Share of the model that was fetched, 0 to 1; ``None`` when nothing is being fetched."""
    rate: str = ""
    """How fast it is fetched, in words."""
    equity: str = ""
    """What the account is worth, with its currency."""
    note: str = ""
    """Anything else that matters now."""


def bar(share: float, width: int = 12) -> str:
    """A progress bar of ``width`` cells."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    partial = "" if not part else " ▏▎▍▌▋▊▉"[part]
    return ("█" * full + partial).ljust(width, "░")


def status_line(status: TerminalStatus, width: int) -> list[tuple[str, str]]:
    """The status line as styled fragments, cut to ``width`` columns; what matters most stands first."""
    pieces: list[tuple[str, str]] = []
    if status.bot:
        style = _STATE_STYLE.get(status.bot, "")
        pieces.append((style, f"{_STATE_SIGN.get(status.bot, '')} {status.bot}"))
    if status.equity:
        pieces.append(("", status.equity))
    if status.progress is not None:
        cells = 12 if width >= 70 else 6
        words = f"{status.model} {bar(status.progress, cells)} {status.progress:.0%} {status.rate}".strip()
        pieces.append(("ansicyan", words))
    elif status.model:
        pieces.append(("", status.model))
    if status.note:
        pieces.append(("ansiyellow", status.note))
    line: list[tuple[str, str]] = []
    left = width - 1
    for style, text in pieces:
        part = f" {text} " if not line else f"│ {text} "
        if left <= 3:
            break
        line.append((style, part if len(part) <= left else part[: left - 1] + "…"))
        left -= len(part)
    return line


def choices(buttons: tuple[Button, ...]) -> str:
    """``1 Approve   2 Reject``."""
    return "   ".join(f"[{number}] {button.text}" for number, button in enumerate(buttons, start=1))


def plain(message: OutgoingMessage) -> str:
    """The message for a pipe: every character, no colours."""
    lines = [message.text] if message.text else []
    if message.picture:
        lines.append(f"(picture: {message.picture})")
    if message.buttons:
        lines.append(choices(message.buttons))
    return "\n".join(lines)


def render(message: OutgoingMessage, width: int, *, changed: bool = False) -> str:
    """The message with colours: replies as text, cards in a frame with numbered choices."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, color_system="standard", width=max(20, min(width, MAX_WIDTH)), highlight=False
    )
    body = styled(message.text)
    if message.buttons:
        keys = Text()
        for number, button in enumerate(message.buttons, start=1):
            keys.append(f" {number} ", style="reverse")
            keys.append(f" {button.text}   ", style="bold")
        console.print(
            Panel(Group(body, Text(""), keys), border_style="yellow", title="Your decision", title_align="left")
        )
    elif changed:
        console.print(Panel(body, border_style="bright_black", title="Update", title_align="left"))
    else:
        console.print(body)
    if message.picture:
        console.print(Text(f"picture: {message.picture}", style="bright_black"))
    return out.getvalue()


def styled(text: str) -> Text:
    """``text`` as rich text: ``*bold*`` and code blocks styled, every other character as it is."""
    from rich.text import Text

    result = Text()
    code = False
    for number, line in enumerate(text.split("\n")):
        if line.startswith(FENCE):
            code = not code
            continue
        if number and len(result):
            result.append("\n")
        if code:
            result.append(line, style="cyan")
            continue
        last = 0
        for match in _BOLD.finditer(line):
            result.append(line[last : match.start()])
            result.append(match[1], style="bold")
            last = match.end()
        result.append(line[last:])
    return result


def live(text: str, width: int, height: int) -> str:
    """The end of a growing reply that fits into ``height`` lines of ``width`` columns."""
    import textwrap

    columns = max(10, min(width, MAX_WIDTH) - 1)
    lines: list[str] = []
    for line in text.split("\n"):
        lines += textwrap.wrap(line, columns) or [""]
    return "\n".join(lines[-max(1, height) :])
