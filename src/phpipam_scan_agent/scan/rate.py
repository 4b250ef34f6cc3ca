"""The run's packet rate, divided among the processes that run."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from ..plan.jobs import LARGEST

LEAST = 500
"""Packets per second that make a process worth its place: 12,700 addresses at 2,000 packets a second took
13.5 s with 32 processes and 12.7 s with 4, at a third of the CPU time."""


def places(packets_per_second: float, most: int) -> int:
    """Return how many processes should run side by side."""
    return max(1, min(most, int(packets_per_second // LEAST)))


class Rate:
    """Hands out shares of `packets_per_second` to at most `parallel` jobs at a time.

    A job keeps its share to its end, as nmap cannot be told another. What is free is divided among the jobs that can
    start beside the running ones, by their sizes, so that they end at the same time. Jobs are added as they become
    known; until `complete`, as many addresses are reckoned with as are missing from `expected`.
    """

    def __init__(
        self, packets_per_second: float, parallel: int, sizes: Iterable[int] = (), expected: int = 0
    ) -> None:
        self._rate = self._free = float(packets_per_second)
        self._parallel = self._places = parallel
        self._waiting: list[int] = []
        self._expected = expected
        self._changed = threading.Condition()
        for size in sizes:
            self.add(size)

    def add(self, size: int) -> None:
        """Reckon with a job of so many addresses."""
        with self._changed:
            self._waiting.append(max(size, 1))
            self._expected = max(0, self._expected - size)

    def complete(self) -> None:
        """Reckon with no more jobs than those added."""
        with self._changed:
            self._expected = 0

    @contextmanager
    def share(self, size: int) -> Iterator[float]:
        """Wait for a place, then hold a share, in packets per second, until the block ends."""
        size = max(size, 1)
        with self._changed:
            self._changed.wait_for(lambda: self._places > 0 and self._free >= self._least(size))
            self._waiting.remove(size)
            beside = sum(islice(self._waiting, self._places - 1))
            to_come = max(0, self._places - 1 - len(self._waiting)) * LARGEST
            share = self._free * size / (size + beside + min(self._expected, to_come))
            self._places -= 1
            self._free -= share
        try:
            yield share
        finally:
            with self._changed:
                self._places += 1
                self._free += share
                self._changed.notify_all()

    def _least(self, size: int) -> float:
        """Return the share below which a job waits, a quarter of its part among equals.

        Where a job came alone, it has the whole rate, and leaves nothing for those that come after it.
        """
        return self._rate * min(size / LARGEST, 1) / (4 * self._parallel)
