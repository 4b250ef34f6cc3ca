"""Routers and firewalls that answer for unused addresses, by ARP, SYN/ACK and echo."""

from typing import Any

import pytest

from lab.agent import Run, run
from lab.network import Hosts, Namespace, Network
from stand_ins.phpipam import subnet

pytestmark = pytest.mark.usefixtures("lab")

ROUTED: dict[str, Any] = {"address": "192.0.2.1/24", "gateway": "192.0.2.254", "rtt": 20}
BLOCK = "10.77.1.0/24"
ROUTER = "02:4E:00:00:00:01"


def scanned(**like: Any) -> tuple[Run, set[str], Network]:
    with Network(**like) as network:
        return run(network, [subnet(1, BLOCK)]), network.live(BLOCK), network


@pytest.mark.parametrize(
    "like",
    [
        pytest.param({"proxy_arp": True, "loss": 5}, id="proxy ARP"),
        pytest.param({"proxy_arp": True, "alive": 90}, id="proxy ARP, 90 % live"),
        pytest.param({**ROUTED, "syn_proxy": True, "share": 80}, id="SYN proxy for some"),
        pytest.param({**ROUTED, "echoes": True, "alive": 40, "loss": 1}, id="echoes, 40 % live"),
    ],
)
def test_addresses_that_other_hosts_answer_for_are_not_reported(like: dict[str, Any]) -> None:
    done, live, network = scanned(**like)

    assert done.found() == live
    assert done.status == 0
    assert len(done.said) == 1
    assert f"subnet {BLOCK}: " in done.stderr
    if like.get("proxy_arp"):
        assert ROUTER in done.stderr
        assert done.each("mac") == {ip: network.mac(ip) for ip in live}


def test_a_machine_with_most_addresses_of_the_segment_is_reported() -> None:
    block = "192.0.2.0/28"
    there = [f"192.0.2.{last}/28" for last in range(2, 14)]
    with Namespace() as scanner, Hosts(scanner, there, ["192.0.2.1/28"]) as hosts:
        mac, done = hosts.mac, run(scanner, [subnet(1, block)])

    macs = {ip: mac for ip, mac in done.each("mac").items() if ip != "192.0.2.1"}
    assert macs == {address.partition("/")[0]: mac for address in there}
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "like",
    [{"resets": True}, {"syn_proxy": True}, {"echoes": True}],
    ids=["RST", "SYN", "echo"],
)
def test_a_firewall_of_an_empty_subnet_is_detected_by_its_answer_for_the_network_address(
    like: dict[str, Any],
) -> None:
    blocks = ["10.77.1.0/29", "10.77.2.0/28", "10.77.3.0/24"]
    blocks += [] if like.get("echoes") else ["10.77.1.8/30"]  # both ends of a link
    with Network(**ROUTED, alive=0, **like) as network:
        done = run(network, [subnet(number, block) for number, block in enumerate(blocks)])

    assert done.found() == set()
    assert len(done.said) == len(blocks)


def test_a_syn_proxy_for_some_addresses_is_detected_by_an_unserved_port() -> None:
    blocks = ["10.77.2.0/28", "10.77.3.0/24"]
    with Network(**ROUTED, alive=0, syn_proxy=True, share=79) as network:
        done = run(network, [subnet(number, block) for number, block in enumerate(blocks)])

    assert done.found() == set()
    assert len(done.said) == len(blocks)


@pytest.mark.parametrize("serving", [0, 100], ids=["RST", "SYN/ACK"])
def test_hosts_that_drop_icmp_are_reported_even_if_the_network_address_is_a_host(serving: int) -> None:
    """The subnet in phpIPAM can be a part of a larger network."""
    with Network(**ROUTED, alive=90, quiet=100, serving=serving) as network:
        live = network.live(BLOCK)
        done = run(network, [subnet(1, BLOCK)])

    assert done.found() == live
    assert (done.status, done.stderr) == (0, "")


def test_a_full_small_subnet_of_hosts_that_drop_icmp_is_reported() -> None:
    there = ["192.0.2.2/30", *(f"10.77.1.{last}/32" for last in range(1, 7))]
    with Namespace() as scanner, Hosts(scanner, there, ["192.0.2.1/30"]) as hosts:
        hosts.run(["sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1"])
        scanner.ip("route", "add", "10.77.1.0/29", "via", "192.0.2.2")
        done = run(scanner, [subnet(1, "10.77.1.0/29")])

    assert done.found() == {f"10.77.1.{last}" for last in range(1, 7)}
    assert (done.status, done.stderr) == (0, "")


def test_hosts_behind_a_router_that_answers_for_an_ipv6_segment_are_found() -> None:
    block = "2001:db8:1::/120"
    there = ["2001:db8:1::10/64"]
    with Namespace() as scanner, Hosts(scanner, there, ["2001:db8:1::1/64"]) as router:
        for name in ("proxy_ndp", "forwarding"):
            router.run(["sysctl", "-qw", f"net.ipv6.conf.all.{name}=1"])
        for last in range(0x20, 0x100):
            router.ip("-6", "neighbour", "add", "proxy", f"2001:db8:1::{last:x}", "dev", router.device)
        mac, done = router.mac, run(scanner, [subnet(1, block)], ipv6=True)

    assert done.found() == {"2001:db8:1::1", "2001:db8:1::10"}
    assert mac in done.stderr
