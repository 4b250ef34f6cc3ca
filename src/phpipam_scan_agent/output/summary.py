"""The results of a run on stdout, in the requested view and format."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from ipaddress import ip_network

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..models import Outcome, Summary
from ..system import folders
from . import changes, hosts, subnet_map
from .columns import plain
from .console import print_lines, stdout
from .findings import Findings
from .json_document import document
from .shown_changes import first_shown

NARROW = 72
"""Terminal width in columns below which the table would cut numbers; then each subnet is a line."""


def show(summary: Summary, findings: Findings, wanted: bool | None, dry_run: bool) -> None:
    """Print the view of `findings`, or JSON.

    `wanted` is whether to print it; None for only on a terminal. Changes that earlier runs have shown are left out,
    except on a terminal and in a dry run; without changes, nothing is printed.
    """
    with stdout() as console:
        if findings.view == "json":
            print(json.dumps(document(summary, findings, dry_run), indent=2))  # noqa: T201
        elif findings.view == "changes":
            with _changes(findings, console.is_terminal or dry_run) as found:
                print_lines(console, changes.lines(found))
                if console.is_terminal and not found:
                    console.print("nothing differs from phpIPAM")
        elif console.is_terminal if wanted is None else wanted:
            _show_subnets(console, sorted(summary.outcomes, key=_order), findings, dry_run)


def _changes(findings: Findings, all_of_them: bool) -> AbstractContextManager[list[changes.Change]]:
    found = changes.of(findings)
    if all_of_them:
        return nullcontext(found)
    scanned = {kept.id for kept in findings if not kept.failed}
    return first_shown(folders.cache() / "changes.json", found, scanned, time.time())


def _show_subnets(console: Console, outcomes: list[Outcome], findings: Findings, dry_run: bool) -> None:
    if findings.view == "subnets" and console.width >= NARROW:
        console.print(_table(outcomes))
    else:
        print_lines(console, _lines(console, outcomes, findings))
    if dry_run:
        console.print("dry run: nothing was uploaded")


def _lines(console: Console, outcomes: Iterable[Outcome], findings: Findings) -> Iterator[str]:
    for outcome in outcomes:
        found = findings.of(outcome.id)
        if outcome.skipped:
            yield f"[dim]{escape(plain(outcome.subnet))}: skipped: {outcome.skipped}[/]"
        elif findings.view == "hosts":
            yield from hosts.lines(outcome, found, console)
        elif findings.view == "map":
            yield from subnet_map.lines(outcome, found)
        else:
            unknown = f", {outcome.unknown} unknown" if outcome.unknown else ""
            counts = f"{outcome.up} up, {outcome.known} known, {outcome.new} new{unknown}"
            yield f"{escape(plain(outcome.subnet))}: {counts}, uploaded: {_end(outcome)}"
    if findings.view == "map":
        yield subnet_map.LEGEND


def _order(outcome: Outcome) -> tuple[int, int, int, int]:
    """Sort by network; invalid subnets come last."""
    try:
        network = ip_network(outcome.subnet)
    except ValueError:
        return 7, 0, 0, outcome.id or 0
    return network.version, int(network.network_address), network.prefixlen, outcome.id or 0


def _table(outcomes: Iterable[Outcome]) -> Table:
    table = Table()
    table.add_column("subnet", no_wrap=True)
    for heading in ("hosts up", "known", "new", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("uploaded")
    for done in outcomes:
        subnet = escape(plain(done.subnet))
        if done.skipped:
            table.add_row(subnet, "", "", "", "", f"skipped: {done.skipped}", style="dim")
        else:
            known, new = ("?", "?") if done.unknown else (str(done.known), str(done.new))
            table.add_row(subnet, str(done.up), known, new, f"{done.seconds:.1f}", _end(done))
    return table


def _end(done: Outcome) -> str:
    error = " [red](error)[/]" if done.error else ""
    if done.uploaded:
        return f"yes{error}"
    if done.waiting:
        return f"[yellow]waiting[/]{error}"
    return "[red]failed[/]" if done.error else "no"
