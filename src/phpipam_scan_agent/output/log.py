"""Messages: to the screen, to the journal, to a log file; for people or for machines."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from rich.console import Console

from .. import NAME
from ..errors import ConfigError, UsageError
from ..system.redact import safe

log = logging.getLogger(NAME.replace("-", "_"))

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""What the journal calls our levels, from syslog.h."""


class _Line(logging.Formatter):
    """One safe line a message."""

    def format(self, record: logging.LogRecord) -> str:
        return self.line(record, safe(record.getMessage()))

    def line(self, record: logging.LogRecord, message: str) -> str:
        return f"{NAME}: {record.levelname.lower()}: {message}"


class _Journal(logging.Formatter):
    """Puts a priority before a line, which systemd takes off again."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return f"<{PRIORITIES.get(record.levelno, 5)}>{self._bare(record)}"

    def _bare(self, record: logging.LogRecord) -> str:
        line = self._inner.format(record)
        return line.removeprefix(f"{NAME}: {record.levelname.lower()}: ")


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


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]  # subscriptable from Python 3.11 on only
    """Writes to stderr, or above the progress bar while there is one."""

    console: Console | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.console:
            # Whole lines, however narrow the terminal is; it wraps by itself.
            self.console.print(self.format(record), markup=False, soft_wrap=True)
        else:
            super().emit(record)


@contextmanager
def above(console: Console) -> Iterator[None]:
    """Write messages by way of a console, which keeps something below them, until the end of the block."""
    _Screen.console = console
    try:
        yield
    finally:
        _Screen.console = None


class _LogFile(WatchedFileHandler):
    """A log file that nobody else reads, may be rotated in the middle of a run, or no longer be writable."""

    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # rotated away, and no new one can be made
            self.handleError(record)

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
    if sys.stderr is None:  # closed by the caller
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the end)
    screen = _Screen(sys.stderr)
    text = _Json() if log_format == "json" else _Line()
    screen.setFormatter(_Journal(text) if _goes_to_the_journal() else text)
    screen.setLevel(level)
    log.handlers = [screen]
    if log_file:
        try:
            to_file = _LogFile(log_file)
        except OSError as error:
            raise UsageError(f"log file {log_file} cannot be written: {error.strerror}") from None
        to_file.setFormatter(_Json() if log_format == "json" else _Dated())
        log.addHandler(to_file)


def failed(error: BaseException | str, **about: str) -> None:
    """Name a failure in a line, and what it is about; every mistake in the configuration has its own."""
    for line in error.problems if isinstance(error, ConfigError) else [error]:
        log.error("%s", line, extra={"about": about})


def _goes_to_the_journal() -> bool:
    """Return whether systemd has tied stderr to the journal: it names the device and inode of that."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
