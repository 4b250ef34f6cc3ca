"""The command line → Options."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple

from . import NAME, VERSION

VIEWS = ("subnets", "hosts", "changes", "map")
"""The views of a run's results."""

DEFAULT_PATH = Path("/etc/phpipam/scan_agent.yaml")

EXIT_CODES = """\
exit codes: 0 no error; 1 the run ended, but a part of it failed (named on stderr);
2 usage or configuration error; 75 another run is in progress; 128+n ended by signal n"""


class Options(NamedTuple):
    """The options of the command line."""

    config: Path
    check: bool
    """Verify the set-up and scan nothing."""

    dry_run: bool
    only: tuple[IPv4Network | IPv6Network, ...]
    """Networks to which the run is limited; all assigned subnets if empty."""

    refresh: bool
    format: str | None
    """`table` or `json`; None for a table on a terminal and nothing elsewhere."""

    show: str | None
    """One of VIEWS; None for the default."""

    log_file: Path | None
    log_format: str
    verbosity: int
    """-1 for errors, 0 for warnings, 1 for INFO, 2 for DEBUG."""

    @property
    def view(self) -> str:
        """One of VIEWS, or `json`, which has the data of all views."""
        if self.format == "json":
            return "json"
        return self.show or ("hosts" if self.dry_run else "subnets")

    @property
    def wanted(self) -> bool | None:
        """Whether the view is printed; None for only on a terminal."""
        if self.format or self.show:
            return True
        return False if self.verbosity < 0 else None

    @property
    def partial(self) -> bool:
        """Whether the run is limited, so that its metrics must not replace the metrics of the last whole run."""
        return self.dry_run or bool(self.only)


class _Parser(argparse.ArgumentParser):
    """A parser that keeps the exit code where its message cannot be written, as newer versions of Python do."""

    def _print_message(self, message: str, file: Any = None) -> None:
        with suppress(OSError):
            super()._print_message(message, file)


def parse(arguments: Sequence[str] | None) -> Options:
    """Given the arguments (None for sys.argv), return Options. Exit with code 2 on a wrong argument."""
    command_line = parser()
    given = command_line.parse_args(arguments)
    if given.check and (given.dry_run or given.only or given.refresh or given.show):
        command_line.error("--check scans nothing; leave out --dry-run, --subnet, --refresh and --show")
    given.only = tuple(given.only)
    return Options(**vars(given))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser, also for the generated man page."""
    parser = _Parser(
        prog=NAME,
        description="Scan the subnets that phpIPAM assigns to this agent, report their hosts, and exit.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE",
        type=Path,
        default=DEFAULT_PATH,
        help=f"configuration file; default: {DEFAULT_PATH}",
    )
    add("--check", action="store_true", help="verify the requirements of a run, scan nothing")
    add("--dry-run", action="store_true", help="scan and show, but upload nothing")
    add(
        "--subnet",
        dest="only",
        metavar="CIDR",
        type=_network,
        action="append",
        default=[],
        help="only this subnet and the subnets within it; may be repeated",
    )
    add("--refresh", action="store_true", help="ask phpIPAM again; its cached answers count as expired")
    add(
        "--show",
        choices=VIEWS,
        help="print each subnet (default), each host (default of --dry-run), only the differences from"
        " phpIPAM, or a map of each subnet; also if stdout is not a terminal",
    )
    add(
        "--format",
        choices=("table", "json"),
        help="print also if stdout is not a terminal; json has the data of all views",
    )
    add("--log-file", metavar="FILE", type=Path, help="log to FILE, too; default: $ANSIBLE_LOG_PATH")
    add(
        "--log-format", choices=("text", "json"), default="text", help="format of log messages; default: text"
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument(
        "-v", "--verbose", dest="verbosity", action="count", default=0, help="show each step; -vv for more"
    )
    volume.add_argument(
        "-q", "--quiet", dest="verbosity", action="store_const", const=-1, help="show errors only"
    )
    add("--version", action="version", version=f"{NAME} {VERSION}")
    return parser


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write it like 192.0.2.0/24") from None
