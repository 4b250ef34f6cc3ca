import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.plan.jobs import MAX_JOB_SIZE
from phpipam_scan_agent.scan.rate import MIN_SHARE, Rate, slots

LONGEST = 60
"""Maximum seconds of a wait; no test lasts so long."""


class Seen:
    """The jobs that hold a share, and the maxima of their number and rate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: list[float] = []
        self.most_at_once = 0
        self.most_packets = 0.0
        self.done = 0

    @contextmanager
    def holding(self, share: float) -> Iterator[None]:
        with self._lock:
            assert share > 0
            self._now.append(share)
            self.most_at_once = max(self.most_at_once, len(self._now))
            self.most_packets = max(self.most_packets, sum(self._now))
        try:
            yield
        finally:
            with self._lock:
                self._now.remove(share)
                self.done += 1


def with_jobs(packets_per_second: float, parallel: int, sizes: Iterable[int]) -> Rate:
    """A rate for waiting jobs of these sizes, without further jobs."""
    rate = Rate(packets_per_second, parallel, 0)
    for size in sizes:
        rate.add(size)
    return rate


@pytest.mark.parametrize("parallel", [1, 2, 8])
def test_threads_use_every_slot_within_the_rate(parallel: int) -> None:
    # Of one size, since the slot of a small job stays free until larger jobs end.
    sizes = [100] * 8 * parallel
    rate, seen = with_jobs(2000, parallel, sizes), Seen()
    # A round ends only after each of its slots was used.
    all_slots_taken = threading.Barrier(parallel)

    def job(size: int) -> None:
        with rate.share(size) as share, seen.holding(share):
            all_slots_taken.wait(LONGEST)

    with ThreadPoolExecutor(len(sizes)) as pool:
        list(pool.map(job, sizes))
    assert seen.done == len(sizes)
    assert seen.most_at_once == parallel
    assert seen.most_packets == pytest.approx(2000)


@given(
    st.lists(st.integers(0, 2048), min_size=1, max_size=40),
    st.integers(1, 16),
    st.floats(1, 1_000_000),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_the_shares_stay_below_the_rate_in_any_order_of_jobs(
    sizes: list[int], parallel: int, packets: float, threads: int, order: Random
) -> None:
    rate, seen = with_jobs(packets, parallel, sizes), Seen()

    def job(size: int) -> None:
        with rate.share(size) as share, seen.holding(share):
            pass

    shuffled = list(sizes)
    order.shuffle(shuffled)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(job, shuffled))
    assert seen.done == len(sizes)
    assert seen.most_at_once <= parallel
    assert seen.most_packets <= packets * (1 + 1e-9)


def test_parallel_jobs_share_the_rate_by_their_sizes() -> None:
    """So that they end at the same time."""
    rate = with_jobs(1000, 3, [300, 100, 100])
    with rate.share(300) as large, rate.share(100) as small, rate.share(100) as other:
        assert [large, small, other] == pytest.approx([600, 200, 200])


def test_a_single_job_gets_the_whole_rate() -> None:
    with with_jobs(2000, 32, [254]).share(254) as share:
        assert share == 2000


def test_the_last_jobs_get_the_free_rate() -> None:
    rate = with_jobs(1000, 2, [10, 10, 10])
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(rate.share(10))
        second.enter_context(rate.share(10))
        first.close()
        with rate.share(10) as last:
            assert last == pytest.approx(500)
    rate = with_jobs(1000, 2, [10, 10, 10])
    with rate.share(10), rate.share(10):
        pass
    with rate.share(10) as last:
        assert last == pytest.approx(1000)


def test_a_job_in_the_last_free_slot_gets_the_whole_free_rate() -> None:
    """Whatever the size of the jobs that wait for other slots."""
    rate = with_jobs(1000, 2, [10, 10, 20, 10])
    with ExitStack() as first, rate.share(10):
        first.enter_context(rate.share(10))
        first.close()
        with rate.share(10) as share:
            assert share == pytest.approx(500)


def test_an_empty_job_takes_a_minimal_share_and_delays_no_other() -> None:
    rate = with_jobs(1000, 2, [0, 999])
    with rate.share(0), rate.share(999) as share:
        assert share == pytest.approx(999)


def test_a_job_that_fails_gives_its_share_back() -> None:
    rate = with_jobs(1000, 1, [10, 10])
    with pytest.raises(RuntimeError), rate.share(10):
        raise RuntimeError
    with rate.share(10) as share:
        assert share == pytest.approx(1000)


@pytest.mark.parametrize(
    ("packets", "most", "expected"),
    [(1, 32, 1), (MIN_SHARE, 32, 1), (4 * MIN_SHARE, 32, 4), (10_000, 1, 1), (1_000_000, 32, 32)],
)
def test_the_rate_limits_the_number_of_slots(packets: float, most: int, expected: int) -> None:
    assert slots(packets, most) == expected


def test_a_job_leaves_the_share_of_later_jobs() -> None:
    rate = Rate(1000, 4, 3 * MAX_JOB_SIZE)
    rate.add(MAX_JOB_SIZE)
    with rate.share(MAX_JOB_SIZE) as first:
        assert first == pytest.approx(1000 / 3)
        rate.add(MAX_JOB_SIZE)
        rate.complete()
        with rate.share(MAX_JOB_SIZE) as last:
            assert last == pytest.approx(2000 / 3)


def test_an_unexpected_job_waits_for_a_minimal_share() -> None:
    rate = with_jobs(1000, 4, [MAX_JOB_SIZE])
    ended = threading.Event()
    shares: list[float] = []

    def unexpected() -> None:
        with rate.share(MAX_JOB_SIZE) as share:
            assert ended.is_set()
            shares.append(share)

    with rate.share(MAX_JOB_SIZE) as whole:
        assert whole == 1000
        rate.add(MAX_JOB_SIZE)
        thread = threading.Thread(target=unexpected)
        thread.start()
        thread.join(0.05)
        ended.set()
    thread.join(LONGEST)
    assert shares == [1000]


@pytest.mark.parametrize(("small", "size"), [(10, 100), (40, 60)])
def test_a_job_in_the_slot_of_a_small_one_waits_for_a_larger_share(small: int, size: int) -> None:
    """With the share of the small job, it would still run long after all others."""
    rate = with_jobs(1000, 2, [100, small, size])
    with ExitStack() as first, ThreadPoolExecutor(1) as pool:
        first.enter_context(rate.share(100))
        with rate.share(small) as share_of_small:
            assert share_of_small == pytest.approx(1000 * small / (100 + small))
        last = ExitStack()
        share = pool.submit(last.enter_context, rate.share(size))
        with pytest.raises(futures.TimeoutError):
            share.result(0.05)
        first.close()
        assert share.result(LONGEST) == pytest.approx(1000)
        last.close()
