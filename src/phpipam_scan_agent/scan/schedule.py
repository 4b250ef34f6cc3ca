"""Which addresses the next process gets, and which share of the run's packet rate."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..models import Subnet
from ..plan.jobs import MAX_JOB_SIZE, MIN_JOB_SIZE, FindRoutes, Job, Waiting, chunk_size


class Start(NamedTuple):
    """A job that starts now."""

    job: Job
    rate: float
    """Packets per second."""

    at: float
    """Seconds of the monotonic clock."""


class Schedule:
    """Makes a job when a process can start, from the subnets that have arrived by then.

    A job keeps its rate to its end, since a running nmap cannot change its rate. Therefore it gets as many addresses
    as it can probe until all others end, at most MAX_JOB_SIZE; subnets that are still to arrive count like waiting
    ones. `total` is the expected number of addresses, `parallel` the maximum number of processes; `wake` is called at
    the end of each job.

    In simulations of 50 subnets that arrive in 2 to 10 batches, runs at 2,000 packets a second took 1.01 to 1.09
    times as long as their packets (medians; 1.07 to 1.17 times with jobs that were made on arrival).
    """

    def __init__(
        self,
        packets_per_second: float,
        parallel: int,
        total: int,
        find_routes: FindRoutes,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        # Without 0.99, rounding could make a job wait.
        self._least_rate = 0.99 * packets_per_second / parallel
        self._free = float(packets_per_second)
        self._parallel = self._slots = parallel
        self._expected = total
        self._chunk_size = chunk_size(total, parallel)
        self._find_routes = find_routes
        self._wake = wake
        self._waiting = Waiting()
        self._running: list[Start] = []
        self._packets: float | None = None
        """Packets for each address, waits included, in the jobs that have ended; None before the first end."""
        self._stopped = False
        self._changed = threading.Condition()

    def add(self, subnets: Iterable[Subnet], expected: int) -> None:
        """Add subnets that have arrived; `expected` is the number of addresses in further subnets."""
        self._waiting.add(subnets, self._chunk_size, self._find_routes)
        self._expected = expected

    def startable(self) -> Iterator[Start]:
        """Yield the jobs that can start now."""
        while start := self._next():
            yield start

    def remaining(self) -> Iterator[Start]:
        """Yield all further jobs, each when it can start; no further subnet is expected."""
        self._expected = 0
        while self._waiting and not self._stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._can_start())
            yield from self.startable()

    def stop(self) -> None:
        """Start no further job."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @contextmanager
    def running(self, start: Start) -> Iterator[None]:
        """Give the rate back at the end of the block."""
        try:
            yield
        finally:
            with self._changed:
                self._running = [other for other in self._running if other is not start]
                self._slots += 1
                self._free += start.rate
                self._learn(start)
                self._changed.notify_all()
            self._wake()

    def _can_start(self) -> bool:
        return bool(self._waiting) and self._slots > 0 and self._free >= self._least_rate

    def _next(self) -> Start | None:
        """Return the next job; None if no process can start, or no subnet waits."""
        with self._changed:
            if self._stopped or not self._can_start():
                return None
            left = self._waiting.size + self._expected
            until_the_end = (left + self._unfinished()) / self._parallel
            size = max(MIN_JOB_SIZE, until_the_end / max(1, math.ceil(until_the_end / MAX_JOB_SIZE)))
            job = self._waiting.take(size)
            further = math.ceil((left - job.size) / size)
            # At least an equal share: a job with less could end long after all others.
            rate = self._free / min(self._slots, 1 + further, int(self._free / self._least_rate))
            start = Start(job, rate, time.monotonic())
            self._running.append(start)
            self._slots -= 1
            self._free -= rate
            return start

    def _unfinished(self) -> float:
        """Return the estimated number of addresses that the running jobs have still to probe."""
        now = time.monotonic()
        return sum(
            start.job.size
            if self._packets is None
            else max(0.0, start.job.size - (now - start.at) * start.rate / self._packets)
            for start in self._running
        )

    def _learn(self, start: Start) -> None:
        """Note the packets per address of a job that has ended."""
        if start.job.size:
            packets = (time.monotonic() - start.at) * start.rate / start.job.size
            self._packets = packets if self._packets is None else (packets + self._packets) / 2
