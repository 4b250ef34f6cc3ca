"""`--check`: the requirements of a run, one by one, without a scan and without storing anything."""

import os
import platform
import shutil
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
from .https.tls import certificate_of
from .models import Check, Subnet
from .phpipam import PhpIpam
from .phpipam.api import CLOCK_TOLERANCE
from .phpipam.cache import Cache
from .scan.nmap import find_nmap, raw_socket_error
from .system import folders

EXPIRES_SOON = 14
"""Days of validity below which a certificate is a warning."""


def run_checks(path: Path, config: Config, clock: Callable[[], float], spool: Spool) -> Iterator[Check]:
    """Yield the result of each check; `path` is the configuration file's."""
    yield Check("versions", True, f"phpipam-scan-agent {VERSION}, Python {platform.python_version()}")
    yield _configuration(path)
    yield _nmap()
    yield _iproute2()
    yield _folder("cache folder", folders.cache())
    yield _spool(spool)
    yield from _waiting(spool)
    if config.metrics_file:
        yield _writable("metrics file", config.metrics_file.parent, str(config.metrics_file))
    yield from _certificate("phpIPAM's certificate", config.api_url, Identity(config.ca_file))
    yield from _phpipam(config, clock)
    identity = Identity(config.ca_file, config.client_cert, config.client_key)
    yield from _certificate("Scan Server's certificate", f"{config.http_server}:{config.http_port}", identity)
    yield _server(config)


def _configuration(path: Path) -> Check:
    path = folders.path_to_read(path)
    shown = folders.path_to_show(path)
    if shown != path:
        return Check("configuration", True, f"{shown}, as systemd's credential")
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
    if str(Path(nmap.path).resolve()).endswith("/snap"):
        advice = "a snap cannot open raw sockets: snap remove nmap, then apt-get install nmap"
        return Check("nmap", True, f"{which}, is a snap", advice)
    if nmap.raw:
        return Check("nmap", True, f"{which}, may open raw sockets")
    limited = f"{which}, may only make TCP connections"
    if why := raw_socket_error():
        advice = "a container, seccomp or AppArmor forbids raw sockets; allow AF_INET and AF_PACKET"
        return Check("nmap", True, f"{limited}: CAP_NET_RAW is set, but {why}", advice)
    return Check("nmap", True, limited, "run the agent as root or give it CAP_NET_RAW")


def _iproute2() -> Check:
    if ip := shutil.which("ip"):
        return Check("iproute2", True, ip)
    advice = "install it for MAC addresses, local segments and IPv6 neighbours: apt-get install iproute2"
    return Check("iproute2", True, "its command ip is not on PATH", advice)


def _folder(name: str, *path: Path) -> Check:
    try:
        for folder in path:
            folders.private(folder)
    except UsageError as error:
        return Check(name, False, str(error))
    except OSError:
        pass  # the attempt to write gives the reason
    return _writable(name, path[-1], str(path[-1]))


def _writable(name: str, folder: Path, detail: str) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        why = f"{folder} cannot be written: {error.strerror}"
        return Check(name, False, why, f"check the path and its rights for the user with id {os.geteuid()}")
    return Check(name, True, detail)


def _spool(spool: Spool) -> Check:
    check = _folder("spool folder", folders.state(), *folders.refused(), spool.folder)
    if check.passed:
        try:
            spool.probe()
        except OSError as error:
            why = f"{spool.folder} cannot keep a report: {error.strerror or error}"
            return Check("spool folder", False, why, "use a local file system for the state folder")
    return check


def _waiting(spool: Spool) -> Iterator[Check]:
    problems = spool.load()
    reports, size = spool.facts()
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield Check("reports waiting", False, f"{problems[0]}{more}")
    elif reports:
        yield Check("reports waiting", True, f"{reports} with {size:,} bytes", "the next run sends them")
    else:
        yield Check("reports waiting", True, "none")
    if foreign := spool.foreign():
        detail = f"{foreign} in {spool.folder} are for another api_url or client_name and are not sent"
        advice = "run the agent once with the earlier api_url and client_name, or delete them"
        yield Check("reports of another phpIPAM", True, detail, advice)
    if refused := spool.refused():
        first = f"{refused[0].network}: {refused[0].refusal}" if refused[0].refusal else "see the folder"
        detail = f"{len(refused)} in {spool.folder}/refused, the first of {first}"
        yield Check(
            "reports refused", True, detail, "a changed configuration or a new version sends them again"
        )


def _certificate(name: str, url: str, identity: Identity) -> Iterator[Check]:
    if not url.startswith("https:") or os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        return  # the request after this check reports the error
    try:
        shown = certificate_of(url, identity)
    except (OSError, ScanAgentError):
        return
    detail = f"by {shown.issuer}, {shown.days_left} days left"
    yield Check(name, True, detail, "renew it soon" if shown.days_left < EXPIRES_SOON else None)


def _phpipam(config: Config, clock: Callable[[], float]) -> Iterator[Check]:
    try:
        # The cache is neither loaded nor saved, so each answer is a new one.
        phpipam = PhpIpam(config, Cache(folders.cache() / "phpipam.json", config, clock), clock)
        name = phpipam.agent_name()
    except ScanAgentError as error:
        yield Check("phpIPAM", False, str(error).removeprefix("phpIPAM at "))
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
        return Check("clock", True, "phpIPAM's answers have no Date header")
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} phpIPAM's"
    close = abs(ahead) < CLOCK_TOLERANCE
    return Check("clock", close, detail, None if close else "set the clocks")


def _subnets(subnets: list[Subnet], ipv6: bool) -> Check:
    discover = sum(subnet.discover for subnet in subnets)
    ping = sum(subnet.ping and not subnet.discover for subnet in subnets)
    six = sum(subnet.network.version == 6 for subnet in subnets)
    off = ", which is off" if six and not ipv6 else ""
    detail = (
        f"{len(subnets)} assigned: {discover} with Discover new hosts, {ping} with Check hosts status only,"
        f" {len(subnets) - discover - ping} with neither; {six} of IPv6{off}"
    )
    if any((each.discover or each.ping) and (ipv6 or each.network.version == 4) for each in subnets):
        return Check("subnets", True, detail)
    advice = "in a subnet's form, set Check hosts status or Discover new hosts, then Select agent"
    return Check("subnets", True, detail, advice)


def _server(config: Config) -> Check:
    try:
        with closing(ScanServer(config)) as server:
            return Check("Scan Server", True, server.try_token())
    except ScanAgentError as error:
        return Check("Scan Server", False, str(error).removeprefix("Scan Server at "))
