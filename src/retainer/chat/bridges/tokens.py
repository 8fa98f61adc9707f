"""The bot token, found in what people paste and followed as it changes."""

from __future__ import annotations

import re
from collections.abc import Callable

from retainer.core.errors import InvalidInputError
from retainer.safety.secrets import Secrets, name_of

_TOKEN = re.compile(r"(?<![\w])(\d{6,16}:[A-Za-z0-9_-]{30,64})(?![\w-])")


def extract_token(pasted: str) -> str:
    """The bot token in ``pasted``: the token alone, or a whole message that holds it once (or the same one twice).

    Raises :class:`InvalidInputError`; its text never repeats what was pasted.
    """
    found = sorted(set(_TOKEN.findall(pasted)))
    if not found:
        raise InvalidInputError(
            "There is no bot token in that.",
            hint="It looks like 123456789:AAE... ; send /newbot to @BotFather in Telegram and paste its answer.",
        )
    if len(found) > 1:
        raise InvalidInputError("There are several different tokens in that.", hint="Paste the one of your bot only.")
    return str(found[0])


def stored_token(secrets: Secrets, handle: str) -> Callable[[], str | None]:
    """A function that gives the token as it is stored now, reading the file again only when it has changed.

    It raises :class:`InvalidInputError` while the file is open to others.
    """
    path = secrets.folder / name_of(handle)
    seen: tuple[object, str | None] | None = None

    def current() -> str | None:
        nonlocal seen
        try:
            status = path.stat()
            mark: object = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
        except OSError:
            mark = None
        if seen is None or seen[0] != mark:
            found = secrets.find(handle)
            seen = (mark, found.reveal() if found else None)
        return seen[1]

    return current
