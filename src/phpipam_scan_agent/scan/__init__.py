"""Scan subnets side by side at one shared rate; results come as they are found."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import Any

from ..config import Config
from ..errors import PhpIpamError
from ..models import IPAddress, IPNetwork, ScanResult, Subnet
from ..plan import jobs, targets
from ..system.side_by_side import SideBySide
from .discovery import Discovery
from .neighbours import Neighbours
from .network import Routes, neighbours, own_links
from .nmap import find_nmap
from .process import Processes
from .rate import Rate, places
from .worker import Worker

log = logging.getLogger(__name__)

CONNECTING_RATE = 500
"""Packets per second when nmap may only connect: the kernel then asks by ARP, outside nmap's rate, and its
table of neighbours overflows. Of 122 hosts of a /21 it found all at 600, 121 at 1,000 and 92 at 2,000."""

CONNECTING_SHARE = 0.5
"""Share of the rate that nmap gets then: with the kernel's ARP up to 1.9 times as many packets go out."""


PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds in which the first, second, … batch of subnets gathers; the last of them from then on."""

Task = Callable[[], list[ScanResult]]


class Scan(ExitStack):
    """The scan of subnets while they come, which runs until the end of the `with` block at most.

    `expected` are the subnets that will come, as far as they are known: they tell how many addresses each process
    gets. Iterating yields the results, in the order of their ends. A subnet comes in one result or, if it is
    large, in several; a failure is in the result. `now` gives the agent's time with its zone. Entering it raises
    UsageError if there is no nmap to scan with.
    """

    def __init__(
        self,
        subnets: SideBySide[Any, Subnet],
        expected: Sequence[Subnet],
        config: Config,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self._subnets = subnets
        self._expected = expected
        self._config = config
        self._now = now
        self._results: SideBySide[Task, list[ScanResult]] | None = None
        self._taken: deque[ScanResult] = deque()
        self.addresses = jobs.expected(expected)
        """About how many addresses all results will add up to."""

    def __enter__(self) -> "Scan":
        if self._expected:
            self._start()
        return self

    def __iter__(self) -> Iterator[ScanResult]:
        for results in self._results or ():
            # What has come stays where `rest` finds it until it is taken.
            self._taken.extend(results)
            while self._taken:
                yield self._taken.popleft()

    def rest(self) -> list[ScanResult]:
        """Return what had been found but not taken when the scan was ended."""
        found = self._results.rest() if self._results else []
        return [*self._taken, *(result for results in found for result in results)]

    def _start(self) -> None:
        nmap, links, processes = find_nmap(), own_links(), Processes()
        rate = _rate(self._config.max_rate, nmap.raw)
        parallel = places(rate, self._config.parallel_scans)

        own: dict[IPAddress, str] = {link.address.ip: link.mac for link in links}
        macs = (lambda: own) if nmap.raw else (lambda: neighbours() | own)
        discovery = Discovery(nmap, processes, self._config.scan_timeout)
        shares = Rate(rate, parallel, expected=self.addresses)
        names = self._config.names if any(each.resolve_names for each in self._expected) else "never"
        worker = Worker(discovery, shares, macs, self._now, names)
        tasks = self._tasks(worker, shares, Neighbours(nmap, links, processes), parallel)

        # At the end, in reverse: the processes are ended, then the names, then the threads with what they have found.
        # Twice as many of these as processes, so that the next nmap runs while names are looked up.
        worker.__enter__()
        self._results = self.enter_context(SideBySide(_done, tasks, 2 * parallel, finish=True))
        self.push(worker)
        self.callback(processes.end_all)

    def _tasks(self, worker: Worker, shares: Rate, links: Neighbours, parallel: int) -> Iterator[Task]:
        """Yield what there is to do, as the subnets come."""
        portion = jobs.portion(self.addresses, parallel)
        ways = Routes().ways
        for subnets in batches(self._subnets, self._expected):
            possible = []
            for subnet in subnets:
                try:
                    possible.append(links.with_candidates(targets.possible(subnet)))
                except PhpIpamError as error:
                    yield partial(self._failed, subnet, str(error))
            found = jobs.make(possible, portion, ways)
            for job in found:
                shares.add(job.size)
            yield from (partial(worker.scan, job) for job in found)
        shares.complete()

    def _failed(self, subnet: Subnet, error: str) -> list[ScanResult]:
        return [ScanResult(subnet, (), self._now(), seconds=0.0, error=error)]


def batches(subnets: SideBySide[Any, Subnet], expected: Iterable[Subnet]) -> Iterator[list[Subnet]]:
    """Yield the subnets as they come, in batches that small ones may share processes in.

    The first batch is soon there, later ones have more in them. Subnets of the same network, in several VRFs, are
    scanned once, so they are in one batch.
    """
    missing = Counter(subnet.network for subnet in expected)
    held: dict[IPNetwork, list[Subnet]] = {}
    for batch in subnets.batches(chain(PAUSES, repeat(PAUSES[-1]))):
        ready = []
        for subnet in batch:
            held.setdefault(subnet.network, []).append(subnet)
            missing[subnet.network] -= 1
            if not missing[subnet.network]:
                ready += held.pop(subnet.network)
        if ready:
            yield ready


def _done(task: Task) -> list[ScanResult]:
    return task()


def _rate(most: float, raw: bool) -> float:
    """Return the packets per second that nmap gets."""
    if raw:
        return most
    log.warning(
        "nmap may not open raw sockets here: it tries to connect instead, which is slower and finds less;"
        " run the agent as root, or give it CAP_NET_RAW"
    )
    return min(most, CONNECTING_RATE) * CONNECTING_SHARE
