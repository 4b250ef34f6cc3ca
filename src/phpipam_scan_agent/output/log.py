"""Log messages on stderr, in the journal and in the log file, as text or as JSON."""

import json
import logging
import os
import sys
from datetime import datetime, timezone
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from .. import NAME
from ..errors import ConfigError, UsageError
from ..system.redact import safe, safe_values
from .console import stderr

log = logging.getLogger(NAME.replace("-", "_"))

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""The journal's priorities of the log levels, from syslog.h."""

MAX_MESSAGES = 1000
"""Maximum number of warnings and errors in a run; the number of subnets in phpIPAM has no limit."""


class _Line(logging.Formatter):
    """Formats a message as one line, masked and without control characters.

    For the journal it begins with the priority, which systemd removes, instead of program and level.
    """

    def __init__(self, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record, safe(record.getMessage()))
        return f"<{PRIORITIES.get(record.levelno, 5)}>{line}" if self._journal else line

    def line(self, record: logging.LogRecord, message: str) -> str:
        return message if self._journal else f"{NAME}: {record.levelname.lower()}: {message}"


class _Dated(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{when} {record.levelname:7} {message}"


class _Json(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields = {"time": when, "level": record.levelname.lower(), "event": message}
        return json.dumps(fields | safe_values(_about(record)))


def _about(record: logging.LogRecord) -> dict[str, object]:
    """Return a message's data fields: subnet, counts, seconds."""
    return getattr(record, "about", {})


class _Limit(logging.Filter):
    """Passes the first warnings and errors and counts the others; the error that ends a run always passes."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        ends_the_run = record.levelno >= logging.ERROR and not _about(record)
        if record.levelno < logging.WARNING or ends_the_run:
            return True
        self.count += 1
        return self.count <= MAX_MESSAGES


class _Screen(logging.Handler):
    """Writes to stderr, above the progress bar while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        # Unbroken lines; the terminal wraps them.
        try:
            stderr().print(self.format(record), markup=False, soft_wrap=True)
        except Exception:  # of a closed pipe or of an invalid message, as in logging's own handlers
            self.handleError(record)


class _LogFile(WatchedFileHandler):
    """A log file of mode 0600, which may be rotated during a run or become unwritable."""

    _warned = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # rotated, and the new file cannot be created
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        # O_NONBLOCK: a FIFO without a reader is an error instead of a wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return TextIOWrapper(open(descriptor, "ab"), encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (the base's)
        error = sys.exc_info()[1]
        if not self._warned:
            self._warned = True
            log.warning(
                "log file %s cannot be written: %s", self.baseFilename, getattr(error, "strerror", error)
            )


def start_logging(verbosity: int, log_format: str, log_file: Path | str | None) -> None:
    """Log to stderr and, at level INFO or below, to the log file. Raise UsageError if it cannot be opened.

    `verbosity` is -1 for errors, 0 for warnings, 1 for INFO, 2 for DEBUG.
    """
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    log.propagate = False
    log.setLevel(min(level, logging.INFO) if log_file else level)
    # No messages of libraries: urllib3 logs URLs, which may contain the scan agent code.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.raiseExceptions = False  # no traceback for a log that cannot be written
    screen = _Screen()
    journal = _is_journal()
    screen.setFormatter(_Json(journal) if log_format == "json" else _Line(journal))
    screen.setLevel(level)
    screen.addFilter(_Limit())
    log.handlers = [screen]
    if log_file:
        try:
            to_file = _LogFile(log_file)
        except OSError as error:
            raise UsageError(f"log file {log_file} cannot be written: {error.strerror}") from None
        to_file.setFormatter(_Json() if log_format == "json" else _Dated())
        to_file.addFilter(_Limit())
        log.addHandler(to_file)


def end_logging() -> None:
    """Log the number of messages that were left out."""
    counts = [each.count for handler in log.handlers for each in handler.filters if isinstance(each, _Limit)]
    if (left_out := max(counts, default=0) - MAX_MESSAGES) > 0:
        log.error("%d more messages were left out; --format json lists all subnets", left_out)


def failed(error: BaseException | str, **about: str) -> None:
    """Log an error as one line with its data fields; a ConfigError as a line for each mistake."""
    for line in error.problems if isinstance(error, ConfigError) else [error]:
        log.error("%s", line, extra={"about": about})


def _is_journal() -> bool:
    """Return whether stderr is the journal: systemd names that stream's device and inode."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
