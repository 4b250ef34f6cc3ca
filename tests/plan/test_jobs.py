from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.models import Address, Subnet
from phpipam_scan_agent.phpipam import nesting
from phpipam_scan_agent.plan import ranges, targets
from phpipam_scan_agent.plan.jobs import LARGEST, Job, Ways, portion
from phpipam_scan_agent.plan.jobs import make as make_jobs


def subnet(network: str, id_: int = 10, discover: bool = True, **fields: Any) -> Subnet:
    return Subnet(id_, ip_network(network), discover=discover, **fields)


def make(subnets: list[Subnet], parallel: int, *ways: Ways) -> list[Job]:
    """The jobs of subnets that come all at once, for so many processes at a time."""
    wanted: dict[IPv4Network | IPv6Network, list[range]] = {}
    for some in subnets:
        wanted.setdefault(some.network, []).extend(targets.wanted(some))
    total = sum(ranges.size(ranges.union(each)) for each in wanted.values())
    return make_jobs(subnets, portion(total, parallel), *ways)


def to_check(*ips: str, network: str = "192.0.2.0/24", id_: int = 10, vrf: int = 0) -> Subnet:
    known = tuple(Address(at, ip_address(ip)) for at, ip in enumerate(ips, 1))
    return Subnet(id_, ip_network(network), vrf, ping=True, addresses=known)


def numbers(parts: Sequence[range]) -> list[int]:
    return [number for part in parts for number in part]


def reported(jobs: list[Job], some: Subnet) -> list[int]:
    """The addresses that the jobs tell of this subnet, one entry for each time."""
    return sorted(
        number
        for job in jobs
        for part in job.slices
        for who, wish in part.wishes
        if who == some
        for number in numbers(part.ranges)
        if ranges.contains(wish, number)
    )


def check(jobs: list[Job], subnets: list[Subnet]) -> None:
    """Everything that is wanted is scanned and reported once, for whoever wants it, in pieces of a size."""
    for some in subnets:
        assert reported(jobs, some) == sorted(numbers(targets.wanted(some)))
        mine = [part for job in jobs for part in job.slices for who, _ in part.wishes if who == some]
        assert {part.parts for part in mine} == {len(mine)}
        for part in mine:
            # Nobody is asked whom nobody wants.
            wishes = ranges.union(number for _, wish in part.wishes for number in wish)
            assert set(numbers(part.ranges)) <= set(numbers(wishes))
            assert ranges.size(part.ranges) <= LARGEST
    assert all(job.size == sum(ranges.size(part.ranges) for part in job.slices) for job in jobs)
    assert all(job.size <= 2 * LARGEST for job in jobs)
    for job in jobs:
        assert {who.network.version for part in job.slices for who, _ in part.wishes} == {job.version}


@pytest.mark.parametrize("parallel", [1, 8, 32])
def test_a_small_subnet_is_one_job(parallel: int) -> None:
    some = subnet("192.0.2.0/24")
    (job,) = make([some], parallel)
    check([job], [some])
    assert (job.size, job.label, job.slices[0].parts) == (254, "192.0.2.0/24", 1)


def test_a_large_subnet_is_cut_so_that_it_uses_every_place() -> None:
    some = subnet("10.0.0.0/20")
    jobs = make([some], 16)
    check(jobs, [some])
    assert len(jobs) == 16


def test_the_hosts_of_a_very_large_one_come_in_many_portions() -> None:
    some = subnet("10.0.0.0/16")
    jobs = make([some], 1)
    check(jobs, [some])
    assert len(jobs) == 32


def test_small_subnets_share_a_process() -> None:
    subnets = [subnet(f"192.0.2.{8 * at}/29", 1 + at) for at in range(32)]
    (job,) = make(subnets, 32)
    check([job], subnets)
    assert job.label == "192.0.2.0/29 and 31 more"


