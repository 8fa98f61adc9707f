"""``retainer totp``: set up the authenticator app that approves limits, mandates and arming; on this machine only.

The secret is shown once, as a code to scan, and counts only after a code from the app was typed; it is kept as the
secret ``totp`` in the data folder, never in the database, a log or a message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from getpass import getpass

from retainer.app.config import Settings
from retainer.app.folder import DataFolder
from retainer.app.store import exists, open_outside
from retainer.chat.bridges.telegram_setup import qr
from retainer.core.clock import Clock, SystemClock
from retainer.core.errors import NotFoundError, RefusedError, RetainerError
from retainer.safety import totp
from retainer.safety.secrets import Secrets

HANDLE = "secret:totp"
TRIES = 3


def totp_secret(secrets: Secrets) -> Callable[[], str | None]:
    """What the guard asks for the authenticator's secret; ``None`` while none is set up or its file is not private."""

    def current() -> str | None:
        try:
            found = secrets.find(HANDLE)
        except RetainerError:
            return None
        return None if found is None else found.reveal()

    return current


def run_totp(
    settings: Settings, *, remove: bool, read: Callable[[str], str] | None = None, clock: Clock | None = None
) -> int:
    """Set the authenticator up, or take it away; both are told apart from a change by the code of the present one."""
    if read is None and not sys.stdin.isatty():
        raise RefusedError("The authenticator is set up by a person at this machine.", hint="Run it in a terminal.")
    read, clock = read or getpass, clock or SystemClock()
    folder = DataFolder(settings.data).make()
    if not exists(settings):
        raise NotFoundError("There is no data folder yet.", hint="Start once with: retainer up")
    secrets = Secrets(folder.secrets)
    held = secrets.find(HANDLE)
    if held is not None and not typed_code(settings, held.reveal(), read, clock, "Code of the present authenticator: "):
        raise RefusedError(
            "That is not its present code.", hint=f"Without the phone, delete {folder.secrets / 'totp'}."
        )
    if remove:
        secrets.remove(HANDLE)
        sys.stdout.write(
            "The authenticator is removed: what needs its code cannot be approved until a new one is set.\n"
        )
        return 0
    fresh = totp.new_secret()
    sys.stdout.write(_shown(fresh))
    sys.stdout.flush()
    for _ in range(TRIES):
        if typed_code(settings, fresh, read, clock, "Type the six digits that it shows now: "):
            secrets.store(HANDLE, fresh)
            sys.stdout.write(
                "Set up. Whatever an agent wants to change of limits, mandates or people now asks for its code.\n"
            )
            return 0
        sys.stdout.write("That is not the code; check the phone's clock and wait for the next one.\n")
    raise RefusedError("It was not set up; nothing changed.", hint="Run: retainer totp")


def typed_code(settings: Settings, secret: str, read: Callable[[str], str], clock: Clock, prompt: str) -> bool:
    """Whether the person at this machine types a present code of ``secret``; it is spent then."""
    code = read(prompt)
    with open_outside(settings) as store:
        return store.write_now(lambda tx: totp.spend(tx, secret, code, clock.now()))


def _shown(secret: str) -> str:
    spaced = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
    picture = qr(totp.uri(secret, "owner"))
    return f"{picture}\nScan this with an authenticator app, or type the key: {spaced}\nIt is shown once.\n"
