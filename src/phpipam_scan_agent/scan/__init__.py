"""Scan subnets in parallel at one shared packet rate; each result is available as soon as its job ends."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..models import IPAddress, IPNetwork, ScanResult, Subnet
from ..plan import jobs, targets
from ..system import folders
from ..system.parallel import ParallelMap
from .discovery import Discovery
from .name_memory import NameMemory
from .neighbours import Neighbours
from .network import LocalNetwork, neighbours
from .nmap import Nmap
from .process import Processes
from .rate import slots, total_rate
from .schedule import Schedule
from .worker import Worker

if TYPE_CHECKING:
    from .names import Names

PAUSES = (0.15, 0.2, 0.4)
"""Seconds for which the first, second, … batch of subnets is collected; the last value holds for all further ones."""

Task = Callable[[], list[ScanResult]]


class Scan(ExitStack):
    """The scan of subnets as they arrive; it runs until the end of the `with` block at most.

    `expected` are the subnets that will arrive, without their addresses in phpIPAM; the size of the jobs depends on
    them. Iterating yields the results in the order of completion. A subnet has one result or, if it is large,
    several; a failure is in the result. `now` returns the agent's time with its zone.
    """

    def __init__(
        self,
        subnets: ParallelMap[Any, Subnet],
        expected: Sequence[Subnet],
        config: Config,
        nmap: Nmap,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self._subnets = subnets
        self._expected = expected
        self._config = config
        self._nmap = nmap
        self._now = now
        self._results: ParallelMap[Task, list[ScanResult]] | None = None
        self._taken: deque[ScanResult] = deque()
        self.addresses = jobs.expected(expected)
        """Estimated number of addresses of all results."""

    def __enter__(self) -> "Scan":
        if self._expected:
            self._start()
        return self

    def __iter__(self) -> Iterator[ScanResult]:
        for results in self._results or ():
            # A result stays in the queue until it is taken, for `untaken`.
            self._taken.extend(results)
            while self._taken:
                yield self._taken.popleft()

    def untaken(self) -> list[ScanResult]:
        """Return the results that the iteration had not yielded when the scan ended."""
        found = self._results.untaken() if self._results else []
        return [*self._taken, *(result for results in found for result in results)]

    def _start(self) -> None:
        nmap, local, processes = self._nmap, LocalNetwork(), Processes()
        rate = total_rate(self._config.max_rate, nmap.raw)
        parallel = slots(rate, self._config.parallel_scans)

        own: dict[IPAddress, str] = {link.address.ip: link.mac for link in local.links}
        macs = (lambda: own) if nmap.raw else (lambda: neighbours() | own)
        discovery = Discovery(nmap, processes, self._config.scan_timeout)
        schedule = Schedule(rate, parallel, self.addresses, local.routes, self._subnets.wake)
        names = self._names()
        worker = Worker(discovery, schedule, macs, self._now, names, self._config.names == "always")
        tasks = self._tasks(worker, schedule, Neighbours(nmap, local.links, processes))

        # Closed in reverse: first no job starts, then the processes end, then the name lookups, then the threads with
        # their results.
        # Twice as many threads as processes, so that the next nmap runs while names are looked up.
        self._results = self.enter_context(ParallelMap(lambda task: task(), tasks, 2 * parallel, finish=True))
        if names:
            self.enter_context(names)
        self.callback(processes.end_all)
        self.callback(schedule.stop)

    def _names(self) -> "Names | None":
        """Return the name lookups; None if no subnet of the run needs them, since their import takes a while."""
        if self._config.names == "never" or not any(each.resolve_names for each in self._expected):
            return None
        from .names import Names

        return Names(NameMemory(folders.cache() / "names.json"))

    def _tasks(self, worker: Worker, schedule: Schedule, on_link: Neighbours) -> Iterator[Task]:
        """Yield the tasks as the subnets arrive and as processes can start."""
        # Sizes without the addresses in phpIPAM, as they were added up.
        expected = {subnet.id: subnet for subnet in self._expected}
        addresses = self.addresses
        for subnets in batches(self._subnets, self._expected):
            scannable = []
            for subnet in subnets:
                if error := targets.unscannable(subnet):
                    failure = ScanResult(subnet, (), self._now(), seconds=0.0, error=error)
                    yield partial(list, [failure])
                else:
                    scannable.append(on_link.with_candidates(subnet))
            addresses -= jobs.expected(expected[subnet.id] for subnet in subnets)
            schedule.add(scannable, addresses)
            yield from (partial(worker.scan, start) for start in schedule.startable())
        yield from (partial(worker.scan, start) for start in schedule.remaining())


def batches(subnets: ParallelMap[Any, Subnet], expected: Iterable[Subnet]) -> Iterator[list[Subnet]]:
    """Yield the subnets as they arrive, in batches: the small subnets of a batch can share processes.

    The first batch is early, later ones are larger; an empty batch reports that a process has ended. Subnets with the
    same network, in several VRFs, are scanned once, so they are in one batch.
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
        yield ready
