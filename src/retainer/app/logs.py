"""Logging: JSON lines in a rotating file under the data folder, redacted before anything is written."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NoReturn

from retainer.app.config import LogSettings
from retainer.core.errors import RetainerError


class _RotatingFile(logging.handlers.RotatingFileHandler):
    """Begins a new file once this one is full; the line that fills it is still written into it.

    The base class formats every line a second time to know its length before.
    """

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the base class's name
        return self.stream is not None and self.stream.tell() >= self.maxBytes

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Nothing: a full disk did not take the line, and the base class would print it unredacted."""


def quiet_logging() -> None:
    """For commands: what goes wrong is said in their own words, so nothing is logged into their output."""
    import structlog

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[_drop])


def library_logging() -> None:
    """For use as a library: redacted lines go to the program's own ``logging``, unless it configured structlog."""
    import structlog

    from retainer.safety.redact import redact_processor

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            redact_processor,
            _free_names,
            structlog.stdlib.render_to_log_kwargs,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


_TAKEN = (frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}) - {"exc_info", "stack_info"}


def _free_names(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``logging`` raises for values under names of its own (``args``, ``name``), in the middle of whoever logs them."""
    return {f"{key}_" if key in _TAKEN else key: value for key, value in event.items()}


def _drop(_logger: object, _method: str, _event: object) -> NoReturn:
    import structlog

    raise structlog.DropEvent


def setup_logging(folder: Path, settings: LogSettings, *, console: bool = False) -> Path:
    """Send all logging (ours and libraries') to ``folder/retainer.log``; returns that path.

    ``console`` also shows warnings and worse on standard error. Redaction is installed first, so a library that logs a
    URL with a token in it cannot leak it. Raises :class:`RetainerError` when the file cannot be written.
    """
    import structlog

    from retainer.safety.redact import RedactingFilter, redact_processor

    path = folder / "retainer.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _RotatingFile(path, maxBytes=settings.max_bytes, backupCount=settings.keep)
        path.chmod(0o600)
    except OSError as error:
        raise RetainerError(
            f"The log {path} cannot be written: {error.strerror or error}.",
            hint="Move away what is there, mend its permissions or free space on its disk.",
        ) from error
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact_processor,
            structlog.processors.JSONRenderer(),
        ],
    )
    handlers: list[logging.Handler] = [handler]
    if console:
        stderr = logging.StreamHandler()
        stderr.setLevel(logging.WARNING)
        handlers.append(stderr)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    for each in handlers:
        each.setFormatter(formatter)
        each.addFilter(RedactingFilter(formatted=True))
        root.addHandler(each)
    root.setLevel(settings.level)
    # Who called from which thread is not in our lines, and finding it out costs as much as writing them.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return path


def log_to_stderr(settings: LogSettings) -> None:
    """Our own lines as JSON on standard error, redacted: for a process whose host collects what it prints.

    Each says from which process it is: a host may have several that print into one stream.
    """
    import structlog

    from retainer.safety.redact import redact_processor

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _name_process,
            structlog.processors.format_exc_info,
            redact_processor,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line in one write, also where nothing is buffered
        cache_logger_on_first_use=True,
    )


def _name_process(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["process"] = os.getpid()
    return event
