"""Output: messages, log, progress bar, results and metrics; no other package prints.

Modules that a run from cron does not need are loaded on use.
"""

import os
import sys
from typing import TYPE_CHECKING

from .findings import Findings
from .log import end_logging, failed, start_logging
from .progress import Bar

if TYPE_CHECKING:
    from ..models import Summary

__all__ = ["Bar", "Findings", "end_logging", "failed", "show", "start_logging"]


def show(summary: "Summary", findings: Findings, wanted: bool | None, dry_run: bool) -> None:
    """Print the results of a run, see `summary.show`."""
    if findings.view in ("json", "changes") or (_is_terminal() if wanted is None else wanted):
        from .summary import show

        show(summary, findings, wanted, dry_run)


def _is_terminal() -> bool:
    """Return whether rich may treat stdout as a terminal."""
    return {"FORCE_COLOR", "TTY_COMPATIBLE"} & os.environ.keys() != set() or (
        sys.stdout is not None and sys.stdout.isatty()
    )
