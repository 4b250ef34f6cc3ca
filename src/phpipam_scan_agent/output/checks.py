"""The checks of `--check` on stdout."""

import json
from collections.abc import Iterable

from rich.markup import escape

from .. import VERSION
from ..models import Check
from ..system.redact import safe, safe_values
from .console import stdout


def show_checks(checks: Iterable[Check], output_format: str | None) -> bool:
    """Print each check with its advice as it is done, or all as JSON; return whether all passed."""
    seen: list[Check] = []
    for each in checks:  # outside of `stdout`, which takes any OSError for one of stdout
        seen.append(each)
        if output_format != "json":
            with stdout() as console:
                console.print(_line(each))
    if output_format == "json":
        document = {"version": VERSION, "checks": [safe_values(each._asdict()) for each in seen]}
        with stdout():
            print(json.dumps(document, indent=2))  # noqa: T201
    return all(each.passed for each in seen)


def _line(check: Check) -> str:
    """Return a check as a line of rich's markup."""
    line = f"{check.name}: {escape(safe(check.detail))}"
    if check.advice:
        line += f" → {escape(safe(check.advice))}"
    if not check.passed:
        return f"[red]✗[/] {line}"
    return f"[yellow]![/] {line}" if check.advice else f"[green]✓[/] {line}"
