"""What closes a run on stdout: a table, JSON, or nothing."""

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import VERSION
from ..masking import safe
from ..models import Check, Outcome, Summary


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


def show_checks(checks: Sequence[Check], output_format: str | None) -> None:
    """Show each check in a line, with the way to mend what it found; as JSON if asked for."""
    if output_format == "json":
        document = {"version": VERSION, "checks": [_check_as_json(each) for each in checks]}
        print(json.dumps(document, indent=2))  # noqa: T201
        return
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    for each in checks:
        mark = "[red]✗[/]" if not each.passed else "[yellow]![/]" if each.advice else "[green]✓[/]"
        advice = f" → {escape(safe(each.advice))}" if each.advice else ""
        console.print(f"{mark} {each.name}: {escape(safe(each.detail))}{advice}")


def _check_as_json(each: Check) -> dict[str, object]:
    return {
        "name": each.name,
        "passed": each.passed,
        "detail": safe(each.detail),
        "advice": safe(each.advice) if each.advice else None,
    }
