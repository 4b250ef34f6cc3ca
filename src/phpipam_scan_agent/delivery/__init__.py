"""Reports → the Scan Server, by way of the spool: fresh and left-over ones take one path."""

import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..errors import BadReportError, ServerError, SpoolError, TooLargeError, UnavailableError
from ..models import Delivered, Report, ScanResult
from . import report as reports
from .server import ScanServer
from .spool import Spool

log = logging.getLogger(__name__)


class Delivery:
    """Keeps every report before it sends it, and forgets it when the server has taken it.

    The class of an error decides: a server that takes nothing ends the sending for this run, a report that it
    finds bad is set aside, any other refusal leaves the report for the next run and the others go on.
    """

    def __init__(self, spool: Spool, server: ScanServer, dry_run: bool, name_form: str = "short") -> None:
        self._spool = spool
        self._server = server
        self._dry_run = dry_run
        self._name_form = name_form
        self._refused: dict[Path, str] = {}
        self._sent: set[Path] = set()
        self._stopped: UnavailableError | None = None
        self.problems: list[str] = []
        """What failed that belongs to no result of this run; each has been named."""

    def __enter__(self) -> "Delivery":
        if not self._dry_run:
            self._spool.tidy()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        waiting = [] if self._dry_run else self._waiting()
        if waiting:
            self._name_problem(self._left(waiting))

    def send_waiting(self) -> None:
        """Send what earlier runs have left, oldest first."""
        self._send_all()
        for refusal in self._refused.values():
            self._name_problem(refusal)

    def deliver(self, result: ScanResult) -> Delivered:
        """Keep and send the reports of a result; return what became of them."""
        if self._dry_run:
            return Delivered()
        kept, unkept = self.keep(result)
        self._send_all()
        waiting = set(self._waiting()).intersection(kept)
        errors = [self._refused[path] for path in kept if path in self._refused]
        errors += [each for report, error in unkept if (each := self._send_unkept(report, error))]
        return Delivered(
            uploaded=bool(kept or unkept) and not errors and not waiting,
            waiting=bool(waiting),
            error="; ".join(dict.fromkeys(errors)) or None,
        )

    def keep(self, result: ScanResult) -> tuple[list[Path], list[tuple[Report, SpoolError]]]:
        """Put the reports of a result into the spool; return their files, and those that could not be kept."""
        # A report of nobody says that the subnet was looked through, so it takes a scan without an error.
        if self._dry_run or (result.error and not result.hosts):
            return [], []
        kept: list[Path] = []
        unkept: list[tuple[Report, SpoolError]] = []
        for report in reports.make(result, self._server.room, self._name_form):
            try:
                kept.append(self._spool.put(report))
            except SpoolError as error:
                unkept.append((report, error))
        return kept, unkept

    def _waiting(self) -> list[Path]:
        return [path for path in self._spool.waiting() if path not in self._sent]

    def _left(self, waiting: list[Path]) -> str:
        """Say what waits for the next run, and why."""
        subnets: Counter[str] = Counter()
        for path in waiting:
            with suppress(SpoolError):
                report = self._spool.get(path)
                subnets[str(report.network)] += report.hosts
        named = ", ".join(list(subnets)[:10]) + (" and others" if len(subnets) > 10 else "")
        why = f": {self._stopped}" if self._stopped else ""
        return (
            f"reports kept for the next run: {len(waiting)}, with {subnets.total()} hosts of {named}, in"
            f" {self._spool.folder}{why}"
        )

    def _name_problem(self, problem: str) -> None:
        self.problems.append(problem)
        log.error("%s", problem)

    def _send_all(self) -> None:
        if not self._dry_run:
            for path in self._waiting():
                if not self._stopped and path not in self._refused:
                    self._send(path)

    def _send(self, path: Path) -> None:
        """Send the report in a file, and do with it what the answer asks for."""
        try:
            report = self._spool.get(path)
            self._upload(report)
        except UnavailableError as error:
            self._stopped = error
        except (BadReportError, SpoolError) as error:
            self._refused[path] = f"{error}; it is set aside as {self._spool.set_aside(path)}"
        except ServerError as error:
            self._refused[path] = f"{error}; the next run sends it again"
        else:
            self._sent.add(path)  # also where it cannot be removed
            self._spool.remove(path)

    def _send_unkept(self, report: Report, error: SpoolError) -> str | None:
        """Send a report that the disk does not take; return what failed."""
        try:
            if self._stopped:
                raise self._stopped
            self._upload(report)
        except UnavailableError as refusal:
            self._stopped = refusal
            return f"could be neither kept nor sent: {error}; {refusal}"
        except ServerError as refusal:
            return f"could be neither kept nor sent: {error}; {refusal}"
        return None

    def _upload(self, report: Report) -> None:
        """Send a report, in halves if it is too large for the server or for a proxy before it."""
        try:
            self._server.upload(report)
        except TooLargeError:
            halves = reports.halves(report)
            if not halves:
                raise
            for half in halves:
                self._upload(half)
