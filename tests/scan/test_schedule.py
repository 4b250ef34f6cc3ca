import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.models import Subnet
from phpipam_scan_agent.plan.jobs import MAX_JOB_SIZE, MIN_JOB_SIZE, Route
from phpipam_scan_agent.plan.ranges import Ranges
from phpipam_scan_agent.scan.schedule import Schedule, Start

LONGEST = 60
"""Maximum seconds of a wait; no test lasts so long."""


def one_route(_version: int, wanted: Sequence[Ranges]) -> Sequence[Mapping[Route, Ranges]]:
    return [{Route(): whole} for whole in wanted]


def subnets(number: int, prefix: int = 24, first: str = "10.0.0.0") -> list[Subnet]:
    """Neighbouring subnets in which every address is probed."""
    start = int(IPv4Network(first).network_address)
    step = 1 << (32 - prefix)
    networks = [IPv4Network((start + step * at, prefix)) for at in range(number)]
    return [Subnet(1 + at, each, discover=True, is_pool=True) for at, each in enumerate(networks)]


def schedule(packets: float, parallel: int, total: int) -> Schedule:
    return Schedule(packets, parallel, total, one_route)


def sizes(starts: Sequence[Start]) -> list[int]:
    return [start.job.size for start in starts]


def rates(starts: Sequence[Start]) -> list[float]:
    return [start.rate for start in starts]


def end(schedule: Schedule, start: Start) -> None:
    with schedule.running(start):
        pass


def test_jobs_of_equal_size_share_the_rate() -> None:
    of = schedule(10_000, 10, 50 * 256)
    of.add(subnets(50), 0)
    starts = list(of.startable())
    assert sizes(starts) == [5 * 256] * 10
    assert rates(starts) == pytest.approx([1000] * 10)


def test_many_addresses_take_rounds_of_equal_jobs() -> None:
    of = schedule(2000, 2, 16 * 1024)
    of.add(subnets(64), 0)
    starts = list(of.startable())
    for start in starts:  # a fast end: as if both jobs had taken no time
        end(of, start)
    assert sizes(starts) == [MAX_JOB_SIZE] * 2
    assert sum(sizes(list(of.startable()))) == 16 * 1024 - 2 * MAX_JOB_SIZE


def test_a_single_job_gets_the_whole_rate() -> None:
    of = schedule(2000, 32, 256)
    of.add(subnets(1), 0)
    assert rates(list(of.startable())) == [2000]


def test_the_first_subnets_leave_the_rate_of_expected_ones() -> None:
    of = schedule(4000, 4, 40 * 256)
    of.add(subnets(10), 30 * 256)
    (first,) = of.startable()
    assert first.job.size == 10 * 256
    assert first.rate == pytest.approx(1000)
    of.add(subnets(30, first="10.1.0.0"), 0)
    later = list(of.startable())
    assert sizes(later) == [10 * 256] * 3
    assert rates(later) == pytest.approx([1000] * 3)


def test_no_job_starts_without_a_free_process() -> None:
    of = schedule(2000, 2, 8 * MAX_JOB_SIZE)
    of.add(subnets(8, 20), 0)
    first, _ = of.startable()
    assert list(of.startable()) == []
    end(of, first)
    (third,) = of.startable()
    assert third.rate == pytest.approx(1000)


def test_a_job_that_starts_late_ends_with_the_others() -> None:
    """It gets fewer addresses than a job that starts with them."""
    of = schedule(2000, 2, 7 * 1024)
    of.add(subnets(28), 0)
    first, second = of.startable()
    assert sizes([first, second]) == [3584] * 2
    of = schedule(2000, 2, 7 * 1024)
    of.add(subnets(4), 6 * 1024)
    (small,) = of.startable()
    assert small.job.size == 1024
    assert small.rate == pytest.approx(1000)
    of.add(subnets(24, first="10.1.0.0"), 0)
    (large,) = of.startable()
    assert large.job.size == 3584  # half of all addresses, as the small job is still running
    end(of, small)
    (last,) = of.startable()
    assert last.job.size < 3584
    assert last.rate == pytest.approx(1000)


def test_an_unexpected_subnet_waits_for_a_share_of_the_rate() -> None:
    of = schedule(1000, 4, 256)
    of.add(subnets(1), 0)
    (whole,) = of.startable()
    of.add(subnets(1, first="10.1.0.0"), 0)
    assert list(of.startable()) == []
    end(of, whole)
    assert rates(list(of.startable())) == [1000]


