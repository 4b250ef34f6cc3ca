"""Reports → the Scan Server, by way of the spool: fresh and left-over ones take one path."""

import logging
from pathlib import Path

from . import report as reports
from .errors import BadReportError, ScanAgentError, ServerError, SpoolError, TooLargeError, UnavailableError
from .models import Delivered, Report, ScanResult
from .server import ScanServer
from .spool import Spool

log = logging.getLogger(__name__)


class Delivery:
    """Keeps every report before it sends it, and forgets it when the server has taken it.

    The class of an error decides: a server that takes nothing ends the sending for this run, a report that it
    finds bad is set aside, any other refusal leaves the report for the next run and the others go on.
    """

    def __init__(self, spool: Spool, server: ScanServer, dry_run: bool) -> None:
        self._spool = spool
        self._server = server
        self._dry_run = dry_run
        self._refused: dict[Path, str] = {}
        self._stopped: ScanAgentError | None = None

    def send_waiting(self) -> list[str]:
        """Send what the spool has, oldest first; return what was refused."""
        if not self._dry_run:
            for path in self._spool.waiting():
                if not self._stopped and path not in self._refused:
                    self._send(path)
        return list(self._refused.values())

    def deliver(self, result: ScanResult) -> Delivered:
        """Keep and send the reports of a result; return what became of them."""
        if self._dry_run or (result.error and not result.hosts):
            return Delivered()  # a report of nobody would say that the subnet was looked through
        kept, unkept = self.keep(result)
        self.send_waiting()
        waiting = set(self._spool.waiting())
        errors = [self._refused[path] for path in kept if path in self._refused]
        for report, error in unkept:
            try:
                self._upload(report)
            except ScanAgentError as refusal:
                errors.append(f"could be neither kept nor sent: {error}; {refusal}")
        return Delivered(
            uploaded=not errors and not waiting.intersection(kept),
            waiting=not waiting.isdisjoint(kept),
            error="; ".join(dict.fromkeys(errors)) or None,
        )

    def keep(self, result: ScanResult) -> tuple[list[Path], list[tuple[Report, SpoolError]]]:
        """Put the reports of a result into the spool; return their files, and those that could not be kept."""
        kept: list[Path] = []
        unkept: list[tuple[Report, SpoolError]] = []
        for report in reports.make(result, self._server.room):
            try:
                kept.append(self._spool.put(report))
            except SpoolError as error:
                unkept.append((report, error))
        return kept, unkept

    def left(self) -> str | None:
        """Return what waits for the next run, and why, if anything does."""
        waiting = self._spool.waiting()
        if not waiting or self._dry_run:
            return None
        subnets: dict[str, int] = {}
        for path in waiting:
            try:
                report = self._spool.get(path)
            except SpoolError:
                continue
            subnets[str(report.network)] = subnets.get(str(report.network), 0) + report.hosts
        named = ", ".join(list(subnets)[:10]) + (" and others" if len(subnets) > 10 else "")
        why = f": {self._stopped}" if self._stopped else ""
        return (
            f"{len(waiting)} reports with {sum(subnets.values())} hosts ({named}) wait in {self._spool.folder}"
            f" for the next run{why}"
        )

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
            self._spool.remove(path)

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
