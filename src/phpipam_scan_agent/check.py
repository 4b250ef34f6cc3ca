"""`--check`: everything a run needs, one by one, without a scan and without storing anything."""

import os
import platform
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from . import VERSION
from .config import Config
from .delivery.server import ScanServer
from .delivery.spool import Spool
from .errors import ScanAgentError, UsageError
from .https import Identity
from .https.tls import shown_by
from .models import Check, Subnet
from .phpipam import PhpIpam
from .phpipam.decode import Row
from .scan.nmap import find_nmap
from .system import folders

EXPIRES_SOON = 14
"""Days a certificate has left when that is a warning."""


def everything(path: Path, config: Config, clock: Callable[[], float], spool: Spool) -> Iterator[Check]:
    """Yield a Check of each thing; `path` is the configuration file's."""
    yield Check("versions", True, f"phpipam-scan-agent {VERSION}, Python {platform.python_version()}")
    yield _configuration(path)
    yield _nmap()
    yield _folder("cache folder", folders.cache())
    yield _folder("spool folder", folders.state(), spool.folder)
    yield _waiting(spool)
    yield from _certificate("phpIPAM's certificate", config.api_url, Identity(config.ca_file))
    yield from _phpipam(config, clock)
    identity = Identity(config.ca_file, config.client_cert, config.client_key)
    yield from _certificate("Scan Server's certificate", f"{config.http_server}:{config.http_port}", identity)
    yield _server(config)


def _configuration(path: Path) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        advice = f"it holds secrets and others may read it (mode {mode:04o}): chmod 600 {path}"
        return Check("configuration", True, str(path), advice)
    return Check("configuration", True, f"{path} (mode {mode:04o})")


def _nmap() -> Check:
    try:
        nmap = find_nmap()
    except ScanAgentError as error:
        return Check("nmap", False, str(error))
    which = f"{nmap.path}, version {nmap.dotted}"
    if nmap.raw:
        return Check("nmap", True, f"{which}, may open raw sockets")
    return Check("nmap", True, f"{which}, may only connect", "run the agent as root or give it CAP_NET_RAW")


def _folder(name: str, *path: Path) -> Check:
    try:
        for folder in path:
            folders.private(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except UsageError as error:
        return Check(name, False, str(error))
    except OSError as error:
        why = f"{folder} cannot be written: {error.strerror}"
        return Check(name, False, why, f"look at its path and its rights for {_who()}")
    return Check(name, True, str(folder))


def _who() -> str:
    return f"the user with the id {os.geteuid()}"


def _waiting(spool: Spool) -> Check:
    reports, size = spool.facts()
    if reports:
        return Check("reports waiting", True, f"{reports} with {size:,} bytes", "the next run sends them")
    return Check("reports waiting", True, "none")


def _certificate(name: str, url: str, identity: Identity) -> Iterator[Check]:
    if not url.startswith("https:") or os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        return  # the request that follows says what there is to say
    try:
        shown = shown_by(url, identity)
    except (OSError, ScanAgentError):
        return
    detail = f"by {shown.issuer}, {shown.days_left} days left"
    yield Check(name, True, detail, "renew it soon" if shown.days_left < EXPIRES_SOON else None)


def _phpipam(config: Config, clock: Callable[[], float]) -> Iterator[Check]:
    try:
        phpipam = PhpIpam(config, _NothingRemembered(), clock)
        name = phpipam.agent_name()
    except ScanAgentError as error:
        yield Check("phpIPAM", False, str(error))
        return
    with closing(phpipam):
        yield Check("phpIPAM", True, f"{config.api_url} takes the token and knows this scan agent as {name}")
        yield _clocks(phpipam.clock_ahead)
        try:
            subnets, failed = phpipam.subnets()
        except ScanAgentError as error:
            yield Check("subnets", False, str(error))
            return
        yield _subnets(subnets, config.ipv6)
        for outcome in failed:
            yield Check("subnets", False, f"{outcome.subnet}: {outcome.error}")


def _clocks(ahead: float | None) -> Check:
    if ahead is None:
        return Check("clock", True, "phpIPAM's server does not tell the time")
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} phpIPAM's"
    return Check("clock", abs(ahead) < 60, detail, None if abs(ahead) < 60 else "set the clocks")


def _subnets(subnets: list[Subnet], ipv6: bool) -> Check:
    discover = sum(subnet.discover for subnet in subnets)
    ping = sum(subnet.ping and not subnet.discover for subnet in subnets)
    six = sum(subnet.network.version == 6 for subnet in subnets)
    detail = (
        f"{len(subnets)} assigned: {discover} to discover, {ping} to ping only,"
        f" {len(subnets) - discover - ping} neither; {six} of IPv6{'' if ipv6 or not six else ', which is off'}"
    )
    usable = any((each.discover or each.ping) and (ipv6 or each.network.version == 4) for each in subnets)
    advice = None if usable else "choose this scan agent in the form of a subnet, and what it is to do"
    return Check("subnets", True, detail, advice)


def _server(config: Config) -> Check:
    try:
        with closing(ScanServer(config)) as server:
            return Check("Scan Server", True, server.try_token())
    except ScanAgentError as error:
        return Check("Scan Server", False, str(error))


class _NothingRemembered(dict[str, list[Row]]):
    """Answers of this moment only: what is checked is what phpIPAM says now."""

    def past(self, _: str) -> None:
        """Return nothing."""
