"""A job → its results: run nmap, look again where it looks wrong, add MAC addresses and names."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType

from .. import command, hosts, ranges, resets
from ..errors import ScanError
from ..masking import quoted
from ..models import Host, ScanResult, Subnet
from ..names import Names
from ..plan import Job, Slice
from ..ranges import Ranges
from . import machine
from .machine import Link, Nmap
from .process import Processes
from .rate import Rate

log = logging.getLogger(__name__)

Found = tuple[tuple[Host, ...], str | None]
"""Hosts, and why some may be missing, if so."""

HARMLESS = ("Strange read error", "WARNING: No targets were specified")
"""How lines of nmap's begin that mean nothing: a connection was reset; none of the targets has a route."""

MOST_LOOKS = 6
"""How often the addresses of the agent's segment are asked at most."""


class Worker:
    """Scans jobs, many at a time in as many threads, until the end of the `with` block."""

    def __init__(
        self,
        nmap: Nmap,
        links: Sequence[Link],
        processes: Processes,
        rate: Rate,
        patience: float,
        now: Callable[[], datetime],
    ) -> None:
        self._nmap = nmap
        self._rate = rate
        self._patience = patience
        self._now = now
        self._processes = processes
        self._names = Names()
        self._own_macs = {link.address.ip: link.mac for link in links}
        self._segments = [link.address.network for link in links]
        self._suspected: set[str] = set()
        self._loss = False

    def __enter__(self) -> "Worker":
        self._names.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._names.__exit__(kind, error, trace)

    def scan(self, job: Job) -> list[ScanResult]:
        """Return the results of a job, one for each subnet of each slice."""
        started = time.monotonic()
        with self._rate.share(job.size) as rate:
            log.info("subnet %s: scanning %d addresses at %.0f packets/s", job.label, job.size, rate)
            wanted = ranges.union(part for slice_ in job.slices for part in slice_.ranges)
            found, error = self._find(job, wanted, rate)
            shares = [(slice_, self._proven(job, slice_, found, rate)) for slice_ in job.slices]
        seen, seconds = self._now(), time.monotonic() - started
        macs = self._own_macs if self._nmap.raw else machine.neighbours() | self._own_macs
        results = []
        for slice_, here in shares:
            for subnet, wish in slice_.wishes:
                mine = [
                    replace(host, mac=host.mac or macs.get(host.ip))
                    for host in here
                    if ranges.contains(wish, int(host.ip))
                ]
                about = {"subnet": str(subnet.network), "hosts": len(mine), "seconds": round(seconds, 3)}
                log.info(
                    "subnet %s: %d hosts up after %.1f s",
                    subnet.network,
                    len(mine),
                    seconds,
                    extra={"about": about},
                )
                named = self._named(subnet, mine)
                probed = ranges.size(slice_.ranges)
                results.append(ScanResult(subnet, named, seen, seconds, probed, slice_.parts, error))
        return results

    def _find(self, job: Job, wanted: Ranges, rate: float) -> Found:
        """Look for hosts; on the agent's own segment until nobody new answers.

        nmap asks by ARP twice, so at 5 % loss one host in 400 is missed; a routed one gets eight probes. Two
        looks with one request each cost the same, and tell whether packets get lost: where one look has found
        what the last missed, every job of the run looks a third time at least.
        """
        if not self._nmap.raw or not all(self._on_segment(slice_) for slice_ in job.slices):
            return self._look(job, wanted, rate)
        found: tuple[Host, ...] = ()
        for look in range(MOST_LOOKS):
            silent = ranges.without(wanted, ranges.of_hosts(found))
            new, error = self._look(job, silent, rate, once=True)
            found += new
            self._loss = self._loss or bool(look and new)
            if error or (not new and look > self._loss):
                return found, error
        return found, None

    def _on_segment(self, slice_: Slice) -> bool:
        network = slice_.wishes[0][0].network
        return any(ranges.within(network, segment) for segment in self._segments)

    def _look(self, job: Job, wanted: Ranges, rate: float, **how: bool) -> Found:
        """Run nmap over the addresses; return the hosts, and why some may be missing, if so."""
        if not wanted:
            return (), None
        limit = self._patience + ranges.size(wanted) * command.MOST_PROBES / rate
        line = command.discovery(self._nmap.version, self._nmap.raw, job.version, rate, **how)
        log.debug("subnet %s: %s", job.label, " ".join(line))
        targets = "\n".join(ranges.lines(wanted, job.version))
        ended = self._processes.run((self._nmap.path, *line), targets, limit)
        _pass_on(job, ended.complaints)
        parser = self._nmap.parser
        if ended.timed_out:
            found = hosts.read_part(parser, ended.xml)
            return (
                found,
                f"nmap was ended after {limit:.0f} s, see scan_timeout; it had found {len(found)} hosts",
            )
        try:
            if ended.status:
                why = quoted(" ".join(ended.complaints), 300) or "without a word"
                raise ScanError(f"nmap failed with exit code {ended.status}: {why}")
            return hosts.read(parser, ended.xml), None
        except ScanError as error:
            return hosts.read_part(parser, ended.xml), str(error)

    def _proven(self, job: Job, slice_: Slice, found: Sequence[Host], rate: float) -> list[Host]:
        """Return the hosts of a slice without those that only a firewall answers for."""
        here = [host for host in found if ranges.contains(slice_.ranges, int(host.ip))]
        whole = any(subnet.discover for subnet, _ in slice_.wishes)
        doubtful = resets.doubtful(ranges.size(slice_.ranges), here, whole)
        if not doubtful:
            return here
        self._warn_of_resets(slice_.wishes[0][0], len(doubtful))
        again, _ = self._look(job, ranges.union(ranges.of_hosts(doubtful)), rate, past_resets=True)
        return [*(host for host in here if host not in doubtful), *again]

    def _warn_of_resets(self, subnet: Subnet, doubtful: int) -> None:
        network = str(subnet.network)
        if network not in self._suspected:
            self._suspected.add(network)
            log.warning(
                "subnet %s: a firewall seems to answer for addresses that nobody has: %d of them, or more, by"
                " TCP resets alone; only hosts that answer in another way are reported",
                network,
                doubtful,
            )

    def _named(self, subnet: Subnet, found: Sequence[Host]) -> tuple[Host, ...]:
        if not subnet.resolve_names or not found:
            return tuple(found)
        names = self._names.look_up((host.ip for host in found), subnet.nameservers)
        return tuple(replace(host, name=names.get(host.ip)) for host in found)


def _pass_on(job: Job, complaints: Sequence[str]) -> None:
    """Hand on what nmap said on stderr: it may have no route to some of its targets and call it a success."""
    serious = [line for line in complaints if not line.startswith(HARMLESS)]
    for line in complaints:
        level = logging.WARNING if line in serious[:3] else logging.DEBUG
        log.log(level, "subnet %s: nmap says: %s", job.label, line)
