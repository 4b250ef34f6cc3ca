"""A job → its results: host discovery, plausibility, MAC addresses, PTR names."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from ..models import Address, Host, IPAddress, ScanResult, Subnet
from ..plan import ranges, targets
from ..plan.jobs import Job, Slice
from ..plan.ranges import Ranges
from ..system import folders
from . import plausibility
from .discovery import Discovery, Found
from .name_memory import NameMemory
from .plausibility import Answers, Kind, Suspect
from .rate import Rate

if TYPE_CHECKING:
    from .names import Names

log = logging.getLogger(__name__)


GIVE_UP = 3
"""Slices that fail one after the other until the failure is taken for that of the rest as well."""


class Worker:
    """Scans jobs, many at a time in as many threads, until the end of the `with` block.

    `macs` gives the MAC addresses that nmap does not see, and `now` the agent's time with its zone. `names` is the
    setting of that name: which hosts' names are looked up.
    """

    def __init__(
        self,
        discovery: Discovery,
        rate: Rate,
        macs: Callable[[], dict[IPAddress, str]],
        now: Callable[[], datetime],
        names: str,
    ) -> None:
        self._discovery = discovery
        self._rate = rate
        self._macs = macs
        self._now = now
        self._wanted_names = names
        self._names: Names | None = None
        if names != "never":
            from . import names as module  # takes a while to load

            self._names = module.Names(NameMemory(folders.cache() / "names.json"))
        self._suspected: set[str] = set()

    def __enter__(self) -> "Worker":
        if self._names:
            self._names.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._names:
            self._names.__exit__(kind, error, trace)

    def scan(self, job: Job) -> list[ScanResult]:
        """Return the results of a job, one for each subnet of each slice."""
        try:
            return self._results(job)
        except InterruptedError:
            raise  # the run is ending
        except (
            Exception
        ) as error:  # whatever nmap or DNS made the agent do, the other jobs' results are delivered
            log.debug("subnet %s", job.label, exc_info=True)
            why = f"the agent failed, please report it: {type(error).__name__}: {error}"
            return [
                ScanResult(subnet, (), self._now(), 0.0, ranges.size(part.ranges), part.parts, error=why)
                for part in job.slices
                for subnet, _ in part.wishes
            ]

    def _results(self, job: Job) -> list[ScanResult]:
        with self._rate.share(job.size) as rate:
            started = time.monotonic()
            log.info("subnet %s: scanning %d addresses at %.0f packets/s", job.label, job.size, rate)
            scanned = [
                (each, found, self._plausible(each, found.hosts, rate))
                for each, found in self._discover(job, rate)
            ]
        seen, seconds = self._now(), time.monotonic() - started
        macs = self._macs()
        return [
            ScanResult(
                subnet=subnet,
                hosts=self._hosts_of(subnet, part, wish, hosts, seconds),
                seen=seen,
                seconds=seconds,
                probed=ranges.size(part.ranges),
                parts=part.parts,
                silent=() if found.error else _silent(subnet, part, wish, up),
                error=found.error,
            )
            for each, found, believed in scanned
            for hosts in [ranges.sort(replace(host, mac=host.mac or macs.get(host.ip)) for host in believed)]
            for up in [{host.ip for host in found.hosts}]
            for part in each.slices
            for subnet, wish in part.wishes
        ]

    def _discover(self, job: Job, rate: float) -> Iterator[tuple[Job, Found]]:
        """Yield the job with its hosts; or, if it fails, each slice by itself: only one of them may be the cause."""
        found = self._discovery.find(job, rate)
        if not found.error or found.timed_out or job.way.error or len(job.slices) == 1:
            yield job, found
            return
        failures = 0
        for part in job.slices:
            alone = replace(job, slices=(part,))
            by_itself = self._discovery.find(alone, rate) if failures < GIVE_UP else found
            failures = failures + 1 if by_itself.error else 0
            yield alone, by_itself

    def _plausible(self, job: Job, found: Sequence[Host], rate: float) -> tuple[Host, ...]:
        """Return the hosts without the addresses that others only answer for."""
        answers = []
        found = ranges.sort(found)
        for part in job.slices:
            here = tuple(ranges.pick(found, part.ranges, job.version))
            network = part.network
            whole = any(subnet.discover for subnet, _ in part.wishes) and not targets.too_large(network)
            answers.append(Answers(str(network), ranges.size(part.ranges), here, whole))
        return self._believed(job, answers, rate)

    def _believed(self, job: Job, answers: Sequence[Answers], rate: float) -> tuple[Host, ...]:
        """Probe the addresses of suspects again by other means, all slices at once, and return whom to believe."""
        doubted = [(each, suspect) for each in answers for suspect in plausibility.suspects(each)]
        unproven = {host.ip for _, suspect in doubted for host in suspect.hosts}
        # By address: it is in two slices where subnets of two VRFs overlap.
        believed = {host.ip: host for each in answers for host in each.hosts if host.ip not in unproven}
        for kind in dict.fromkeys(suspect.kind for _, suspect in doubted):
            same = [(each, suspect) for each, suspect in doubted if suspect.kind is kind]
            hosts = [host for _, suspect in same for host in suspect.hosts]
            confirmed = self._discovery.confirm(job, hosts, kind, rate)
            for each, suspect in same:
                ips = {host.ip for host in suspect.hosts}
                again = tuple(host for host in confirmed if host.ip in ips)
                if kind is Kind.ARP:  # what is behind it may be no more plausible
                    again = self._believed(job, [Answers(each.network, len(ips), again, False)], rate)
                kept = plausibility.believed(suspect, again)
                believed |= {host.ip: host for host in kept}
                self._warn(each.network, suspect, len(ips) - len(kept))
        return tuple(believed.values())

    def _warn(self, network: str, suspect: Suspect, dropped: int) -> None:
        if dropped and network not in self._suspected:
            self._suspected.add(network)
            log.warning(
                "subnet %s: %s for addresses that nobody has: %d of them, or more; only hosts that answer in"
                " another way are reported",
                network,
                suspect,
                dropped,
            )

    def _hosts_of(
        self, subnet: Subnet, part: Slice, wish: Ranges, found: Sequence[Host], seconds: float
    ) -> tuple[Host, ...]:
        """Return what a subnet wants to know of the hosts of a slice, with their names if it wants these."""
        version = part.network.version
        known = {each.ip: each for each in ranges.pick(subnet.addresses, part.ranges, version)}
        mine = tuple(
            replace(host, address=known.get(host.ip))
            for host in ranges.pick(found, part.ranges, version)
            if ranges.contains(wish, int(host.ip))
        )
        about = {"subnet": str(subnet.network), "hosts": len(mine), "seconds": round(seconds, 3)}
        log.info("subnet %s: %d hosts up after %.1f s", *about.values(), extra={"about": about})
        unnamed = [host.ip for host in mine if self._wants_name(subnet, host)]
        names = self._names.look_up(unnamed, subnet.nameservers) if unnamed and self._names else {}
        return tuple(replace(host, name=names[host.ip]) if host.ip in names else host for host in mine)

    def _wants_name(self, subnet: Subnet, host: Host) -> bool:
        """Return whether a host's name is to be reported, and so to be looked up.

        By default an address that has a name in phpIPAM keeps it, as with phpIPAM's own scripts
        (`resolve_emptyonly`). Where phpIPAM did not give the addresses, each of them may have one.
        """
        if not subnet.resolve_names or subnet.addresses_error or self._wanted_names == "never":
            return False
        return self._wanted_names == "always" or not (host.address and host.address.hostname)


def _silent(subnet: Subnet, part: Slice, wish: Ranges, up: Collection[IPAddress]) -> tuple[Address, ...]:
    """Return the addresses in phpIPAM that were probed in a slice and did not answer."""
    return tuple(
        address
        for address in ranges.pick(subnet.addresses, part.ranges, part.network.version)
        if address.ip not in up and ranges.contains(wish, int(address.ip))
    )
