"""Scan subnets side by side at one shared rate; results come as they are found."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType

from .. import interruption, plan, ranges
from ..config import Config
from ..models import IPAddress, ScanResult, Subnet
from ..plan import Job
from .link import with_candidates
from .looks import Looks
from .machine import find_nmap, neighbours, own_links
from .process import Processes
from .rate import Rate, places
from .worker import Worker

log = logging.getLogger(__name__)

CONNECTING_RATE = 500
"""Packets per second when nmap may only connect: the kernel then asks by ARP, outside nmap's rate, and its
table of neighbours overflows. Of 122 hosts of a /21 it found all at 600, 121 at 1,000 and 92 at 2,000."""

CONNECTING_SHARE = 0.8
"""Share of the rate that nmap gets then: ARP comes on top, 1.21 times as many packets as nmap's in a /24."""


class Scan:
    """The scan of some subnets, running from the start of the `with` block to its end at most.

    Iterating yields what is found, in the order of the finding. A subnet comes in one result or, if it is
    large, in several; a failure is in the result. `now` gives the agent's time with its zone. Starting it
    raises UsageError if there is no nmap to scan with.
    """

    def __init__(self, subnets: Sequence[Subnet], config: Config, now: Callable[[], datetime]) -> None:
        self._processes = Processes()
        self._done: deque[list[ScanResult] | BaseException] = deque()
        self._ready = threading.Semaphore(0)
        self._taken: deque[ScanResult] = deque()
        self._jobs: list[Job] = []
        if subnets:
            self._plan(subnets, config, now)

    def __enter__(self) -> "Scan":
        if self._jobs:
            self._worker.__enter__()
            # Twice as many threads as processes, so that the next nmap runs while names are looked up.
            self._pool = ThreadPoolExecutor(2 * self._parallel)
            for job in self._jobs:
                self._pool.submit(self._work, job)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._jobs:
            self._processes.end_all()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._worker.__exit__(kind, error, trace)
            self._pool.shutdown()

    def __iter__(self) -> Iterator[ScanResult]:
        for _ in self._jobs:
            # What has come stays where `rest` finds it until it is taken.
            with interruption.allowed():
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

    def _plan(self, subnets: Sequence[Subnet], config: Config, now: Callable[[], datetime]) -> None:
        nmap, links = find_nmap(), own_links()
        rate: float = config.max_rate
        if not nmap.raw:
            rate = min(rate, CONNECTING_RATE) * CONNECTING_SHARE
            log.warning(
                "nmap may not open raw sockets here: it tries to connect instead, which is slower and finds"
                " less; run the agent as root, or give it CAP_NET_RAW"
            )
        self._parallel = places(rate, config.parallel_scans)
        self._jobs = plan.make(with_candidates(subnets, nmap, links, self._processes), self._parallel)
        shares = Rate(rate, self._parallel, [job.size for job in self._jobs])
        looks = Looks(nmap, self._processes, config.scan_timeout, [link.address.network for link in links])
        own: dict[IPAddress, str] = {link.address.ip: link.mac for link in links}
        macs = (lambda: own) if nmap.raw else (lambda: neighbours() | own)
        self._worker = Worker(looks, shares, macs, now)

    def _work(self, job: Job) -> None:
        try:
            self._done.append(self._worker.scan(job))
        except BaseException as error:
            self._done.append(error)
        self._ready.release()
