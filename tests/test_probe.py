import subprocess
from ipaddress import ip_network

import pytest

from phpipam_scan_agent import probe
from phpipam_scan_agent.models import Outcome, Subnet


def subnet(network: str, id_: int = 10, discover: bool = True) -> Subnet:
    return Subnet(id_, ip_network(network), discover=discover, resolve_names=True)


def skipped(network: str, reason: str, id_: int = 10) -> Outcome:
    return Outcome(network, id_, skipped=reason)


def test_subnets_set_to_discover_are_scanned() -> None:
    subnets = [subnet("192.0.2.0/24", 1), subnet("198.51.100.0/28", 2)]
    assert probe.choose(subnets, only=()) == (subnets, [])


def test_the_same_network_in_two_vrfs_is_scanned_twice() -> None:
    subnets = [subnet("192.0.2.0/24", 1), subnet("192.0.2.0/24", 2)]
    assert probe.choose(subnets, only=()) == (subnets, [])


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (subnet("192.0.2.0/24", discover=False), "not set to discover hosts in phpIPAM"),
        (subnet("2001:db8::/64"), "the Scan Server drops IPv6"),
        (subnet("0.0.0.0/0"), "the mask 0 is everything there is"),
    ],
    ids=str,
)
def test_others_are_left_with_the_reason(left: Subnet, reason: str) -> None:
    right = subnet("198.51.100.0/28", 2)
    assert probe.choose([left, right], only=()) == ([right], [skipped(str(left.network), reason)])


@pytest.mark.parametrize("only", ["192.0.2.0/24", "192.0.2.0/23", "192.0.0.0/16"])
def test_a_run_is_limited_to_the_subnets_within(only: str) -> None:
    inside, outside = subnet("192.0.2.0/24", 1), subnet("203.0.113.0/24", 2)
    assert probe.choose([inside, outside], (ip_network(only),)) == ([inside], [])


def test_several_limits_add_up() -> None:
    subnets = [subnet("192.0.2.0/24", 1), subnet("203.0.113.0/24", 2), subnet("198.51.100.0/24", 3)]
    limits = (ip_network("198.51.100.0/24"), ip_network("192.0.2.0/24"))
    assert probe.choose(subnets, limits) == ([subnets[0], subnets[2]], [])


@pytest.mark.parametrize("only", ["192.0.2.0/25", "192.0.2.1/32", "2001:db8::/64", "::/0"])
def test_a_limit_that_fits_no_subnet_is_a_failure(only: str) -> None:
    """A part of a subnet is none: the report would tell the server of a subnet that it does not know."""
    chosen, left = probe.choose([subnet("192.0.2.0/24")], (ip_network(only),))
    failed = Outcome(only, error="--subnet: phpIPAM assigns no such subnet to this agent")
    assert (chosen, left) == ([], [failed])


def test_a_limit_does_not_scan_what_is_not_set_to_discover() -> None:
    chosen, left = probe.choose([subnet("192.0.2.0/24", discover=False)], (ip_network("192.0.2.0/24"),))
    assert (chosen, left) == ([], [skipped("192.0.2.0/24", "not set to discover hosts in phpIPAM")])


def test_nmap_scans_the_targets_of_the_subnet_and_no_ports() -> None:
    """Real nmap, on loopback: all of 127.0.0.0/8 is this machine."""
    targets = probe.targets(subnet("127.0.3.4/30"))
    done = subprocess.run(probe.NMAP, input=targets, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [f"127.0.3.{last}" for last in range(3, 9) if f'addr="127.0.3.{last}"' in done.stdout] == [
        "127.0.3.4",
        "127.0.3.5",
        "127.0.3.6",
        "127.0.3.7",
    ]
    assert 'exit="success"' in done.stdout
    assert "<port" not in done.stdout
    assert 'type="PTR"' not in done.stdout
