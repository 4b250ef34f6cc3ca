"""A progress bar on a terminal during the scan, by probed addresses."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from ..models import ScanResult
from . import console


class _Questions:
    """The number of phpIPAM's answers, until the last one has arrived."""

    def __init__(self, asked: Callable[[], int], total: int) -> None:
        self._asked = asked
        self._total = total

    def __rich__(self) -> str:
        asked = self._asked()
        return f"asking phpIPAM: {asked:,} of {self._total:,} subnets " if asked < self._total else ""


class Bar(ExitStack):
    """The progress bar, shown until the end of the `with` block if stderr is a terminal with cursor movement.

    `addresses` is the approximate number of addresses to probe; `asked` gives the number of subnets for which phpIPAM
    has answered.
    """

    def __init__(self, subnets: int, addresses: int, quiet: bool, asked: Callable[[], int]) -> None:
        super().__init__()
        self._subnets = subnets
        self._addresses = addresses
        self._asked = asked
        self._done = 0
        self._hosts = 0
        self._update: Callable[..., None] = lambda **_: None
        self._hidden = quiet or not sys.stderr.isatty() or console.stderr().is_dumb_terminal

    def __enter__(self) -> "Bar":
        if not self._hidden:
            self._show()
        return self

    def _show(self) -> None:
        # Its import takes a while.
        from rich.progress import (
            BarColumn,
            Progress,
            RenderableColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        progress = Progress(
            RenderableColumn(_Questions(self._asked, self._subnets)),
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
        )
        task = progress.add_task("", total=self._addresses, subnets=f"0/{self._subnets}", hosts=0)
        self._update = partial(progress.update, task)
        self.enter_context(progress)

    def advance(self, result: ScanResult) -> None:
        """Add a result."""
        self._hosts += len(result.hosts)
        self._update(advance=result.probed, hosts=self._hosts)

    def finish_subnet(self) -> None:
        """Count a finished subnet."""
        self._done += 1
        self._update(subnets=f"{self._done}/{self._subnets}")
