"""Scan subnets side by side at one shared rate; results come as they are found."""

import logging
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from .. import plan
from ..config import Config
from ..models import ScanResult, Subnet
from ..plan import Job
from .link import with_candidates
from .machine import find_nmap, own_links
from .process import Processes
from .rate import Rate, places
from .worker import Worker

log = logging.getLogger(__name__)

CONNECTING_RATE = 500
"""Packets per second when nmap may only connect: the kernel then asks by ARP, outside nmap's rate, and its
table of neighbours overflows. Of 122 hosts of a /21 it found all at 600, 121 at 1,000 and 92 at 2,000."""


def scan(subnets: Sequence[Subnet], config: Config, now: Callable[[], datetime]) -> Iterator[ScanResult]:
    """Given subnets, yield what is found, in the order of the finding.

    A subnet comes in one result or, if it is large, in several; a failure is in the result. `now` gives the
    agent's time with its zone. Raise UsageError if there is no nmap to scan with.
    """
    if not subnets:
        return
    nmap, links = find_nmap(), own_links()
    rate = config.max_rate
    if not nmap.raw:
        rate = min(rate, CONNECTING_RATE)
        log.warning(
            "nmap may not open raw sockets here: it tries to connect instead, which is slower and finds less;"
            " run the agent as root, or give it CAP_NET_RAW"
        )
    parallel = places(rate, config.parallel_scans)
    processes = Processes()
    jobs = plan.make(with_candidates(subnets, nmap, links, processes), parallel)
    done: queue.SimpleQueue[Sequence[ScanResult] | BaseException] = queue.SimpleQueue()

    def work(job: Job) -> None:
        try:
            done.put(worker.scan(job))
        except BaseException as error:
            done.put(error)

    shares = Rate(rate, parallel, [job.size for job in jobs])
    worker = Worker(nmap, links, processes, shares, config.scan_timeout, now)
    # Twice as many threads as nmap processes, so that the next one runs while names are looked up.
    with ThreadPoolExecutor(2 * parallel) as pool, worker:
        for job in jobs:
            pool.submit(work, job)
        try:
            for _ in jobs:
                results = done.get()
                if isinstance(results, BaseException):
                    raise results
                yield from results
        finally:
            processes.end_all()
            pool.shutdown(wait=False, cancel_futures=True)
