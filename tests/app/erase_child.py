"""``retainer erase`` that dies at a chosen write: ``python erase_child.py WISH FOLDER=POINT...``.

The wish is the arguments of :class:`~retainer.memory.erasing.Wish` as JSON. A point is a call that writes, counted from
1; 0: undisturbed. Each folder is erased by a process of its own, and how many points that one came to is printed,
unless it died.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from retainer.app import erasing
from retainer.app.config import load_settings
from retainer.memory.erasing import Wish

WRITES = {"execute", "executemany", "fsync", "replace", "rename", "unlink", "write"}


def main(wish: Wish, folder: str, point: int) -> None:
    """Erase it, and die at ``point``."""
    passed = 0

    def passing(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal passed
        if event == "c_call" and called.__name__ in WRITES:
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings(data=Path(folder), model="none", telegram={"enabled": False})
    threading.setprofile(passing)
    sys.setprofile(passing)
    erasing.erase(settings, wish)
    sys.setprofile(None)
    print(passed, flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for each in sys.argv[2:]:
        place, _, chosen = each.rpartition("=")
        child = os.fork()
        if child == 0:
            main(Wish(**json.loads(sys.argv[1])), place, int(chosen))
            os._exit(0)
        os.waitpid(child, 0)