def test_a_job_gets_at_least_an_equal_share() -> None:
    """Also where far more addresses arrive than were expected."""
    of = schedule(8000, 8, 256)
    for number in range(3):
        of.add(subnets(1, first=f"10.{number}.0.0"), 256)
        assert rates(list(of.startable())) == [8000 / 2 ** (1 + number)]
    of.add(subnets(20, 20, "10.16.0.0"), 0)
    assert rates(list(of.startable())) == [1000]


def test_addresses_without_a_route_take_no_rate_from_others() -> None:
    def find(_version: int, wanted: Sequence[Ranges]) -> Sequence[Mapping[Route, Ranges]]:
        routed = int(IPv4Network("10.1.0.0").network_address)
        return [{Route(error=None if whole[0].start >= routed else "none"): whole} for whole in wanted]

    of = Schedule(10_000, 10, 80 * 256, find)
    of.add([*subnets(40), *subnets(40, first="10.1.0.0")], 0)
    probing: list[Start] = []
    while starts := list(of.startable()):
        for start in starts:
            if start.job.route.error:
                end(of, start)
            else:
                probing.append(start)
    assert sizes(probing) == [4 * 256] * 10
    assert rates(probing) == pytest.approx([1000] * 10)


def test_a_job_that_fails_gives_its_rate_back() -> None:
    of = schedule(1000, 1, 2 * MAX_JOB_SIZE)
    of.add(subnets(2, 20), 0)
    (start,) = of.startable()
    with pytest.raises(RuntimeError), of.running(start):
        raise RuntimeError
    assert rates(list(of.startable())) == [1000]


def test_the_end_of_a_job_is_reported() -> None:
    ended: list[bool] = []
    of = Schedule(1000, 1, 256, one_route, lambda: ended.append(True))
    of.add(subnets(1), 0)
    (start,) = of.startable()
    assert ended == []
    end(of, start)
    assert ended == [True]


def test_a_subnet_without_addresses_is_a_job() -> None:
    of = schedule(1000, 2, 0)
    of.add([Subnet(1, IPv4Network("10.0.0.0/24"), ping=True)], 0)
    (start,) = of.startable()
    assert (start.job.size, start.rate) == (0, 1000)
    end(of, start)
    assert list(of.remaining()) == []


@given(
    st.lists(st.lists(st.integers(20, 30), max_size=8), min_size=1, max_size=5),
    st.integers(1, 16),
    st.floats(1, 1_000_000),
    st.integers(0, 20_000),
)
def test_every_address_is_scanned_within_the_rate(
    batches: list[list[int]], parallel: int, packets: float, wrong: int
) -> None:
    """Whatever was expected."""
    of = schedule(packets, parallel, wrong)
    lock, running, probed = threading.Lock(), list[float](), list[int]()

    def scan(start: Start) -> None:
        with of.running(start):
            with lock:
                running.append(start.rate)
                probed.append(start.job.size)
                assert len(running) <= parallel
                assert 0 < sum(running) <= packets * (1 + 1e-9)
                assert start.rate >= 0.98 * packets / parallel
                assert start.job.size <= 2 * MAX_JOB_SIZE
            with lock:
                running.remove(start.rate)

    wanted = 0
    with ThreadPoolExecutor(2 * parallel) as pool:
        futures = []
        for at, prefixes in enumerate(batches):
            for number, prefix in enumerate(prefixes):
                of.add(subnets(1, prefix, f"10.{at}.{16 * number}.0"), wrong)
                wanted += 1 << (32 - prefix)
            futures += [pool.submit(scan, start) for start in of.startable()]
        futures += [pool.submit(scan, start) for start in of.remaining()]
        for future in futures:
            future.result(LONGEST)
    assert sum(probed) == wanted


def test_remaining_jobs_wait_for_a_process() -> None:
    of = schedule(1000, 1, 3 * MAX_JOB_SIZE)
    of.add(subnets(3, 20), 0)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        (first,) = of.startable()
        stack.enter_context(of.running(first))
        remaining = of.remaining()
        second = pool.submit(next, remaining)
        assert not second.done()
        stack.close()
        assert second.result(LONGEST).job.size == MAX_JOB_SIZE


def test_a_wait_for_a_process_can_be_stopped() -> None:
    of = schedule(1000, 1, 2 * MAX_JOB_SIZE)
    of.add(subnets(2, 20), 0)
    (first,) = of.startable()
    waiting = threading.Thread(target=lambda: list(of.remaining()), daemon=True)
    waiting.start()
    of.stop()
    waiting.join(LONGEST)
    assert not waiting.is_alive()
    end(of, first)
    assert list(of.startable()) == []


def test_small_subnets_share_a_job() -> None:
    of = schedule(100_000, 32, 64 * 4)
    of.add(subnets(64, 30), 0)
    assert sizes(list(of.startable())) == [MIN_JOB_SIZE]
