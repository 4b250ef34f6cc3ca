from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from phpipam_scan_agent.models import Address, Outcome, Subnet
from phpipam_scan_agent.plan import ranges, targets

NEITHER = "neither Discover new hosts nor Check hosts status is on in phpIPAM"


def subnet(network: str, id_: int = 10, discover: bool = True, **fields: Any) -> Subnet:
    return Subnet(id_, ip_network(network), discover=discover, **fields)


def known(*ips: str, exclude_ping: bool = False) -> tuple[Address, ...]:
    return tuple(Address(100 + at, ip_address(ip), exclude_ping) for at, ip in enumerate(ips))


def choose(*assigned: Subnet, only: tuple[str, ...] = (), ipv6: bool = False) -> list[Subnet]:
    return targets.choose(assigned, tuple(map(ip_network, only)), ipv6)[0]


def left(*assigned: Subnet, only: tuple[str, ...] = (), ipv6: bool = False) -> list[Outcome]:
    return targets.choose(assigned, tuple(map(ip_network, only)), ipv6)[1]


def wanted(some: Subnet) -> list[str]:
    """The addresses to probe, as text."""
    address = type(some.network.network_address)
    return [str(address(number)) for part in targets.of_subnet(some) for number in part]


def hosts(*last: int) -> list[str]:
    return [f"192.0.2.{number}" for number in last]


# Subnets


def test_a_parent_subnet_is_discovered_only_if_configured() -> None:
    parent = subnet("192.0.2.0/24", nested=(ip_network("192.0.2.8/30"),))
    assert targets.choose([parent], (), False, scan_parents=True) == ([parent], [])
    chosen, (outcome,) = targets.choose([parent], (), False)
    assert chosen == []
    assert outcome.skipped is not None
    assert "scan_parents" in outcome.skipped


def test_the_same_network_in_several_vrfs_is_named_once_with_its_ids() -> None:
    twins = [subnet("192.0.2.0/24", 7, vrf=1), subnet("192.0.2.0/24", 8, vrf=2), subnet("198.51.100.0/24", 9)]
    said = targets.in_several_vrfs(twins)
    assert said is not None
    assert "192.0.2.0/24 (ids 7, 8);" in said
    assert "198.51.100.0/24" not in said
    assert targets.in_several_vrfs(twins[1:]) is None


def test_the_known_addresses_of_a_parent_subnet_are_checked() -> None:
    parent = subnet(
        "192.0.2.0/24", ping=True, nested=(ip_network("192.0.2.8/30"),), addresses=known("192.0.2.9")
    )
    (chosen,) = choose(parent)
    assert wanted(chosen) == ["192.0.2.9"]


def test_subnets_to_discover_and_those_to_check_are_scanned() -> None:
    subnets = [subnet("192.0.2.0/24", 1), subnet("198.51.100.0/28", 2, discover=False, ping=True)]
    assert targets.choose(subnets, (), ipv6=False) == (subnets, [])


@pytest.mark.parametrize(
    ("alone", "reason"),
    [
        (subnet("192.0.2.0/24", discover=False), NEITHER),
        (subnet("192.0.2.0/24", discover=False, resolve_names=True, addresses=known("192.0.2.1")), NEITHER),
        (subnet("2001:db8::/64"), "IPv6 is off; set ipv6: true if your Scan Server stores it"),
        (subnet("0.0.0.0/0"), "its mask is 0: the whole address space"),
        (subnet("0.0.0.0/0", discover=False, ping=True), "its mask is 0: the whole address space"),
    ],
    ids=["neither", "names alone", "IPv6", "mask 0", "mask 0 to check"],
)
def test_skipped_subnets_have_a_reason(alone: Subnet, reason: str) -> None:
    right = subnet("198.51.100.0/28", 2)
    assert choose(alone, right) == [right]
    assert left(alone, right) == [Outcome(str(alone.network), 10, skipped=reason)]


