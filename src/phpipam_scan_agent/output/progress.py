"""A bar over the addresses, on a terminal, while the run goes on; the table takes its place."""

import sys
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..models import Outcome, ScanResult
from .log import above


class Bar(ExitStack):
    """Shown until the end of the `with` block; nothing where stderr is no terminal that can."""

    def __init__(self, subnets: int, addresses: int, quiet: bool) -> None:
        super().__init__()
        self._subnets = subnets
        self._done = 0
        self._hosts = 0
        self._console = Console(stderr=True, emoji=False, highlight=False)
        self._hidden = quiet or not sys.stderr.isatty() or self._console.is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.fields[subnets]} subnets"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[hosts]} hosts up "),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            redirect_stderr=False,
            redirect_stdout=False,
            disable=self._hidden,
        )
        self._task = self._progress.add_task("", total=addresses, subnets=f"0/{subnets}", hosts=0)

    def __enter__(self) -> "Bar":
        if not self._hidden:
            self.enter_context(self._progress)
            self.enter_context(above(self._console))
        return self

    def advance(self, result: ScanResult, outcome: Outcome | None) -> None:
        """Count a result, and the subnet if it was its last."""
        self._done += outcome is not None
        self._hosts += len(result.hosts)
        subnets = f"{self._done}/{self._subnets}"
        self._progress.update(self._task, advance=result.probed, subnets=subnets, hosts=self._hosts)
