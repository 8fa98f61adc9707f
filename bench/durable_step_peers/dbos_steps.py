"""DBOS on SQLite: python dbos_steps.py FILE STEPS FLOWS. Prints seconds of each step, and of FLOWS flows of 25 steps.

Its schema needs SQLite 3.42 or newer; where Python's own is older, pysqlite3 takes its place.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time

if sqlite3.sqlite_version_info < (3, 42):
    import pysqlite3  # type: ignore[import-not-found]

    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2

from dbos import DBOS

DBOS(config={"name": "steps", "system_database_url": f"sqlite:///{sys.argv[1]}", "log_level": "ERROR"})


@DBOS.step()  # type: ignore[untyped-decorator]
def step(number: int) -> int:
    return number


@DBOS.workflow()  # type: ignore[untyped-decorator]
def flow(count: int) -> list[float]:
    took = []
    for number in range(count):
        began = time.perf_counter()
        step(number)
        took.append(time.perf_counter() - began)
    return took


DBOS.launch()
flow(3)
steps = flow(int(sys.argv[2]))
flows = int(sys.argv[3])
began = time.perf_counter()
for handle in [DBOS.start_workflow(flow, 25) for _ in range(flows)]:
    handle.get_result()
print(json.dumps({"steps": steps, "rate": flows * 25 / (time.perf_counter() - began)}), flush=True)
os._exit(0)
