"""The service's log file: one line a fact, in files of a bounded size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys
from pathlib import Path
import structlog
from retainer.app.config import LogSettings
from retainer.app.logs import setup_logging
from retainer.safety.redact import default_redactor

default_redactor().register("hunter2-hunter2")
setup_logging(Path(sys.argv[1]), LogSettings(max_bytes=10_000, keep=2))
log = structlog.get_logger("ours")
for number in range(500):
    log.info("counted", number=number, note="x" * 40)
try:
    raise ValueError("hunter2-hunter2")
except ValueError:
    log.exception("failed", given="hunter2-hunter2")
    logging.getLogger("theirs").exception("failed with %s", "hunter2-hunter2")
logging.getLogger("theirs").warning({"a mapping": "hunter2-hunter2"})
"""

SHARED = """
import json, os, sys
import structlog
from retainer.app.config import LogSettings
from retainer.app.logs import log_to_stderr
from retainer.safety.redact import default_redactor

class Stream:
    def __init__(self):
        self.writes = []
    def write(self, text):
        self.writes.append(text)
    def flush(self):
        pass

sys.stderr = stream = Stream()
default_redactor().register("hunter2-hunter2")
log_to_stderr(LogSettings())
structlog.get_logger("ours").info("counted", given="hunter2-hunter2")
structlog.get_logger("ours").debug("left out")
print(json.dumps([os.getpid(), stream.writes]))
"""


def test_files_are_bounded_in_size_and_number_and_every_line_is_json_without_secrets(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["retainer.log", "retainer.log.1", "retainer.log.2"]
    assert all(file.stat().st_size < 10_000 + 2_000 for file in files)
    lines = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    numbers = [line["number"] for line in lines if line["event"] == "counted"]
    assert numbers == list(range(numbers[0], 500))
    ours, theirs, mapping = lines[-3:]
    assert (ours["event"], ours["given"], ours["level"], ours["logger"]) == ("failed", "[secret]", "error", "ours")
    assert "ValueError: [secret]" in ours["exception"]
    assert theirs["event"] == "failed with [secret]"
    assert "[secret]" in mapping["event"]
    assert "hunter2" not in "".join(file.read_text() for file in files)


def test_processes_that_print_into_one_stream_do_not_tear_each_others_lines_and_say_who_they_are() -> None:
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)
    process, writes = json.loads(done.stdout)
    assert len(writes) == 1
    assert writes[0].endswith("\n")
    line = json.loads(writes[0])
    assert (line["event"], line["given"], line["process"]) == ("counted", "[secret]", process)


FULL = """
import logging, resource, sys
from pathlib import Path
from retainer.app.config import LogSettings
from retainer.app.logs import setup_logging

path = setup_logging(Path(sys.argv[1]), LogSettings())
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
logging.warning("lost with hunter2")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
logging.warning("there is room again")
"""


def test_a_line_that_a_full_disk_does_not_take_is_nowhere_else_instead(tmp_path: Path) -> None:
    """Python would print it as it is, secrets and all, with a traceback, over the chat."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "there is room again" in (tmp_path / "retainer.log").read_text()
