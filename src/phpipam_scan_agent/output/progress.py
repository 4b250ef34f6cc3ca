"""A bar over the addresses, on a terminal, while the run goes on; the table takes its place."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..models import Outcome, ScanResult


class Bar:
    """Shown until the end of the `with` block; nothing where stderr is no terminal."""

    def __init__(self, subnets: int, addresses: int, quiet: bool) -> None:
        self._subnets = subnets
        self._done = 0
        self._hosts = 0
        self._progress = Progress(
            TextColumn("{task.fields[subnets]} subnets"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[hosts]} hosts up "),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True, emoji=False),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=addresses, subnets=f"0/{subnets}", hosts=0)

    def __enter__(self) -> "Bar":
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def advance(self, result: ScanResult, outcome: Outcome | None) -> None:
        """Count a result, and the subnet if it was its last."""
        self._done += outcome is not None
        self._hosts += len(result.hosts)
        subnets = f"{self._done}/{self._subnets}"
        self._progress.update(self._task, advance=result.probed, subnets=subnets, hosts=self._hosts)
