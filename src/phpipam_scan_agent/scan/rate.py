"""The run's packet rate, divided among the running processes."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from ..plan.jobs import MAX_JOB_SIZE

log = logging.getLogger(__name__)

CONNECTING_RATE = 500
"""Maximum packets per second without raw sockets: the kernel then sends ARP requests in addition to nmap's rate, and
its neighbour table overflows. Of 122 hosts of a /21 it found all at 600, 121 at 1,000 and 92 at 2,000."""

CONNECTING_SHARE = 0.5
"""Share of the rate that nmap gets then: with the kernel's ARP requests up to 1.9 times as many packets are sent."""

MIN_SHARE = 1000
"""Packets per second below which a further process does not pay. 12,700 addresses at 2,000 packets a second took 13.5
s with 32 processes and 12.7 s with 4, at a third of the CPU time; 2 take as long as 4, at two thirds of the CPU
time."""


def total_rate(max_rate: float, raw: bool) -> float:
    """Return the packets per second for all nmap processes; `raw` is whether nmap may open raw sockets."""
    if raw:
        return max_rate
    log.warning(
        "nmap may not open raw sockets here and scans by TCP connections, which is slower and finds fewer"
        " hosts; run the agent as root, or give it CAP_NET_RAW"
    )
    return min(max_rate, CONNECTING_RATE) * CONNECTING_SHARE


def slots(packets_per_second: float, parallel_scans: int) -> int:
    """Return the number of processes that should run in parallel."""
    return max(1, min(parallel_scans, int(packets_per_second // MIN_SHARE)))


class Rate:
    """Hands out shares of `packets_per_second` to at most `parallel` jobs at a time.

    A job keeps its share to its end, since a running nmap cannot change its rate. The free rate is divided among the
    jobs that can start beside the running ones, by size, so that they end at the same time. Jobs are added as they
    become known; until `complete`, the addresses missing from `expected` count as further jobs.
    """

    def __init__(self, packets_per_second: float, parallel: int, expected: int) -> None:
        self._rate = self._free = float(packets_per_second)
        self._slots = parallel
        self._waiting: list[int] = []
        self._expected = expected
        self._unfinished = expected
        self._changed = threading.Condition()

    def add(self, size: int) -> None:
        """Add a waiting job with this number of addresses."""
        size = max(size, 1)
        with self._changed:
            self._waiting.append(size)
            self._unfinished += max(0, size - self._expected)
            self._expected = max(0, self._expected - size)

    def complete(self) -> None:
        """Expect no further jobs."""
        with self._changed:
            self._unfinished -= self._expected
            self._expected = 0
            self._changed.notify_all()

    @contextmanager
    def share(self, size: int) -> Iterator[float]:
        """Wait for a free slot, then hold a share, in packets per second, until the block ends."""
        size = max(size, 1)
        with self._changed:
            self._changed.wait_for(lambda: self._slots and self._pace(size) >= self._least_pace())
            share = size * self._pace(size)
            self._waiting.remove(size)
            self._slots -= 1
            self._free -= share
        try:
            yield share
        finally:
            with self._changed:
                self._slots += 1
                self._free += share
                self._unfinished -= size
                self._changed.notify_all()

    def _pace(self, size: int) -> float:
        """Return the share per address of a job that starts now: the jobs that start with it get the same."""
        others = self._waiting.copy()
        others.remove(size)
        known = sum(islice(others, self._slots - 1))
        further = max(0, self._slots - len(self._waiting)) * MAX_JOB_SIZE
        return self._free / (size + known + min(self._expected, further))

    def _least_pace(self) -> float:
        """Return the pace below which a job waits, since it would still run after all others.

        In simulations of 50 subnets /24 at 10,000 packets a second whose addresses arrive in 4 or 10 batches, the
        slowest of 300 runs took 1.9 times as long as its packets, and 3.1 or 4.9 times with half of an equal share
        as the limit.
        """
        return 0.99 * self._rate / self._unfinished  # without 0.99, rounding would make equal jobs wait
