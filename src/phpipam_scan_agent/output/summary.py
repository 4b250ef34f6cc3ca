"""What goes to stdout: the table or the JSON that closes a run, and the checks."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import VERSION
from ..models import Check, Outcome, Summary
from ..system.redact import safe

log = logging.getLogger(__name__)

NARROW = 72
"""Columns below which a table would cut its numbers; a line for each subnet takes its place."""


def summarise(summary: Summary, output_format: str | None, dry_run: bool, quiet: bool) -> None:
    """Close the run on stdout: as asked for, else a table on a terminal and nothing otherwise."""
    with _stdout() as console:
        if output_format == "json":
            document = {
                "version": VERSION,
                "dry_run": dry_run,
                "subnets": [_as_json(outcome) for outcome in summary.outcomes],
                "problems": [safe(problem) for problem in summary.problems],
            }
            print(json.dumps(document, indent=2))  # noqa: T201
        elif output_format == "table" or (console.is_terminal and not quiet):
            outcomes = sorted(summary.outcomes, key=lambda outcome: outcome.id or 0)
            if console.width < NARROW:
                console.print("\n".join(map(_line, outcomes)))
            else:
                console.print(_table(outcomes, dry_run))


def show_checks(checks: Iterable[Check], output_format: str | None) -> bool:
    """Show each check as it comes, with the way to mend what it found, or all as JSON; return whether all passed."""
    seen: list[Check] = []
    with _stdout() as console:
        for each in checks:
            seen.append(each)
            if output_format != "json":
                mark = "[red]✗[/]" if not each.passed else "[yellow]![/]" if each.advice else "[green]✓[/]"
                advice = f" → {escape(safe(each.advice))}" if each.advice else ""
                console.print(f"{mark} {each.name}: {escape(safe(each.detail))}{advice}")
        if output_format == "json":
            document = {"version": VERSION, "checks": [_check_as_json(each) for each in seen]}
            print(json.dumps(document, indent=2))  # noqa: T201
    return all(each.passed for each in seen)


@contextmanager
def _stdout() -> Iterator[Console]:
    """Write to stdout, whatever it can take: it may be Latin-1, full, or gone."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield Console(emoji=False, highlight=False, soft_wrap=True)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `| head` has seen enough
            log.error("stdout cannot be written: %s", error.strerror)
        # What is left in its buffer would raise once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def _check_as_json(each: Check) -> dict[str, object]:
    return {
        "name": each.name,
        "passed": each.passed,
        "detail": safe(each.detail),
        "advice": safe(each.advice) if each.advice else None,
    }


def _table(outcomes: Sequence[Outcome], dry_run: bool) -> Table:
    table = Table(caption="dry run: nothing was uploaded" if dry_run else None)
    table.add_column("subnet", no_wrap=True)
    for heading in ("hosts up", "known", "new", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("uploaded")
    for done in outcomes:
        subnet = escape(safe(done.subnet))
        if done.skipped:
            table.add_row(subnet, "", "", "", "", f"skipped: {done.skipped}", style="dim")
        else:
            counts = (str(done.up), str(done.known), str(done.new), f"{done.seconds:.1f}")
            table.add_row(subnet, *counts, _end(done))
    return table


def _line(done: Outcome) -> str:
    subnet = escape(safe(done.subnet))
    if done.skipped:
        return f"[dim]{subnet}: skipped: {done.skipped}[/]"
    return f"{subnet}: {done.up} up, {done.known} known, {done.new} new, uploaded: {_end(done)}"


def _end(done: Outcome) -> str:
    if done.error:
        return "[red]failed[/]"
    return "yes" if done.uploaded else "[yellow]waiting[/]" if done.waiting else "no"
