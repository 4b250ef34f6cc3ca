from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.models import Address, Subnet
from phpipam_scan_agent.phpipam import nesting
from phpipam_scan_agent.plan import ranges, targets
from phpipam_scan_agent.plan.jobs import (
    MAX_JOB_SIZE,
    MIN_JOB_SIZE,
    FindRoutes,
    Job,
    Route,
    Waiting,
    chunk_size,
    expected,
)


def subnet(network: str, id_: int = 10, discover: bool = True, **fields: Any) -> Subnet:
    return Subnet(id_, ip_network(network), discover=discover, **fields)


def behind(route: Route) -> FindRoutes:
    """Let all addresses have one route."""
    return lambda _, wanted: [{route: whole} for whole in wanted]


def make(subnets: list[Subnet], parallel: int) -> list[Job]:
    """The jobs of subnets that wait together, for this number of parallel processes."""
    wanted: dict[IPv4Network | IPv6Network, list[range]] = {}
    for some in subnets:
        wanted.setdefault(some.network, []).extend(targets.of_subnet(some))
    total = sum(ranges.size(ranges.union(each)) for each in wanted.values())
    waiting = Waiting()
    waiting.add(subnets, chunk_size(total, parallel), behind(Route()))
    assert waiting.size == total
    jobs: list[Job] = []
    missing = parallel * max(1, -(-total // (parallel * MAX_JOB_SIZE)))
    while waiting:
        jobs.append(waiting.take(max(MIN_JOB_SIZE, waiting.size / max(1, missing - len(jobs)))))
    assert waiting.size == 0
    return jobs


def to_check(*ips: str, network: str = "192.0.2.0/24", id_: int = 10, vrf: int = 0) -> Subnet:
    known = tuple(Address(at, ip_address(ip)) for at, ip in enumerate(ips, 1))
    return Subnet(id_, ip_network(network), vrf, ping=True, addresses=known)


def numbers(parts: Sequence[range]) -> list[int]:
    return [number for part in parts for number in part]


def reported(jobs: list[Job], some: Subnet) -> list[int]:
    """The addresses that the jobs report for a subnet, once for each report."""
    return sorted(
        number
        for job in jobs
        for chunk in job.chunks
        for subnet, own in chunk.subnets
        if subnet == some
        for number in numbers(chunk.ranges)
        if ranges.contains(own, number)
    )


def check(jobs: list[Job], subnets: list[Subnet]) -> None:
    """Each target is probed once and reported for each of its subnets, in chunks of limited size."""
    for some in subnets:
        assert reported(jobs, some) == sorted(numbers(targets.of_subnet(some)))
        mine = [
            chunk for job in jobs for chunk in job.chunks for subnet, _ in chunk.subnets if subnet == some
        ]
        assert {chunk.parts for chunk in mine} == {len(mine)}
        for chunk in mine:
            # Only targets are probed.
            wanted = ranges.union(part for _, own in chunk.subnets for part in own)
            assert set(numbers(chunk.ranges)) <= set(numbers(wanted))
            assert ranges.size(chunk.ranges) <= MAX_JOB_SIZE
    assert all(job.size == sum(ranges.size(chunk.ranges) for chunk in job.chunks) for job in jobs)
    assert all(job.size <= 2 * MAX_JOB_SIZE for job in jobs)
    for job in jobs:
        assert {subnet.network.version for chunk in job.chunks for subnet, _ in chunk.subnets} == {
            job.version
        }


@pytest.mark.parametrize("parallel", [1, 8, 32])
def test_a_small_subnet_is_one_job(parallel: int) -> None:
    some = subnet("192.0.2.0/24")
    (job,) = make([some], parallel)
    check([job], [some])
    assert (job.size, job.label, job.chunks[0].parts) == (254, "192.0.2.0/24", 1)


def test_a_large_subnet_is_split_across_all_processes() -> None:
    some = subnet("10.0.0.0/20")
    jobs = make([some], 16)
    check(jobs, [some])
    assert len(jobs) == 16


def test_the_results_of_a_very_large_subnet_come_in_many_parts() -> None:
    some = subnet("10.0.0.0/16")
    jobs = make([some], 1)
    check(jobs, [some])
    assert len(jobs) == 16


def test_small_subnets_share_a_process() -> None:
    subnets = [subnet(f"192.0.2.{8 * at}/29", 1 + at) for at in range(32)]
    (job,) = make(subnets, 32)
    check([job], subnets)
    assert job.label == "192.0.2.0/29 and 31 more"


def test_many_subnets_fill_the_processes_once() -> None:
    """A second round of processes would take as long as the first."""
    subnets = [subnet(f"10.0.{at}.0/24", 1 + at) for at in range(50)]
    jobs = make(subnets, 32)
    check(jobs, subnets)
    assert 25 <= len(jobs) <= 32
    assert all(len(chunk.ranges) == 1 and chunk.parts == 1 for job in jobs for chunk in job.chunks)


def test_a_job_is_as_near_to_its_size_as_whole_chunks_allow() -> None:
    waiting = Waiting()
    waiting.add([subnet(f"10.0.{at}.0/24", 1 + at) for at in range(10)], 4096, behind(Route()))
    assert [len(waiting.take(size).chunks) for size in (10, 600, 700, 5000)] == [1, 2, 3, 4]


def test_a_job_has_one_route() -> None:
    waiting = Waiting()
    for at, device in enumerate(("one", "other", "one")):
        waiting.add([subnet(f"192.0.2.{8 * at}/29", 1 + at)], 256, behind(Route(device)))
    jobs = [waiting.take(256), waiting.take(256)]
    assert [(job.route.device, [str(chunk.network) for chunk in job.chunks]) for job in jobs] == [
        ("one", ["192.0.2.0/29", "192.0.2.16/29"]),
        ("other", ["192.0.2.8/29"]),
    ]


def test_the_same_network_in_two_vrfs_is_scanned_once_and_reported_for_both() -> None:
    twins = [subnet("192.0.2.0/29", 1, vrf=1), subnet("192.0.2.0/29", 2, vrf=2)]
    (job,) = make(twins, 8)
    check([job], twins)
    assert job.size == 6


def test_two_vrfs_with_one_network_each_get_their_own_targets() -> None:
    discovering = subnet("192.0.2.0/29", 1, vrf=1, nested=(ip_network("192.0.2.4/30"),))
    checking = to_check("192.0.2.2", "192.0.2.5", network="192.0.2.0/29", id_=2, vrf=2)
    (job,) = make([discovering, checking], 8)
    check([job], [discovering, checking])
    assert numbers(job.chunks[0].ranges) == [int(ip_address(f"192.0.2.{last}")) for last in (1, 2, 3, 5)]


def test_overlapping_networks_of_two_vrfs_are_each_reported() -> None:
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


def test_a_subnet_without_targets_still_has_a_result() -> None:
    nothing, some = to_check(network="198.51.100.0/24", id_=1), subnet("192.0.2.0/30", 2)
    jobs = make([nothing, some], 8)
    check(jobs, [nothing, some])
    assert [chunk.parts for job in jobs for chunk in job.chunks if chunk.subnets[0][0] == nothing] == [1]


def test_a_network_in_several_vrfs_counts_once() -> None:
    discovered = [subnet("192.0.2.0/24", id_, vrf=id_) for id_ in (1, 2, 3)]
    others = [subnet("198.51.100.0/29", 5), to_check(network="10.0.0.0/8", id_=6)]
    assert expected([*discovered, *others]) == 254 + 6 + MIN_JOB_SIZE


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
def test_each_target_is_scanned_once_for_its_network(found: list[Subnet], parallel: int) -> None:
    inside = nesting.inside((some.vrf, some.network) for some in found)
    subnets = [
        some._replace(id=at, nested=tuple(inside[some.vrf, some.network])) for at, some in enumerate(found, 1)
    ]
    jobs = make(subnets, parallel)
    check(jobs, subnets)
    probed = Counter(
        (chunk.subnets[0][0].network, number)
        for job in jobs
        for chunk in job.chunks
        for number in numbers(chunk.ranges)
    )
    assert max(probed.values(), default=1) == 1
    total = sum(job.size for job in jobs)
    busy = [job for job in jobs if job.size]
    rounds = max(1, -(-total // (parallel * MAX_JOB_SIZE)))
    assert len(busy) <= parallel * rounds + 1
