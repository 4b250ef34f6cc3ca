"""IPv6: known addresses, small subnets completely, large subnets by neighbours on the link; off by default."""

import ipaddress
import json
import time
from collections.abc import Iterator

import pytest

from lab.agent import NOBODY_WITH_RAW, Run, run
from lab.network import Hosts, Namespace
from stand_ins.phpipam import Row, address, subnet

LINK = "2001:db8:1::/64"


def link_local(namespace: Namespace, device: str) -> ipaddress.IPv6Address:
    """Return the link-local address after the kernel's duplicate address detection."""
    for _ in range(100):
        for entry in json.loads(namespace.ip("-j", "address", "show", device))[0]["addr_info"]:
            if entry["scope"] == "link" and not entry.get("tentative"):
                return ipaddress.IPv6Address(entry["local"])
        time.sleep(0.1)
    raise AssertionError(f"{device} has no link-local address")


class Place:
    """Two namespaces on one link."""

    def __init__(self, scanner: Namespace, hosts: Hosts) -> None:
        self.scanner, self.hosts = scanner, hosts
        link_local(scanner, hosts.device)
        mine = int(link_local(hosts, hosts.device)) & (1 << 64) - 1
        self.automatic = str(ipaddress.IPv6Network(LINK)[mine])
        """The hosts' address with the interface identifier of their link-local address, as SLAAC makes it."""
        hosts.ip("address", "add", f"{self.automatic}/64", "dev", hosts.device, "nodad")

    def run(self, *subnets: Row, known: tuple[Row, ...] = (), **more: object) -> Run:
        settings = {"ipv6": True, "addresses": known, "watch": True} | more
        return run(self.scanner, subnets, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(lab: None) -> Iterator[Place]:
    there = ["2001:db8:1::10/64", "2001:db8:1::abcd/64", "192.0.2.5/28"]
    here = ["2001:db8:1::1/64", "192.0.2.1/28"]
    with Namespace() as scanner, Hosts(scanner, there, here) as hosts:
        yield Place(scanner, hosts)


def test_a_status_check_probes_the_known_addresses(place: Place) -> None:
    known = (
        address(1, 1, "2001:db8:1::10"),
        address(2, 1, "2001:db8:1::99"),
        address(3, 1, "2001:db8:1::abcd", excludePing=1),
    )
    done = place.run(subnet(1, LINK, discoverSubnet=0, pingSubnet=1), known=known)

    assert [(row["id"], row["ip"], row["mac"]) for row in done.rows()] == [
        (1, "2001:db8:1::10", place.hosts.mac)
    ]
    assert done.probed_in(LINK) == {"2001:db8:1::10", "2001:db8:1::99"}
    assert (done.status, done.stderr) == (0, "")


def test_a_small_subnet_is_probed_whole(place: Place) -> None:
    done = place.run(subnet(1, "2001:db8:1::ab00/120"))

    assert done.found() == {"2001:db8:1::abcd"}
    assert len(done.probed_in("2001:db8:1::ab00/120")) == 255  # all except the routers' anycast address
    assert done.status == 0


@pytest.mark.parametrize("prefix", [(), NOBODY_WITH_RAW], ids=["root", "CAP_NET_RAW"])
def test_in_a_large_subnet_neighbours_on_the_link_are_found(place: Place, prefix: tuple[str, ...]) -> None:
    known = (address(1, 1, "2001:db8:1::abcd"),)
    done = place.run(subnet(1, LINK), known=known, prefix=prefix)

    assert {place.automatic, "2001:db8:1::1", "2001:db8:1::abcd"} <= done.found()
    assert done.each("mac")[place.automatic] == place.hosts.mac
    assert (done.status, done.stderr) == (0, "")


def test_ipv6_is_off_by_default(place: Place) -> None:
    done = place.run(subnet(1, "2001:db8:1::ab00/120"), subnet(2, "192.0.2.0/28"), ipv6=False)

    assert done.probed_in("2001:db8::/32") == set()
    assert done.found() == {"192.0.2.1", "192.0.2.5"}
    assert (done.status, done.stderr) == (0, "")


def test_both_versions_are_scanned_in_one_run(place: Place) -> None:
    done = place.run(subnet(1, "2001:db8:1::ab00/120"), subnet(2, "192.0.2.0/28"))

    assert (done.found(1), done.found(2)) == ({"2001:db8:1::abcd"}, {"192.0.2.1", "192.0.2.5"})
