"""Messages: to the screen, to the journal, to a log file; for people or for machines."""

import json
import logging
import os
import sys
from datetime import datetime, timezone
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from .. import NAME
from ..errors import ConfigError, UsageError
from ..masking import safe

log = logging.getLogger(NAME.replace("-", "_"))

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""What the journal calls our levels, from syslog.h."""


class _Line(logging.Formatter):
    """One safe line a message."""

    def format(self, record: logging.LogRecord) -> str:
        return self.line(record, safe(record.getMessage()))

    def line(self, record: logging.LogRecord, message: str) -> str:
        return f"{NAME}: {record.levelname.lower()}: {message}"


class _Journal(_Line):
    """A line with the priority that systemd takes off its front again."""

    def line(self, record: logging.LogRecord, message: str) -> str:
        return f"<{PRIORITIES.get(record.levelno, 5)}>{message}"


class _Dated(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{when} {record.levelname:7} {message}"


class _Json(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        about = {
            key: safe(value) if isinstance(value, str) else value for key, value in _about(record).items()
        }
        return json.dumps({"time": when, "level": record.levelname.lower(), "event": message} | about)


def _about(record: logging.LogRecord) -> dict[str, object]:
    """Return what a message is about, as its maker gave it: the subnet, counts, seconds."""
    return getattr(record, "about", {})


class _Screen(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the moment, which a progress bar takes over to stay below the lines."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LogFile(WatchedFileHandler):
    """A log file that nobody else reads, may be rotated in the middle of a run, or no longer be writable."""

    _told = False

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return TextIOWrapper(open(descriptor, "ab"), encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (the base's)
        error = sys.exc_info()[1]
        if not self._told:
            self._told = True
            log.warning(
                "log file %s cannot be written: %s", self.baseFilename, getattr(error, "strerror", error)
            )


def start_logging(verbosity: int, log_format: str, log_file: Path | None) -> None:
    """Send messages to stderr and, with each step, to the log file. Raise UsageError if it cannot be opened.

    `verbosity` is -1 for errors, 0 for warnings, 1 for each step, 2 for everything.
    """
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    log.propagate = False
    log.setLevel(min(level, logging.INFO) if log_file else level)
    # Libraries stay silent: urllib3 logs whole URLs, and one of ours holds the scan agent code.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    screen = _Screen()
    text = _Journal() if _goes_to_the_journal() else _Line()
    screen.setFormatter(_Json() if log_format == "json" else text)
    screen.setLevel(level)
    log.handlers = [screen]
    if log_file:
        try:
            to_file = _LogFile(log_file)
        except OSError as error:
            raise UsageError(f"log file {log_file} cannot be written: {error.strerror}") from None
        to_file.setFormatter(_Json() if log_format == "json" else _Dated())
        log.addHandler(to_file)


def failed(*errors: BaseException | str) -> None:
    """Name each failure in a line; every mistake in the configuration has its own."""
    for error in errors:
        for line in error.problems if isinstance(error, ConfigError) else [error]:
            log.error("%s", line)


def _goes_to_the_journal() -> bool:
    """Return whether systemd has tied stderr to the journal: it names the device and inode of that."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
