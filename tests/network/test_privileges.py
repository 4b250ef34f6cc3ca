"""MAC addresses, and scans as root, with CAP_NET_RAW only, and without a privilege."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.agent import NOBODY, NOBODY_WITH_RAW, run
from lab.network import Hosts, Namespace, Network
from stand_ins.phpipam import subnet
from stand_ins.site import COMMAND

BLOCK, ROUTED_BLOCK = "192.0.2.0/28", "198.51.100.0/29"


@pytest.fixture(scope="module")
def place(lab: None) -> Iterator[tuple[Namespace, Hosts]]:
    """The agent's namespace, and hosts on its segment; one of them is the router of another network."""
    with (
        Namespace() as scanner,
        Hosts(scanner, ["192.0.2.5/28", "192.0.2.6/28"], ["192.0.2.1/28"]) as hosts,
    ):
        scanner.ip("route", "add", ROUTED_BLOCK, "via", "192.0.2.5")
        hosts.ip("address", "add", "198.51.100.1/32", "dev", "lo")
        yield scanner, hosts


@pytest.fixture
def nobody() -> None:
    """The user `nobody` can run the agent."""
    tried = subprocess.run([*NOBODY, COMMAND, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"the user nobody cannot run {COMMAND}: {tried.stderr.strip()}")


def own_mac(namespace: Namespace, device: str) -> str:
    return str(json.loads(namespace.ip("-j", "link", "show", device))[0]["address"]).upper()


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("prefix", [(), NOBODY_WITH_RAW, NOBODY], ids=["root", "CAP_NET_RAW", "nothing"])
def test_hosts_of_the_segment_are_reported_with_their_mac(
    place: tuple[Namespace, Hosts], prefix: tuple[str, ...]
) -> None:
    scanner, hosts = place
    done = run(scanner, [subnet(1, BLOCK), subnet(2, ROUTED_BLOCK)], prefix=prefix)

    assert done.found(1) == {"192.0.2.1", "192.0.2.5", "192.0.2.6"}
    assert done.found(2) == {"198.51.100.1"}
    assert done.each("mac") == {
        "192.0.2.1": own_mac(scanner, hosts.device),
        "192.0.2.5": hosts.mac,
        "192.0.2.6": hosts.mac,
    }
    assert done.status == 0


@pytest.mark.usefixtures("nobody")
def test_each_host_of_a_large_segment_has_its_own_mac(lab: None) -> None:
    block = "10.77.8.0/23"
    with Network(alive=30) as network:
        macs = {ip: network.mac(ip) for ip in network.live(block)}
        for prefix in (), NOBODY_WITH_RAW:
            done = run(network, [subnet(1, block)], prefix=prefix)
            assert done.each("mac") == macs
            assert (done.status, done.stderr) == (0, "")


@pytest.mark.usefixtures("nobody")
def test_without_raw_sockets_macs_come_from_the_kernel_with_one_warning(lab: None) -> None:
    blocks = {1: "10.77.8.0/26", 2: "10.77.9.0/26"}
    with Network(alive=20) as network:
        live = set().union(*(network.live(block) for block in blocks.values()))
        done = run(network, [subnet(*block) for block in blocks.items()], prefix=NOBODY)

        assert done.each("mac") == {ip: network.mac(ip) for ip in live}
    assert done.found() == live
    assert done.status == 0
    assert len(done.said) == 1
    assert "CAP_NET_RAW" in done.stderr


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("prefix", [(), NOBODY], ids=["root", "nothing"])
def test_the_mac_of_a_router_with_proxy_arp_is_not_reported_for_hosts_behind_it(
    prefix: tuple[str, ...], lab: None
) -> None:
    behind = [f"192.0.2.{last}/24" for last in range(33, 39)]
    with (
        Namespace() as scanner,
        Hosts(scanner, ["192.0.2.1/27"], ["192.0.2.2/24"]) as router,
        Hosts(router, behind, ["192.0.2.62/27"]) as hosts,
    ):
        # Without the random delay of up to 0.8 s.
        delays = [f"net.ipv4.neigh.{device}.proxy_delay=0" for device in (router.device, hosts.device)]
        switches = ["net.ipv4.conf.all.proxy_arp=1", "net.ipv4.ip_forward=1"]
        router.run(["sysctl", "-qw", *switches, *delays])
        done = run(scanner, [subnet(1, "192.0.2.32/27")], prefix=prefix)

    assert done.found() == {each.partition("/")[0] for each in behind} | {"192.0.2.62"}
    assert done.each("mac") == {}


@pytest.mark.usefixtures("nobody")
def test_without_raw_sockets_routed_hosts_are_found(lab: None) -> None:
    block = "10.77.8.0/25"
    with Network("192.0.2.1/24", gateway="192.0.2.254", rtt=20, quiet=50, loss=1) as network:
        live = network.live(block)
        done = run(network, [subnet(1, block)], prefix=NOBODY)

    assert done.found() == live
    assert done.each("mac") == {}


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("prefix", [(), NOBODY], ids=["root", "nothing"])
def test_a_subnet_without_a_route_is_a_warning(
    place: tuple[Namespace, Hosts], prefix: tuple[str, ...]
) -> None:
    scanner, _ = place
    done = run(scanner, [subnet(1, "203.0.113.0/29"), subnet(2, BLOCK)], prefix=prefix)

    assert any("203.0.113.0/29" in line and "route" in line for line in done.said)
    assert done.found(2) == {"192.0.2.1", "192.0.2.5", "192.0.2.6"}
