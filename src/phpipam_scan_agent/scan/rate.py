"""The run's packet rate, divided among the processes that run."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

LEAST = 500
"""Packets per second that make a process worth its place: 12,700 addresses at 2,000 packets a second took
13.5 s with 32 processes and 12.7 s with 4, at a third of the CPU time."""


def places(packets_per_second: float, most: int) -> int:
    """Return how many processes should run side by side."""
    return max(1, min(most, int(packets_per_second // LEAST)))


class Rate:
    """Hands out shares of `packets_per_second` to at most `parallel` jobs at a time.

    A job keeps its share to its end, as nmap cannot be told another. What is free is divided among the
    jobs that can start beside the running ones, by their sizes, so that they end at the same time.
    """

    def __init__(self, packets_per_second: float, parallel: int, sizes: Iterable[int]) -> None:
        self._free = float(packets_per_second)
        self._places = parallel
        self._waiting = [max(size, 1) for size in sizes]
        self._changed = threading.Condition()

    @contextmanager
    def share(self, size: int) -> Iterator[float]:
        """Wait for a place, then hold a share, in packets per second, until the block ends."""
        size = max(size, 1)
        with self._changed:
            self._changed.wait_for(lambda: self._places > 0)
            self._waiting.remove(size)
            share = self._free * size / (size + sum(islice(self._waiting, self._places - 1)))
            self._places -= 1
            self._free -= share
        try:
            yield share
        finally:
            with self._changed:
                self._places += 1
                self._free += share
                self._changed.notify()
