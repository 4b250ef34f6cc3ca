"""All that a person or a log reads: messages, log file, closing table. The only module that prints."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import NAME, VERSION
from .errors import ConfigError, UsageError
from .masking import safe
from .models import Outcome, Summary

log = logging.getLogger(__package__)


class _Line(logging.Formatter):
    """One safe line a message."""

    def format(self, record: logging.LogRecord) -> str:
        return self.line(record, safe(record.getMessage()))

    def line(self, record: logging.LogRecord, message: str) -> str:
        return f"{NAME}: {record.levelname.lower()}: {message}"


class _Dated(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{when} {record.levelname:7} {message}"


class _Json(_Line):
    def line(self, record: logging.LogRecord, message: str) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "level": record.levelname.lower(), "event": message})


class _LogFile(logging.FileHandler):
    """A log file that may stop to be writable in the middle of a run, which is said once."""

    _told = False

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
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(_Json() if log_format == "json" else _Line())
    screen.setLevel(level)
    log.handlers = [screen]
    if log_file:
        try:
            os.close(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            to_file = _LogFile(log_file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UsageError(f"log file {log_file} cannot be written: {error.strerror}") from None
        to_file.setFormatter(_Json() if log_format == "json" else _Dated())
        log.addHandler(to_file)


def failed(*errors: BaseException | str) -> None:
    """Name each failure in a line; every mistake in the configuration has its own."""
    for error in errors:
        for line in error.problems if isinstance(error, ConfigError) else [error]:
            log.error("%s", line)


def summarise(summary: Summary, output_format: str | None, dry_run: bool, quiet: bool) -> None:
    """Close the run on stdout: as asked for, else a table on a terminal and nothing otherwise."""
    if output_format == "json":
        document = {
            "version": VERSION,
            "dry_run": dry_run,
            "subnets": [_as_json(outcome) for outcome in summary.outcomes],
            "problems": [safe(problem) for problem in summary.problems],
        }
        print(json.dumps(document, indent=2))  # noqa: T201
    elif output_format == "table" or (sys.stdout.isatty() and not quiet):
        Console(emoji=False).print(_table(summary.outcomes, dry_run))


def _as_json(done: Outcome) -> dict[str, object]:
    return {
        "id": done.id,
        "subnet": safe(done.subnet),
        "up": done.up,
        "known": done.known,
        "new": done.new,
        "seconds": round(done.seconds, 3),
        "uploaded": done.uploaded,
        "waiting": done.waiting,
        "skipped": done.skipped,
        "error": safe(done.error) if done.error else None,
    }


def _table(outcomes: Sequence[Outcome], dry_run: bool) -> Table:
    table = Table(caption="dry run: nothing was uploaded" if dry_run else None)
    table.add_column("subnet", no_wrap=True)
    for heading in ("hosts up", "known", "new", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("uploaded")
    for done in sorted(outcomes, key=lambda done: done.id or 0):
        subnet = escape(safe(done.subnet))
        if done.skipped:
            table.add_row(subnet, "", "", "", "", f"skipped: {done.skipped}", style="dim")
        else:
            counts = (str(done.up), str(done.known), str(done.new), f"{done.seconds:.1f}")
            end = "yes" if done.uploaded else "[yellow]waiting[/]" if done.waiting else "no"
            end = "[red]failed[/]" if done.error else end
            table.add_row(subnet, *counts, end)
    return table
