"""Firewalls that answer for unused addresses, and hosts that drop ICMP."""

from typing import Any

import pytest

from lab.agent import NOBODY, run
from lab.network import Network
from stand_ins.phpipam import subnet

pytestmark = pytest.mark.usefixtures("lab")

ROUTED: dict[str, Any] = {"address": "192.0.2.1/24", "gateway": "192.0.2.254", "rtt": 20}


@pytest.mark.parametrize(
    ("like", "block"),
    [
        pytest.param({"loss": 5}, "10.1.0.0/22", id="5 % live, 5 % loss, in pieces"),
        pytest.param({"alive": 0}, "10.1.1.0/24", id="no host"),
    ],
)
def test_addresses_that_only_a_firewall_answers_for_are_not_reported(
    like: dict[str, Any], block: str
) -> None:
    with Network(**ROUTED | like, resets=True) as network:
        live = network.live(block)
        by_default = network.run(["nmap", "-sn", "-n", "--min-rate", "5000", block]).stdout
        done = run(network, [subnet(1, block)])

    assert by_default.count("Host is up") > 250  # every address answers
    assert done.found() == live
    assert done.status == 0
    assert len(done.said) == 1
    assert f"subnet {block}: a firewall" in done.stderr


def test_hosts_that_drop_icmp_behind_a_firewall_cause_no_false_hosts() -> None:
    block = "10.1.1.0/24"
    with Network(**ROUTED, resets=True, quiet=20, alive=50, loss=5) as network:
        live = network.live(block)
        done = run(network, [subnet(1, block)])

    assert done.found() <= live
    assert len(done.found()) > len(live) / 2
    assert len(done.said) == 1


def test_only_subnets_behind_a_firewall_have_a_warning() -> None:
    behind = {1: "10.1.1.0/26", 2: "10.1.2.0/26"}
    with Network(**ROUTED, resets=True) as network:
        done = run(network, [*(subnet(*block) for block in behind.items()), subnet(3, "192.0.2.0/26")])
        live = {number: network.live(block) for number, block in behind.items()}

    assert {number: done.found(number) for number in behind} == live
    assert len(done.said) == 2
    assert all(f"subnet {block}: a firewall" in done.stderr for block in behind.values())


@pytest.mark.parametrize("alive", [5, 90])
def test_hosts_that_drop_icmp_are_found(alive: int) -> None:
    block = "10.1.0.0/23"
    with Network(**ROUTED, quiet=50, alive=alive, loss=1) as network:
        live = network.live(block)
        done = run(network, [subnet(1, block)])

    assert done.found() == live
    assert (done.status, done.stderr) == (0, "")


def test_no_false_host_is_reported_without_raw_sockets() -> None:
    block = "10.1.1.0/24"
    with Network(**ROUTED, resets=True) as network:
        live = network.live(block)
        done = run(network, [subnet(1, block)], prefix=NOBODY)

    assert done.found() <= live
    assert f"subnet {block}: a firewall" in done.stderr