@pytest.mark.parametrize("network", ["0.0.0.0/1", "10.0.0.0/7"])
def test_a_network_larger_than_a_8_is_an_error(network: str) -> None:
    (outcome,) = left(subnet(network), subnet("192.0.2.0/24"))
    assert (
        outcome.error == "is larger than a /8, which takes hours to search; assign the parts in use instead"
    )
    assert choose(subnet(network, discover=False, ping=True))


def test_a_run_is_limited_to_four_8s_and_counts_networks_once() -> None:
    eights = [subnet(f"{number}.0.0.0/8", number, vrf=vrf) for vrf in (0, 1) for number in (10, 11, 12, 13)]
    assert choose(*eights) == eights
    (outcome,) = left(
        *eights, subnet("192.0.2.0/24", 1), subnet("192.0.2.0/24", 2, discover=False, ping=True)
    )
    assert (
        outcome.error
        == "is left out: a run searches at most 67,108,864 addresses; assign it to another agent"
    )


def test_ipv6_is_scanned_where_it_is_switched_on() -> None:
    six = subnet("2001:db8::/120")
    assert choose(six, ipv6=True) == [six]
    assert left(six, ipv6=True) == []


def test_the_whole_ipv6_space_is_skipped() -> None:
    assert choose(subnet("::/0"), ipv6=True) == []


@pytest.mark.parametrize("only", ["192.0.2.0/24", "192.0.2.0/23", "192.0.0.0/16"])
def test_a_run_is_limited_to_the_subnets_within(only: str) -> None:
    inside, outside = subnet("192.0.2.0/24", 1), subnet("203.0.113.0/24", 2)
    assert choose(inside, outside, only=(only,)) == [inside]
    assert left(inside, outside, only=(only,)) == []


def test_several_limits_add_up() -> None:
    subnets = [subnet("192.0.2.0/24", 1), subnet("203.0.113.0/24", 2), subnet("198.51.100.0/24", 3)]
    assert choose(*subnets, only=("198.51.100.0/24", "192.0.2.0/24")) == [subnets[0], subnets[2]]


def test_a_limit_takes_the_network_in_every_vrf() -> None:
    subnets = [subnet("192.0.2.0/24", 1, vrf=1), subnet("192.0.2.0/24", 2, vrf=2)]
    assert choose(*subnets, only=("192.0.2.0/24",)) == subnets


@pytest.mark.parametrize("only", ["192.0.2.0/25", "192.0.2.1/32", "2001:db8::/64", "::/0"])
def test_a_limit_that_matches_no_subnet_is_a_failure(only: str) -> None:
    """The server would not find a part of a subnet."""
    failed = Outcome(only, error="--subnet: phpIPAM assigns no such subnet to this agent")
    assert choose(subnet("192.0.2.0/24"), only=(only,)) == []
    assert left(subnet("192.0.2.0/24"), only=(only,)) == [failed]


def test_a_limit_does_not_scan_skipped_subnets() -> None:
    neither = subnet("192.0.2.0/24", discover=False)
    assert choose(neither, only=("192.0.2.0/24",)) == []
    assert left(neither, only=("192.0.2.0/24",)) == [Outcome("192.0.2.0/24", 10, skipped=NEITHER)]


# Addresses


def test_discovery_probes_every_host_address() -> None:
    assert wanted(subnet("192.0.2.8/29", addresses=known("192.0.2.9"))) == hosts(9, 10, 11, 12, 13, 14)


def test_a_check_probes_known_addresses_only() -> None:
    some = subnet("192.0.2.8/29", discover=False, ping=True, addresses=known("192.0.2.12", "192.0.2.9"))
    assert wanted(some) == hosts(9, 12)


def test_a_check_of_a_subnet_without_addresses_probes_none() -> None:
    assert wanted(subnet("192.0.2.8/29", discover=False, ping=True)) == []


