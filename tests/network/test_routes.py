"""Routes: addresses on the segment, behind a router, and behind an interface without carrier."""

import time

import pytest

from lab.agent import run
from lab.network import TAP, Network
from stand_ins.phpipam import address, subnet

pytestmark = pytest.mark.usefixtures("lab")


def test_a_subnet_behind_a_router_within_the_interfaces_prefix_is_probed_as_a_routed_one() -> None:
    blocks = {1: "10.5.1.0/25", 2: "10.4.255.128/25"}
    with Network("10.0.0.1/8", gateway="10.255.255.254", alive=60, quiet=100) as network:
        network.ip("route", "add", "10.5.0.0/16", "via", "10.255.255.254")
        live = {number: network.live(block) for number, block in blocks.items()}
        done = run(network, [subnet(*block) for block in blocks.items()], max_rate=500)

    assert {number: done.found(number) for number in blocks} == live
    assert done.each("mac").keys() == live[2]
    assert (done.status, done.stderr) == (0, "")


def test_an_interface_without_carrier_fails_its_subnet_and_no_other() -> None:
    known = [address(at, 1, f"10.77.1.{at}") for at in range(1, 50)]
    with Network("10.77.1.254/24") as network:
        network.simulator.terminate()
        network.simulator.wait()
        # The kernel reports a lost carrier up to a second later.
        until = time.monotonic() + 10
        while "NO-CARRIER" not in network.ip("link", "show", TAP) and time.monotonic() < until:
            time.sleep(0.05)
        done = run(network, [subnet(1, "10.77.1.0/24"), subnet(2, "127.0.5.0/30")], addresses=known)

    assert done.status == 1
    assert done.found(1) == set()
    assert not [report for report in done.reports if report["subnet"] == "10.77.1.0/24"]
    assert done.found(2) == {"127.0.5.1", "127.0.5.2"}
    (said,) = done.said
    assert "subnet 10.77.1.0/24: " in said
    assert f"interface {TAP}" in said


def test_probes_blocked_by_the_machine_fail_their_subnet_only() -> None:
    blocks = {1: "10.1.1.0/28", 2: "10.1.2.0/28"}
    with Network("192.0.2.1/24", gateway="192.0.2.254", alive=50, quiet=0) as network:
        # Like a firewall on the machine, but only packets of raw sockets, so that nmap finds a route.
        network.ip("rule", "add", "ipproto", "255", "to", blocks[1], "prohibit")
        live = network.live(blocks[2])
        done = run(network, [subnet(*block) for block in blocks.items()])

    assert done.status == 1
    assert (done.found(1), done.found(2)) == (set(), live)
    (said,) = done.said
    assert f"subnet {blocks[1]}: " in said
    assert "Permission denied" in said
