"""Networks without a route out: Linux network namespaces with simulated or real hosts.

Needs root, iproute2 and (for `Network`) gcc and /dev/net/tun. A process runs in a namespace only while this has no
other devices than loopback, the simulator's TAP and veth pairs to other namespaces made here, so that no probe can
reach a network of the machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest

SOURCE = Path(__file__).with_name("netsim.c")
PREFIX = "scan-lab-"
TAP = "sim0"
# Devices that the kernel adds, down, to every new namespace once their modules are loaded.
FALLBACK_TUNNELS = {"ipip", "sit", "gre", "gretap", "erspan", "ip6tnl", "ip6gre", "ip6gretap", "vti", "vti6"}

_numbers = itertools.count(1)
_Self = TypeVar("_Self", bound="Namespace")  # typing.Self came with Python 3.11


def require() -> None:
    """Skip the calling test if no network can be made; with CI=true fail it."""
    missing = [tool for tool in ("ip", "gcc", "nmap") if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun")
    if missing:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"network namespaces cannot be built here, missing: {', '.join(missing)}")


class LeadsOutError(RuntimeError):
    """A namespace has a device through which probes could get out."""


class Namespace:
    """A network namespace with only loopback; it and its processes end with the `with` block."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"

    def __enter__(self: _Self) -> _Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self._set_up()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tear_down()

    def ip(self, *arguments: str) -> str:
        """Run iproute2's `ip` on this namespace and return its output."""
        command = ["ip", "-n", self.name, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a process inside; text unless `options`, those of subprocess.Popen, say otherwise."""
        self.check()
        return subprocess.Popen(["ip", "netns", "exec", self.name, *argv], **{"text": True, **options})

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a process inside to its end and capture both streams; `options` are those of subprocess.run."""
        self.check()
        command = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.run(command, **{"text": True, "capture_output": True, "check": False, **options})

    def check(self) -> None:
        """Raise LeadsOutError if a device could carry packets out of the namespaces made here."""
        peers = {
            entry["nsid"]: entry.get("name", "") for entry in json.loads(self.ip("-j", "netns", "list-id"))
        }
        for link in json.loads(self.ip("-j", "-d", "link", "show")):
            name, kind = link["ifname"], link.get("linkinfo", {}).get("info_kind")
            inside = (
                link["link_type"] == "loopback"
                or (kind == "tun" and name == TAP)
                or (kind == "veth" and peers.get(link.get("link_netnsid"), "").startswith(PREFIX))
                or (kind in FALLBACK_TUNNELS and "UP" not in link["flags"])
            )
            if not inside:
                raise LeadsOutError(f"namespace {self.name} is not closed: remove its device {name} ({kind})")

    def _set_up(self) -> None:
        # `ip netns exec` shows this file in place of the machine's, whose nameservers no test may ask.
        etc = Path("/etc/netns", self.name)
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self.ip("link", "set", "lo", "up")

    def _tear_down(self) -> None:
        pids = subprocess.run(
            ["ip", "netns", "pids", self.name], check=True, stdout=subprocess.PIPE, text=True
        )
        for pid in pids.stdout.split():
            with suppress(ProcessLookupError):  # the process has ended
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", self.name], check=True)
        shutil.rmtree(Path("/etc/netns", self.name), ignore_errors=True)


class Hosts(Namespace):
    """Real hosts: a second namespace, tied to `scanner` by a veth pair, whose kernel answers for `addresses`.

    `addresses` and `scanner_addresses` are interfaces like "192.0.2.10/24" or "2001:db8::10/64".
    """

    def __init__(
        self, scanner: Namespace, addresses: Iterable[str], scanner_addresses: Iterable[str]
    ) -> None:
        super().__init__()
        self.device = f"veth{next(_numbers)}"
        self._ends = ((self, list(addresses)), (scanner, list(scanner_addresses)))

    @property
    def mac(self) -> str:
        """The hardware address of all these hosts, in upper case."""
        link = json.loads(self.ip("-j", "link", "show", self.device))[0]
        return str(link["address"]).upper()

    def _set_up(self) -> None:
        super()._set_up()
        scanner = self._ends[1][0]
        self.ip(
            "link", "add", self.device, "type", "veth", "peer", "name", self.device, "netns", scanner.name
        )
        for end, addresses in self._ends:
            end.ip("link", "set", self.device, "up")
            for address in addresses:
                # "nodad": no wait for duplicate address detection, since no other host has the address.
                nodad = ["nodad"] if ":" in address else []
                end.ip("address", "add", address, "dev", self.device, *nodad)


@dataclass(frozen=True)
class Counters:
    """Counters of the simulated network since its start, or since they were last read."""

    arp: int
    echo: int
    timestamp: int
    tcp: int
    other: int
    lost: int
    """Probes of live hosts that got no answer because of `loss`."""
    answered: int
    overrun: int
    """Answers left out because too many were pending."""
    packets: int
    """All frames, including the kernel's ARP requests."""
    peak: int
    """Maximum number of frames within one second."""
    seconds: float
    """Seconds from the first frame to the last one."""
    behind: float
    """Maximum delay of an answer after its due time, in seconds."""

    @property
    def kept_up(self) -> bool:
        """Whether the simulator was quick enough for a measurement.

        nmap waits for an answer for 0.1 s or longer. It missed hosts when the simulator was stopped for 0.6 s, and
        none when nmap itself was stopped for 3 s.
        """
        return not self.overrun and self.behind < 0.1


class Network(Namespace):
    """A simulated IPv4 network in which `address` (like "10.77.255.254/16") belongs to the scanner.

    Without `gateway` the hosts are on the scanner's own segment; with it, all other hosts are behind the gateway.
    `alive`, `quiet`, `serving`, `loss`, `share`, `late` and `dozing` are per cent, `rtt` and `lateness`
    milliseconds; netsim.c describes them and the switches.
    """

    def __init__(
        self,
        address: str = "10.77.255.254/16",
        *,
        gateway: str | None = None,
        alive: float = 5,
        quiet: float = 0,
        serving: float = 0,
        rtt: float = 0.3,
        loss: float = 0,
        late: float = 0,
        lateness: float = 700,
        dozing: float = 0,
        share: float = 100,
        resets: bool = False,
        syn_proxy: bool = False,
        echoes: bool = False,
        proxy_arp: bool = False,
        forge: bool = False,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.address = ipaddress.IPv4Interface(address)
        self.gateway = gateway
        numbers = {"seed": seed, "alive": alive, "quiet": quiet, "serving": serving, "rtt": rtt, "loss": loss}
        numbers |= {"late": late, "lateness": lateness, "dozing": dozing, "share": share}
        switches = {"resets": resets, "syn-proxy": syn_proxy, "echoes": echoes, "proxy-arp": proxy_arp}
        self._arguments = [f"--{name}={value}" for name, value in numbers.items()]
        self._arguments += [f"--{name}" for name, on in (switches | {"forge": forge}).items() if on]
        if gateway:
            self._arguments.append(f"--gateway={gateway}")

    def live(self, network: str, *, ends: bool = False) -> set[str]:
        """Return the addresses of `network` that answer, the scanner's own among them.

        The network and broadcast addresses of a mask shorter than /31 count only if `ends`.
        """
        listing = [str(_build()), *self._arguments, "--list", network]
        out = subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout
        found, block = set(out.split()), ipaddress.IPv4Network(network)
        if self.address.ip in block:
            found.add(str(self.address.ip))
        if block.prefixlen < 31 and not ends:
            found -= {str(block.network_address), str(block.broadcast_address)}
        return found

    def counters(self) -> Counters:
        """Return the counters since the last call, and reset them and the random losses."""
        self.simulator.send_signal(signal.SIGUSR1)
        return self._read_counters()

    @staticmethod
    def mac(address: str) -> str:
        """Return the hardware address of a host on the segment, upper case."""
        return "02:4E:" + ipaddress.IPv4Address(address).packed.hex(":").upper()

    def _set_up(self) -> None:
        super()._set_up()
        self.ip("tuntap", "add", TAP, "mode", "tap")
        # The kernel's own IPv6 packets would be counted; a short queue would drop bursts.
        exec_in = ["ip", "netns", "exec", self.name]
        subprocess.run([*exec_in, "sysctl", "-qw", f"net.ipv6.conf.{TAP}.disable_ipv6=1"], check=True)
        self.ip("link", "set", TAP, "txqueuelen", "10000", "up")
        self.ip("address", "add", str(self.address), "dev", TAP)
        if self.gateway:
            self.ip("route", "add", "default", "via", self.gateway)
        argv = [str(_build()), *self._arguments, "--tap", TAP]
        self.simulator = self.popen(argv, stdout=subprocess.PIPE)
        if self._line() != "ready\n":
            raise RuntimeError("the simulator did not start")

    def _tear_down(self) -> None:
        super()._tear_down()
        if hasattr(self, "simulator"):
            self.simulator.communicate()

    def _line(self) -> str:
        assert self.simulator.stdout is not None
        return self.simulator.stdout.readline()

    def _read_counters(self) -> Counters:
        return Counters(**json.loads(self._line()))


def _build() -> Path:
    """Compile the simulator unless the same source was compiled before."""
    source = SOURCE.read_bytes()
    binary = SOURCE.parent / "__pycache__" / f"netsim-{hashlib.sha256(source).hexdigest()[:16]}"
    if not binary.exists():
        binary.parent.mkdir(exist_ok=True)
        # In a separate folder: threads and processes may compile at the same time.
        with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
            fresh = Path(folder, binary.name)
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(SOURCE)], check=True)
            fresh.replace(binary)
    return binary
