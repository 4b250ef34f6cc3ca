"""What can go wrong. Each class owns its exit code; each error is the sentence that the user reads."""

import signal
from collections.abc import Sequence
from pathlib import Path


class ScanAgentError(Exception):
    """The run ended, but something failed: one line that says what, where, and what to do."""

    exit_code = 1


class UsageError(ScanAgentError):
    """The command line or the machine's set-up is wrong; nothing was contacted."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is wrong; `problems` holds every mistake, one line each."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.problems = tuple(f"{path}: {problem}" for problem in problems)
        super().__init__("\n".join(self.problems))


class TransportError(ScanAgentError):
    """No whole answer came: unreachable, not trusted, too slow, cut off, redirected, too large."""


class PhpIpamError(ScanAgentError):
    """PhpIPAM answered, and refused or made no sense."""


class PhpIpamAwayError(PhpIpamError):
    """PhpIPAM's web server answered in its place: its database is down, or the proxy cannot reach it."""


class ServerError(ScanAgentError):
    """The Scan Server did not take the report, which may fare better in the next run."""


class UnavailableError(ServerError):
    """It takes no report at all now: out of reach, overloaded, another token, not a Scan Server."""


class BadReportError(ServerError):
    """It will never take this report."""


class TooLargeError(BadReportError):
    """The report has more bytes than it, or a proxy in front of it, accepts."""


class SpoolError(ScanAgentError):
    """A report could not be kept on disk, or what was kept is none."""


class LockedError(ScanAgentError):
    """Another run is in progress."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h."""


class ScanError(ScanAgentError):
    """Nmap could not scan a subnet to its end."""


class Interrupted(BaseException):
    """A signal asked the run to end; as KeyboardInterrupt, no handler of ordinary errors may swallow it."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(f"ended by {signal.Signals(signal_number).name}")
