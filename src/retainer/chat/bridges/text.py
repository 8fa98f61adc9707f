"""Long texts in pieces a channel accepts, and plain text as Telegram's HTML."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from retainer.core.errors import InvalidInputError
from retainer.core.protocols import OutgoingMessage

FENCE = "```"
_BOLD = re.compile(r"(?<![*\w])\*([^*\n]+)\*(?![*\w])")
_BLOCK = re.compile(r"```(\w*)\n(.*?)\n?```(?=\n|$)", re.DOTALL)


def units(text: str) -> int:
    """Length in UTF-16 code units, which is how Telegram counts."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def split_message(message: OutgoingMessage, limit: int | None) -> list[OutgoingMessage]:
    """The message as parts of at most ``limit`` units; buttons stay with the last text, the picture with the last part.

    ``None``: the channel takes any length.
    """
    texts = split_text(message.text, limit) if limit else [message.text]
    if len(texts) == 1:
        return [message]
    parts = [OutgoingMessage(text=text) for text in texts[:-1]]
    return [*parts, replace(message, text=texts[-1])]


def split_text(text: str, limit: int = 4000) -> list[str]:
    """Pieces of at most ``limit`` UTF-16 units, cut at paragraphs, else lines, else words, else characters.

    A code block that has to be cut is closed in one piece and opened again in the next, so every piece reads as it
    should. A text that fits is returned as it is; nothing but white space at a cut is ever dropped.
    """
    if limit < 100:
        raise InvalidInputError(f"A piece of {limit} units is too short to cut texts for.", hint="Use at least 100.")
    pieces: list[str] = []
    rest = text
    while units(rest) > limit:
        room = limit - len(FENCE) - 1
        cut = _cut_at(rest, room)
        head, rest = rest[:cut].rstrip(), rest[cut:].lstrip("\n")
        opening = _open_fence(head)
        if opening:
            before = _before_block(head, opening)
            if before is not None:
                head, rest = before, f"{head[len(before) :].lstrip()}\n{rest}"
            else:
                again = opening if len(opening) <= 12 else FENCE
                head, rest = f"{head}\n{FENCE}", f"{again}\n{rest}"
        if head.strip():
            pieces.append(head)
    if rest.strip() or not pieces:
        pieces.append(rest)
    return pieces


def _cut_at(text: str, room: int) -> int:
    """Index at which to cut so that ``text[:index]`` has at most ``room`` units."""
    end, used = 0, 0
    for char in text:
        used += 2 if ord(char) > 0xFFFF else 1
        if used > room:
            break
        end += 1
    for border in ("\n\n", "\n", " "):
        at = text.rfind(border, end // 2, end)
        if at > 0:
            return at + len(border)
    return max(end, 1)


def _open_fence(text: str) -> str:
    """The opening line of a code block left open in ``text``, or nothing."""
    opening = ""
    for line in text.split("\n"):
        if line.startswith(FENCE):
            opening = "" if opening else line
    return opening


def _before_block(head: str, opening: str) -> str | None:
    """``head`` up to its open code block, if enough stands before it to be worth a piece of its own."""
    at = head.rfind(opening)
    before = head[:at].rstrip()
    return before if units(before) > units(head) // 4 else None


def to_html(text: str) -> str:
    """Telegram's HTML for ``text``: every character shown, ``*bold*`` and code blocks rendered."""
    out: list[str] = []
    last = 0
    for block in _BLOCK.finditer(text):
        out.append(_inline(text[last : block.start()]))
        out.append(f"<pre>{html.escape(block.group(2), quote=False)}</pre>")
        last = block.end()
    out.append(_inline(text[last:]))
    return "".join(out)


def _inline(text: str) -> str:
    return _BOLD.sub(r"<b>\1</b>", html.escape(text, quote=False))


def readable(text: str) -> str:
    """``text`` without what no one can read or no database can keep: control characters and lone surrogates."""
    return "".join(char for char in text if char in "\n\t" or not _is_control(ord(char)))


def _is_control(point: int) -> bool:
    return point < 0x20 or 0x7F <= point <= 0x9F or 0xD800 <= point <= 0xDFFF
