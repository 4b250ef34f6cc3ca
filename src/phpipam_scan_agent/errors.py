"""Error classes. Each class has its exit code; each message is the sentence that the user reads."""

import signal
from collections.abc import Sequence
from pathlib import Path


class ScanAgentError(Exception):
    """Base class; the message says in one line what failed, where, and what to do."""

    exit_code = 1


class UsageError(ScanAgentError):
    """The command line or the machine's set-up is wrong; no request was sent."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is not valid; `problems` lists every mistake, one line each."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(f"{path}: {problem}" for problem in problems)
        super().__init__("\n".join(self.problems))


class TransportError(ScanAgentError):
    """No complete answer: peer unreachable, not trusted or too slow; answer cut off, a redirect, or too large."""


class UnreachableError(TransportError):
    """No connection to the peer, or its certificate is not trusted: every other request would fail as well."""


class ConnectionLostError(TransportError):
    """The connection was lost after the request was begun."""


class PhpIpamError(ScanAgentError):
    """PhpIPAM refused the request, or its answer is not valid."""


class PhpIpamAwayError(PhpIpamError):
    """The web server or a proxy answered, but not phpIPAM's API: the database is down, or PHP failed."""


class ServerError(ScanAgentError):
    """The Scan Server did not accept the report; the next run tries again."""


class UnavailableError(ServerError):
    """The Scan Server accepts no report now: unreachable, overloaded, another token, not a Scan Server."""


class BadReportError(ServerError):
    """The Scan Server will never accept this report."""


class NotAssignedError(BadReportError):
    """The subnet is not assigned to this agent, or has another mask: phpIPAM's cached answers are out of date."""


class TooLargeError(BadReportError):
    """The report has more bytes than the Scan Server, or a proxy in front of it, accepts."""


class SpoolError(ScanAgentError):
    """A report could not be written to the spool, or a spool file is not a valid report."""


class LockedError(ScanAgentError):
    """Another run is in progress."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h."""


class ScanError(ScanAgentError):
    """Nmap could not finish the scan of a subnet."""


class ThreadLimitError(ScanAgentError):
    """The machine starts no more threads or processes."""

    def __init__(self) -> None:
        super().__init__(
            "this machine starts no more threads and processes; raise their limit (ulimit -u, TasksMax= of the"
            " unit, or the container's pids limit), or lower parallel_scans"
        )


class OutputError(ScanAgentError):
    """The results could not be printed."""


class Interrupted(BaseException):
    """A signal ends the run. A BaseException like KeyboardInterrupt: handlers of ordinary errors do not catch it."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(f"ended by {signal.Signals(signal_number).name}")
