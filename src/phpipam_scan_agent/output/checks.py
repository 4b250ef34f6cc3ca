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
    with stdout() as console:
        for each in checks:
            seen.append(each)
            if output_format != "json":
                mark = "[red]✗[/]" if not each.passed else "[yellow]![/]" if each.advice else "[green]✓[/]"
                advice = f" → {escape(safe(each.advice))}" if each.advice else ""
                console.print(f"{mark} {each.name}: {escape(safe(each.detail))}{advice}")
        if output_format == "json":
            document = {"version": VERSION, "checks": [safe_values(each._asdict()) for each in seen]}
            print(json.dumps(document, indent=2))  # noqa: T201
    return all(each.passed for each in seen)
