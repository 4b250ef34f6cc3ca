"""Job → results: host discovery, plausibility, MAC addresses, PTR names."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from ..models import Address, Host, IPAddress, ScanResult, Subnet
from ..plan import ranges, targets
from ..plan.jobs import Chunk, Job
from ..plan.ranges import Ranges
from . import plausibility
from .discovery import Discovery, Found
from .plausibility import Answers, Kind, Suspect
from .schedule import Schedule, Start

if TYPE_CHECKING:
    from .names import Names

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Consecutive chunks that fail alone; after these the job's error counts for the remaining chunks as well."""


class Suspected(NamedTuple):
    """A suspect in one of a job's networks."""

    network: str
    suspect: Suspect
    error: str | None = None
    """Why there is no evidence, or None."""


class Accepted(NamedTuple):
    """The hosts of a job that are to be reported."""

    hosts: tuple[Host, ...]
    errors: dict[str, str]
    """Networks in which hosts may be missing, and why."""


class Worker:
    """Scans jobs, each in the calling thread.

    `macs` returns the MAC addresses that nmap cannot see, and `now` the agent's time with its zone. `names` looks PTR
    names up, if at all; with `replace_names` also for addresses that have a name in phpIPAM.
    """

    def __init__(
        self,
        discovery: Discovery,
        schedule: Schedule,
        macs: Callable[[], dict[IPAddress, str]],
        now: Callable[[], datetime],
        names: "Names | None",
        replace_names: bool,
    ) -> None:
        self._discovery = discovery
        self._schedule = schedule
        self._macs = macs
        self._now = now
        self._names = names
        self._replace_names = replace_names
        self._suspected: set[str] = set()

    def scan(self, start: Start) -> list[ScanResult]:
        """Return the results of a job, one for each subnet of each chunk."""
        job = start.job
        try:
            return self._results(start)
        except InterruptedError:
            raise  # the run is ending
        except Exception as error:  # a defect costs one job; the results of the others are delivered
            log.debug("subnet %s", job.label, exc_info=True)
            why = f"the agent failed, please report it: {type(error).__name__}: {error}"
            return [
                ScanResult(subnet, (), self._now(), 0.0, ranges.size(chunk.ranges), chunk.parts, error=why)
                for chunk in job.chunks
                for subnet, _ in chunk.subnets
            ]

    def _results(self, start: Start) -> list[ScanResult]:
        job, rate = start.job, start.rate
        with self._schedule.running(start):
            started = time.monotonic()
            log.info("subnet %s: scanning %d addresses at %.0f packets/s", job.label, job.size, rate)
            scanned = [
                (each, found, self._plausible(each, found.hosts, rate))
                for each, found in self._discover(job, rate)
            ]
        seen, seconds = self._now(), time.monotonic() - started
        macs = self._macs()
        results: list[ScanResult] = []
        for each, found, accepted in scanned:
            hosts = ranges.sort(host._replace(mac=host.mac or macs.get(host.ip)) for host in accepted.hosts)
            up = {int(host.ip) for host in found.hosts}
            for chunk in each.chunks:
                error = found.error or accepted.errors.get(str(chunk.network))
                results += [
                    ScanResult(
                        subnet=subnet,
                        hosts=self._hosts_of(subnet, chunk, own, hosts, seconds),
                        seen=seen,
                        seconds=seconds,
                        probed=ranges.size(chunk.ranges),
                        parts=chunk.parts,
                        silent=() if error else _silent(subnet, chunk, own, up),
                        error=error,
                    )
                    for subnet, own in chunk.subnets
                ]
        return results

    def _discover(self, job: Job, rate: float) -> Iterator[tuple[Job, Found]]:
        """Yield the job with its hosts; if it fails, each chunk by itself, since a single one may be the cause."""
        found = self._discovery.find(job, rate)
        if not found.error or found.timed_out or job.route.error or len(job.chunks) == 1:
            yield job, found
            return
        failures = 0
        for chunk in job.chunks:
            alone = job._replace(chunks=(chunk,))
            found_alone = self._discovery.find(alone, rate) if failures < MAX_FAILURES else found
            failures = failures + 1 if found_alone.error else 0
            yield alone, found_alone

    def _plausible(self, job: Job, found: Sequence[Host], rate: float) -> Accepted:
        """Find the hosts without the addresses that only another machine answers for."""
        answers = []
        found = ranges.sort(found)
        for chunk in job.chunks:
            here = tuple(ranges.pick(found, chunk.ranges, job.version))
            subnets = [subnet for subnet, _ in chunk.subnets]
            whole = any(subnet.discover for subnet in subnets) and not targets.too_large(chunk.network)
            # Not in IPv6, where the router answers for the anycast address.
            reserved = targets.without_host(subnets) if job.version == 4 else ()
            answers.append(Answers(str(chunk.network), ranges.size(chunk.ranges), here, whole, reserved))
        return self._accepted(job, answers, rate)

    def _accepted(self, job: Job, answers: Sequence[Answers], rate: float) -> Accepted:
        """Probe the addresses of suspects by other means, all chunks at once, and return the hosts to report."""
        errors: dict[str, str] = {}
        suspected = [Suspected(of.network, each) for of in answers for each in plausibility.suspects(of)]
        suspected += self._proven(job, answers, rate)
        unproven = {host.ip for each in suspected for host in each.suspect.hosts}
        # By address: it is in two chunks where subnets of two VRFs overlap.
        accepted = {host.ip: host for each in answers for host in each.hosts if host.ip not in unproven}
        for kind in dict.fromkeys(each.suspect.kind for each in suspected):
            same = [each for each in suspected if each.suspect.kind is kind]
            hosts = [host for each in same for host in each.suspect.hosts]
            confirmed = self._discovery.confirm(job, hosts, kind, rate)
            for network, suspect, error in same:
                ips = {host.ip for host in suspect.hosts}
                again = tuple(host for host in confirmed.hosts if host.ip in ips)
                if kind is Kind.ARP:  # a firewall may be behind the router
                    again, more = self._accepted(job, [Answers(network, len(ips), again, False)], rate)
                    errors |= more
                kept = plausibility.accepted(suspect, again)
                accepted |= {host.ip: host for host in kept}
                dropped = len(ips) - len(kept)
                failed = confirmed.error or error
                if dropped and failed:
                    errors[network] = failed
                self._warn(network, suspect, dropped)
        return Accepted(tuple(accepted.values()), errors)

    def _proven(self, job: Job, answers: Sequence[Answers], rate: float) -> Iterator[Suspected]:
        """Yield the undecided answerers that also answer for control addresses.

        If these probes fail, also answerers without evidence, with the error, which counts if an address is dropped.
        """
        undecided = [each for of in answers for each in plausibility.undecided(of)]
        for kinds in dict.fromkeys(each.kinds for each in undecided):
            same = [each for each in undecided if each.kinds is kinds]
            controls = ranges.union(part for each in same for part in each.controls)
            found = self._discovery.controls(job, controls, kinds, rate)
            for each in same:
                proven = each.is_proven(ranges.pick(found.hosts, each.controls, job.version))
                if proven or found.error:
                    yield Suspected(each.network, each.suspect, None if proven else found.error)

    def _warn(self, network: str, suspect: Suspect, dropped: int) -> None:
        if dropped and network not in self._suspected:
            self._suspected.add(network)
            log.warning(
                "subnet %s: %s for unused addresses: %d or more; only hosts that answer in another way are"
                " reported",
                network,
                suspect,
                dropped,
            )

    def _hosts_of(
        self, subnet: Subnet, chunk: Chunk, own: Ranges, found: Sequence[Host], seconds: float
    ) -> tuple[Host, ...]:
        """Return the hosts among a subnet's own targets in a chunk, with their addresses in phpIPAM and names."""
        version = chunk.network.version
        known = {int(each.ip): each for each in ranges.pick(subnet.addresses, chunk.ranges, version)}
        mine = [
            host._replace(address=known.get(int(host.ip)))
            for host in ranges.pick(found, chunk.ranges, version)
            if ranges.contains(own, int(host.ip))
        ]
        about = {"subnet": str(subnet.network), "hosts": len(mine), "seconds": round(seconds, 3)}
        log.info("subnet %s: %d hosts up after %.1f s", *about.values(), extra={"about": about})
        unnamed = [host.ip for host in mine if self._needs_name(subnet, host)]
        if not (unnamed and self._names):
            return tuple(mine)
        names = self._names.look_up(unnamed, subnet.nameservers)
        return tuple(host._replace(name=names.get(host.ip)) for host in mine)

    def _needs_name(self, subnet: Subnet, host: Host) -> bool:
        """Return whether a host's name is to be looked up.

        By default an address that has a name in phpIPAM keeps it, as with phpIPAM's own scripts
        (`resolve_emptyonly`). Where phpIPAM did not give the addresses, any of them may have a name.
        """
        if not subnet.resolve_names or subnet.addresses_error:
            return False
        return self._replace_names or not (host.address and host.address.hostname)


def _silent(subnet: Subnet, chunk: Chunk, own: Ranges, up: Collection[int]) -> tuple[Address, ...]:
    """Return the addresses in phpIPAM that were probed in a chunk and did not answer."""
    return tuple(
        address
        for address in ranges.pick(subnet.addresses, chunk.ranges, chunk.network.version)
        if int(address.ip) not in up and ranges.contains(own, int(address.ip))
    )
