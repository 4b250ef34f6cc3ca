"""The results on stdout: a table or JSON at the end of a run, and the checks of `--check`."""

import json
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from .. import VERSION
from ..models import Check, Outcome, Summary
from ..system.redact import safe
from .console import stdout

NARROW = 72
"""Terminal width in columns below which the table would cut numbers; then each subnet is a line."""


def summarise(summary: Summary, output_format: str | None, dry_run: bool, quiet: bool) -> None:
    """Print the summary in the given format; without one, a table on a terminal and nothing elsewhere."""
    with stdout() as console:
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
    """Print each check as it comes, with advice if it failed, or all as JSON; return whether all passed."""
    seen: list[Check] = []
    with stdout() as console:
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