def test_a_known_address_outside_the_subnet_is_not_checked() -> None:
    addresses = known("192.0.2.16", "192.0.2.7", "2001:db8::1", "::192.0.2.10", "192.0.2.9")
    assert wanted(subnet("192.0.2.8/29", discover=False, ping=True, addresses=addresses)) == hosts(9)


def test_discovery_takes_precedence_over_a_check() -> None:
    both = subnet("192.0.2.8/30", ping=True, addresses=known("192.0.2.9"))
    assert wanted(both) == hosts(9, 10)


@pytest.mark.parametrize("discover", [True, False])
def test_an_address_with_ping_exclude_is_not_probed(discover: bool) -> None:
    addresses = known("192.0.2.9") + known("192.0.2.10", exclude_ping=True)
    assert wanted(subnet("192.0.2.8/30", discover=discover, ping=True, addresses=addresses)) == hosts(9)


@pytest.mark.parametrize(
    ("network", "is_pool", "ends"),
    [
        ("192.0.2.0/29", False, hosts(1, 6)),
        ("192.0.2.0/30", False, hosts(1, 2)),
        ("192.0.2.0/29", True, hosts(0, 7)),
        ("192.0.2.0/31", False, hosts(0, 1)),
        ("192.0.2.0/31", True, hosts(0, 1)),
        ("192.0.2.7/32", False, hosts(7, 7)),
        ("2001:db8::/125", False, ["2001:db8::1", "2001:db8::7"]),
        ("2001:db8::/125", True, ["2001:db8::", "2001:db8::7"]),
        ("2001:db8::/127", False, ["2001:db8::", "2001:db8::1"]),
        ("2001:db8::7/128", False, ["2001:db8::7", "2001:db8::7"]),
    ],
)
@pytest.mark.parametrize("discover", [True, False])
def test_network_and_broadcast_address_are_probed_in_pools_and_the_smallest_alone(
    network: str, is_pool: bool, ends: list[str], discover: bool
) -> None:
    everything = known(*map(str, ip_network(network)))
    found = wanted(
        subnet(network, discover=discover, ping=not discover, is_pool=is_pool, addresses=everything)
    )
    assert [found[0], found[-1]] == ends


def test_a_whole_large_network_is_a_single_range() -> None:
    assert ranges.size(targets.of_subnet(subnet("10.0.0.0/8"))) == 2**24 - 2


# Nested subnets


def test_nested_subnets_of_another_agent_are_not_probed() -> None:
    outer = subnet("192.0.2.0/28", nested=(ip_network("192.0.2.8/30"), ip_network("192.0.2.12/30")))
    assert wanted(outer) == hosts(1, 2, 3, 4, 5, 6, 7)


def test_a_subnet_covered_by_nested_subnets_is_not_probed() -> None:
    halves = (ip_network("192.0.2.0/25"), ip_network("192.0.2.128/25"))
    assert wanted(subnet("192.0.2.0/24", nested=halves)) == []


def test_a_check_probes_known_addresses_in_nested_subnets() -> None:
    """phpIPAM has these addresses in this subnet only."""
    nested = (ip_network("192.0.2.4/30"),)
    some = subnet("192.0.2.0/29", discover=False, ping=True, nested=nested, addresses=known("192.0.2.5"))
    assert wanted(some) == hosts(5)


def without_host(*subnets: Subnet) -> list[str]:
    return [str(ip_address(number)) for part in targets.without_host(subnets) for number in part]


def test_reserved_addresses_prove_a_firewall_unless_a_host_may_have_them() -> None:
    plain = subnet("192.0.2.0/24")
    assert without_host(plain) == hosts(0, 255)
    assert without_host(plain, plain._replace(addresses=known("192.0.2.0", exclude_ping=True))) == hosts(255)
    assert without_host(plain._replace(nested=(ip_network("192.0.2.128/25"),))) == hosts(0)
    assert without_host(plain, plain._replace(is_pool=True)) == []
