"""Questions that a command asks the person at this machine."""

from __future__ import annotations

import sys

from retainer.core.errors import InvalidInputError


def agreed(question: str) -> bool:
    """Whether they say yes. Raises :class:`InvalidInputError` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InvalidInputError("There is nobody to ask here.", hint="Say --yes if you mean it.")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
