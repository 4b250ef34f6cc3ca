import json
import os
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from executables import fake
from lab.network import Hosts, Namespace
from phpipam_scan_agent.plan import ranges
from phpipam_scan_agent.plan.jobs import Route
from phpipam_scan_agent.scan import network

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

MACS = """
import socket, sys
from contextlib import suppress
from phpipam_scan_agent.scan import network
for known, silent in zip(sys.argv[1::2], sys.argv[2::2]):
    with suppress(ConnectionRefusedError):
        socket.create_connection((known, 9))
    with socket.socket(socket.AF_INET6 if ":" in silent else socket.AF_INET, socket.SOCK_DGRAM) as to:
        to.sendto(b"", (silent, 9))
print(sorted(f"{link.address} {link.mac} {link.name}" for link in network.LocalNetwork().links))
print(sorted(f"{ip} {mac}" for ip, mac in network.neighbours().items()))
"""


@needs_root
def test_macs_of_the_machine_and_of_its_neighbours() -> None:
    """On an isolated segment, a real host in the neighbour table, and unused addresses."""
    with (
        Namespace() as here,
        Hosts(here, ["192.0.2.10/24", "2001:db8::10/64"], ["192.0.2.1/24", "2001:db8::1/64"]) as there,
    ):
        ours = here.ip("-brief", "link", "show", there.device).split()[2].upper()
        theirs = there.mac
        targets = ("192.0.2.10", "192.0.2.77", "2001:db8::10", "2001:db8::77")
        own, neighbours = here.run([sys.executable, "-c", MACS, *targets]).stdout.splitlines()
    assert f"192.0.2.1/24 {ours} {there.device}" in own
    assert f"2001:db8::1/64 {ours} {there.device}" in own
    assert "127.0.0.1" not in own
    assert f"192.0.2.10 {theirs}" in neighbours
    assert f"2001:db8::10 {theirs}" in neighbours
    assert "192.0.2.77" not in neighbours
    assert "2001:db8::77" not in neighbours


def test_without_iproute_there_are_no_macs_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert network.LocalNetwork().links == []
    assert network.neighbours() == {}


@pytest.mark.parametrize(
    ("said", "mac"),
    [
        ("02:4e:0a:00:00:01", "02:4E:0A:00:00:01"),
        ("00:00:00:00:00:00", None),
        ("01:00:5E:00:00:01", None),
        ("FF:FF:FF:FF:FF:FF", None),
        ("192.0.2.1", None),
        ("80:00:02:08" + ":FE" * 16, None),
        ("", None),
    ],
)
def test_a_mac_address_is_one_of_an_ethernet_host(said: str, mac: str | None) -> None:
    assert network.host_mac(said) == mac


@pytest.mark.parametrize("script", ["exit 1", "echo '[{]'", "echo; echo no JSON", "true"])
def test_an_ip_command_without_json_gives_no_macs(script: str, path: Path) -> None:
    fake(path, script).rename(path / "ip")
    assert network.LocalNetwork().links == []
    assert network.neighbours() == {}


def test_a_failed_look_up_of_routes_is_not_taken_for_a_missing_route(path: Path) -> None:
    """As on an overloaded machine, where `ip` takes longer than its time limit."""
    real = shutil.which("ip", path="/usr/sbin:/usr/bin:/sbin:/bin")
    fake(path, f'case "$*" in *-batch*) exit 1;; esac; exec {real} "$@"').rename(path / "ip")
    whole = (ranges.of_network(ip_network("127.0.20.0/30")),)
    assert network.LocalNetwork().routes(4, [whole]) == [{Route(): whole}]


ROUTES = """
import sys, json
from ipaddress import ip_network
from phpipam_scan_agent.plan import ranges
from phpipam_scan_agent.scan.network import LocalNetwork
local = LocalNetwork()
for block in sys.argv[1:]:
    network = ip_network(block)
    (found,) = local.routes(network.version, [(ranges.of_network(network),)])
    print(json.dumps([
        [route.device, route.on_link, route.error, list(ranges.lines(part, network.version))]
        for route, part in found.items()
    ]))
"""


def routes(namespace: Namespace, *blocks: str) -> list[list[Any]]:
    done = namespace.run([sys.executable, "-c", ROUTES, *blocks])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_root
