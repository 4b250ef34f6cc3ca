"""A progress bar on a terminal during the scan, by probed addresses."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..models import Outcome, ScanResult
from . import console


class Bar(ExitStack):
    """The progress bar, shown until the end of the `with` block if stderr is a terminal with cursor movement."""

    def __init__(self, subnets: int, addresses: int, quiet: bool) -> None:
        super().__init__()
        self._subnets = subnets
        self._done = 0
        self._hosts = 0
        self._hidden = quiet or not sys.stderr.isatty() or console.stderr().is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.fields[subnets]} subnets"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[hosts]} hosts up "),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console.stderr(),
            transient=True,
            redirect_stderr=False,
            redirect_stdout=False,
            disable=self._hidden,
        )
        self._task = self._progress.add_task("", total=addresses, subnets=f"0/{subnets}", hosts=0)

    def __enter__(self) -> "Bar":
        if not self._hidden:
            self.enter_context(self._progress)
        return self

    def advance(self, result: ScanResult) -> None:
        """Add a result."""
        self._hosts += len(result.hosts)
        self._progress.update(self._task, advance=result.probed, hosts=self._hosts)

    def finished(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes, and count each as a subnet that is done."""
        for outcome in outcomes:
            self._done += 1
            self._progress.update(self._task, subnets=f"{self._done}/{self._subnets}")
            yield outcome