def test_many_subnets_fill_the_places_once() -> None:
    """A second round would take as long as the first."""
    subnets = [subnet(f"10.0.{at}.0/24", 1 + at) for at in range(50)]
    jobs = make(subnets, 32)
    check(jobs, subnets)
    assert 25 <= len(jobs) <= 32
    assert all(len(part.ranges) == 1 and part.parts == 1 for job in jobs for part in job.slices)


def test_the_same_network_in_two_vrfs_is_scanned_once_and_told_to_both() -> None:
    twins = [subnet("192.0.2.0/29", 1, vrf=1), subnet("192.0.2.0/29", 2, vrf=2)]
    (job,) = make(twins, 8)
    check([job], twins)
    assert job.size == 6


def test_twins_are_told_what_each_wants() -> None:
    discovering = subnet("192.0.2.0/29", 1, vrf=1, nested=(ip_network("192.0.2.4/30"),))
    checking = to_check("192.0.2.2", "192.0.2.5", network="192.0.2.0/29", id_=2, vrf=2)
    (job,) = make([discovering, checking], 8)
    check([job], [discovering, checking])
    assert numbers(job.slices[0].ranges) == [int(ip_address(f"192.0.2.{last}")) for last in (1, 2, 3, 5)]


def test_overlapping_networks_of_two_vrfs_are_each_told() -> None:
    subnets = [subnet("192.0.2.0/24", 1, vrf=1), subnet("192.0.2.0/25", 2, vrf=2)]
    check(make(subnets, 8), subnets)


def test_known_addresses_far_apart_are_one_job() -> None:
    some = to_check("10.0.0.1", "10.9.9.9", "10.255.255.254", network="10.0.0.0/8")
    (job,) = make([some], 32)
    check([job], [some])
    assert job.size == 3


def test_ipv4_and_ipv6_share_no_process() -> None:
    subnets = [subnet("192.0.2.0/30", 1), subnet("2001:db8::/126", 2)]
    jobs = make(subnets, 8)
    check(jobs, subnets)
    assert [job.version for job in jobs] == [4, 6]


def test_a_subnet_of_which_nothing_is_wanted_still_gets_its_result() -> None:
    nothing, some = to_check(network="198.51.100.0/24", id_=1), subnet("192.0.2.0/30", 2)
    jobs = make([nothing, some], 8)
    check(jobs, [nothing, some])
    assert [part.parts for job in jobs for part in job.slices if part.wishes[0][0] == nothing] == [1]


def test_without_subnets_there_are_no_jobs() -> None:
    assert make([], 8) == []


SUBNETS = st.builds(
    lambda third, prefix, vrf, discover, is_pool, known: Subnet(
        0,
        IPv4Network((int(ip_address("10.0.0.0")) + 256 * third, prefix), strict=False),
        vrf,
        discover=discover,
        ping=not discover,
        is_pool=is_pool,
        addresses=tuple(
            Address(1, ip_address(int(ip_address("10.0.0.0")) + at), at % 3 == 0) for at in known
        ),
    ),
    st.integers(0, 63),
    st.integers(18, 32),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 2**14 - 1), max_size=20, unique=True),
)


@given(
    st.lists(SUBNETS, max_size=12, unique_by=lambda some: (some.network, some.vrf)),
    st.sampled_from([1, 2, 8, 32, 256]),
)
def test_whatever_there_is_each_wanted_address_is_scanned_once_for_its_network(
    found: list[Subnet], parallel: int
) -> None:
    inside = nesting.inside((some.vrf, some.network) for some in found)
    subnets = [
        replace(some, id=at, nested=tuple(inside[some.vrf, some.network])) for at, some in enumerate(found, 1)
    ]
    jobs = make(subnets, parallel)
    check(jobs, subnets)
    slices = Counter(
        (part.wishes[0][0].network, number)
        for job in jobs
        for part in job.slices
        for number in numbers(part.ranges)
    )
    assert max(slices.values(), default=1) == 1
    total = sum(job.size for job in jobs)
    busy = [job for job in jobs if job.size]
    rounds = max(1, -(-total // (parallel * LARGEST)))
    assert len(busy) <= parallel * rounds + 1
