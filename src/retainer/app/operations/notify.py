"""Word to the service manager (systemd's ``sd_notify``): a datagram of ``KEY=value`` lines to ``$NOTIFY_SOCKET``."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends if the service manager listens, otherwise does nothing."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        given = os.environ if environ is None else environ
        self._address = given.get("NOTIFY_SOCKET", "")
        mine = given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micros = given.get("WATCHDOG_USEC", "") if mine else ""
        self.watchdog_seconds = int(micros) / 1e6 if micros.isdigit() else 0.0
        """How long the manager waits for a sign of life before it kills; 0 when it does not watch."""

    def __bool__(self) -> bool:
        return bool(self._address)

    def ready(self) -> bool:
        """The service can be used."""
        return self.send("READY=1")

    def alive(self) -> bool:
        """A sign of life for the watchdog."""
        return self.send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The service is ending."""
        return self.send("STOPPING=1")

    def status(self, words: str) -> bool:
        """One line for ``systemctl status``."""
        return self.send(f"STATUS={' '.join(words.split())}")

    def send(self, text: str) -> bool:
        """Send ``text``; ``False`` when nobody listens or it could not be sent (a manager's trouble is not ours)."""
        if not self._address:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
                wire.settimeout(1.0)
                wire.sendto(text.encode(), address)
        except OSError:
            return False
        return True
