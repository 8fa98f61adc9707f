"""DBOS doing the same: python dbos_worker.py URL EXECUTOR FOLDER [start]. Its steps are noted like ours."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dbos import DBOS, SetWorkflowID

url, executor, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
DBOS(
    config={
        "name": "takeover",
        "system_database_url": url,
        "executor_id": executor,
        "application_version": "1",
        "log_level": "ERROR",
    }
)


def note(file: str, *words: object) -> None:
    descriptor = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, (" ".join(map(str, (f"{time.time():.6f}", executor, *words))) + "\n").encode())
    os.close(descriptor)


@DBOS.step()  # type: ignore[untyped-decorator]
def step(number: int) -> int:
    note("dbos", number)
    time.sleep(0.02)
    return number


@DBOS.workflow()  # type: ignore[untyped-decorator]
def walk(count: int) -> None:
    for number in range(count):
        step(number)


DBOS.launch()
note("dbos-up")
if len(sys.argv) > 4:
    with SetWorkflowID("w"):
        DBOS.start_workflow(walk, 500)
time.sleep(600)
