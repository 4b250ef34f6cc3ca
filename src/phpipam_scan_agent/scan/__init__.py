"""Scan subnets side by side at one shared rate; results come as they are found."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

from ..config import Config
from ..models import IPAddress, ScanResult, Subnet
from ..plan import jobs, ranges
from ..plan.jobs import Job
from ..system import signals
from .discovery import Discovery
from .neighbours import with_candidates
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


class Scan(ExitStack):
    """The scan of some subnets, which runs until the end of the `with` block at most.

    Iterating yields what is found, in the order of the finding. A subnet comes in one result or, if it is
    large, in several; a failure is in the result. `now` gives the agent's time with its zone. Entering it
    raises UsageError if there is no nmap to scan with.
    """

    def __init__(self, subnets: Sequence[Subnet], config: Config, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._subnets = subnets
        self._config = config
        self._now = now
        self._jobs: list[Job] = []
        self._done: deque[list[ScanResult] | BaseException] = deque()
        self._ready = threading.Semaphore(0)
        self._taken: deque[ScanResult] = deque()

    def __enter__(self) -> "Scan":
        if self._subnets:
            self._start()
        return self

    def __iter__(self) -> Iterator[ScanResult]:
        for _ in self._jobs:
            # What has come stays where `rest` finds it until it is taken.
            with signals.interruptible():
                self._ready.acquire()
            results = self._done.popleft()
            if isinstance(results, BaseException):
                raise results
            self._taken.extend(results)
            while self._taken:
                yield self._taken.popleft()

    @property
    def addresses(self) -> int:
        """How many addresses all results will add up to."""
        return sum(ranges.size(part.ranges) * len(part.wishes) for job in self._jobs for part in job.slices)

    def rest(self) -> list[ScanResult]:
        """Return what had been found but not taken when the scan was ended."""
        found = [result for results in self._done if isinstance(results, list) for result in results]
        return [*self._taken, *found]

    def _start(self) -> None:
        nmap, links, processes = find_nmap(), own_links(), Processes()
        rate = _rate(self._config.max_rate, nmap.raw)
        parallel = places(rate, self._config.parallel_scans)
        subnets = with_candidates(self._subnets, nmap, links, processes)
        self._jobs = jobs.make(subnets, parallel, Routes().ways)

        own: dict[IPAddress, str] = {link.address.ip: link.mac for link in links}
        macs = (lambda: own) if nmap.raw else (lambda: neighbours() | own)
        discovery = Discovery(nmap, processes, self._config.scan_timeout)
        shares = Rate(rate, parallel, [job.size for job in self._jobs])

        # At the end, in reverse: the processes are ended, then the waiting jobs, then the names, then threads.
        # Twice as many of these as processes, so that the next nmap runs while names are looked up.
        pool = self.enter_context(ThreadPoolExecutor(2 * parallel))
        worker = self.enter_context(Worker(discovery, shares, macs, self._now, self._config.names))
        self.callback(pool.shutdown, wait=False, cancel_futures=True)
        self.callback(processes.end_all)
        for job in self._jobs:
            pool.submit(self._work, worker, job)

    def _work(self, worker: Worker, job: Job) -> None:
        try:
            self._done.append(worker.scan(job))
        except BaseException as error:
            self._done.append(error)
        self._ready.release()


def _rate(most: float, raw: bool) -> float:
    """Return the packets per second that nmap gets."""
    if raw:
        return most
    log.warning(
        "nmap may not open raw sockets here: it tries to connect instead, which is slower and finds less;"
        " run the agent as root, or give it CAP_NET_RAW"
    )
    return min(most, CONNECTING_RATE) * CONNECTING_SHARE
