"""Scan subnets side by side at one shared rate; results come as they are found."""

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from .. import plan
from ..config import Config
from ..models import ScanResult, Subnet
from ..plan import Job
from .machine import find_nmap
from .rate import Rate, places
from .worker import Worker


def scan(subnets: Sequence[Subnet], config: Config, now: Callable[[], datetime]) -> Iterator[ScanResult]:
    """Given subnets, yield what is found, in the order of the finding.

    A subnet comes in one result or, if it is large, in several; a failure is in the result. `now` gives the
    agent's time with its zone. Raise UsageError if there is no nmap to scan with.
    """
    parallel = places(config.max_rate, config.parallel_scans)
    jobs = plan.make(subnets, parallel)
    if not jobs:
        return
    done: queue.SimpleQueue[Sequence[ScanResult] | BaseException] = queue.SimpleQueue()

    def work(job: Job) -> None:
        try:
            done.put(worker.scan(job))
        except BaseException as error:
            done.put(error)

    rate = Rate(config.max_rate, parallel, [job.size for job in jobs])
    worker = Worker(find_nmap(), rate, config.scan_timeout, now)
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
            pool.shutdown(wait=False, cancel_futures=True)