def test_the_kernel_states_which_addresses_are_on_the_segment() -> None:
    with Namespace() as here, Hosts(here, [], ["10.0.0.1/8", "2001:db8::1/64"]) as there:
        device = there.device
        here.ip("route", "add", "10.5.0.0/16", "via", "10.0.0.254")
        here.ip("route", "add", "10.6.0.0/24", "via", "10.0.0.254", "table", "100")
        here.ip("rule", "add", "to", "10.6.0.0/24", "lookup", "100")
        here.ip("route", "add", "unreachable", "10.7.0.0/24")
        here.ip("route", "add", "2001:db8::ab00/120", "via", "2001:db8::2")
        here.ip("address", "add", "192.0.2.1", "peer", "192.0.2.9", "dev", device)
        blocks = "10.0.0.0/24 10.5.1.0/24 10.4.0.0/15 10.6.0.0/24 10.7.0.0/24 192.0.2.9/32 198.51.100.0/24"
        blocks += " 127.0.1.0/24 2001:db8::aa00/119 10.0.0.1/32"
        found = routes(here, *blocks.split())
    segment, routed = [device, True, None], [device, False, None]
    assert found[0] == [[*segment, ["10.0.0.0/24"]]]
    assert found[1] == [[*routed, ["10.5.1.0/24"]]]
    assert found[2] == [[*segment, ["10.4.0.0/16"]], [*routed, ["10.5.0.0/16"]]]
    assert found[3] == [[*routed, ["10.6.0.0/24"]]]
    assert found[4] == [["", False, network.NO_ROUTE, ["10.7.0.0/24"]]]
    assert found[5] == [[*segment, ["192.0.2.9/32"]]]
    assert found[6] == [["", False, network.NO_ROUTE, ["198.51.100.0/24"]]]
    assert found[7] == [["lo", False, None, ["127.0.1.0/24"]]]
    assert found[8] == [[*segment, ["2001:db8::aa00/120"]], [*routed, ["2001:db8::ab00/120"]]]
    assert found[9] == [["lo", False, None, ["10.0.0.1/32"]]]


@needs_root
def test_a_segment_may_be_on_a_macvlan() -> None:
    """VLAN and VRF devices take the same path in the code; some kernels lack them."""
    with Namespace() as here, Hosts(here, [], []) as there:
        here.ip("link", "add", "link", there.device, "name", "extra", "type", "macvlan", "mode", "bridge")
        here.ip("link", "set", "extra", "up")
        here.ip("address", "add", "192.0.2.1/24", "dev", "extra")
        # Not by Namespace.run, which refuses unknown devices.
        inside = ["ip", "netns", "exec", here.name, sys.executable, "-c", ROUTES, "192.0.2.0/24"]
        done = subprocess.run(inside, capture_output=True, text=True, check=False)
    assert done.stdout == '[["extra", true, null, ["192.0.2.0/24"]]]\n', done.stderr


@needs_root
def test_an_interface_without_carrier_is_an_error() -> None:
    with Namespace() as here:
        here.ip("tuntap", "add", "sim0", "mode", "tap")
        here.ip("link", "set", "sim0", "up")
        here.ip("address", "add", "192.0.2.1/24", "dev", "sim0")
        ((device, on_link, error, _),) = routes(here, "192.0.2.0/24")[0]
    assert (device, on_link) == ("sim0", False)
    assert "sim0" in error
    assert "no carrier (state DOWN)" in error


def test_without_iproute_the_kernel_states_whether_there_is_a_route(path: Path) -> None:
    fake(path, "exit 1").rename(path / "ip")
    loopback = (range(int(ip_address("127.0.0.1")), int(ip_address("127.0.0.9"))),)
    assert list(network.LocalNetwork().routes(4, [loopback])[0].values()) == [loopback]


def test_the_routes_to_thousands_of_subnets_come_from_a_few_processes(path: Path) -> None:
    real = shutil.which("ip")
    fake(path, f'echo $$ >>{path}/calls; exec {real} "$@"').rename(path / "ip")
    subnets = [(range(at << 8, (at << 8) + 256),) for at in range(0x7F0000, 0x7F0000 + 4000)]
    assert len(network.LocalNetwork().routes(4, subnets)) == 4000
    assert (
        len((path / "calls").read_text().split()) == 4
    )  # interfaces, routes, rules, and all routes in a batch
