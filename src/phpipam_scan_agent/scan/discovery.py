"""Looks at addresses: nmap run over them, as often as it takes."""

import logging
from collections.abc import Sequence

from ..errors import ScanError
from ..models import Host, IPNetwork
from ..plan import ranges
from ..plan.jobs import Job
from ..plan.ranges import Ranges
from ..system.redact import excerpt
from . import nmap_xml, probes
from .nmap import Nmap
from .probes import Ask
from .process import Ended, Processes

log = logging.getLogger(__name__)

Found = tuple[tuple[Host, ...], str | None]
"""Hosts, and why some may be missing, if so."""

MOST_LOOKS = 6
"""How often the addresses of the agent's segment are asked at most."""

HARMLESS = ("Strange read error", "WARNING: No targets were specified")
"""How lines of nmap's begin that mean nothing: a connection was reset; none of the targets has a route."""


class Looks:
    """Runs nmap; `patience` is the seconds it gets beyond those that its packets take at their rate."""

    def __init__(
        self, nmap: Nmap, processes: Processes, patience: float, segments: Sequence[IPNetwork]
    ) -> None:
        self._nmap = nmap
        self._processes = processes
        self._patience = patience
        self._segments = segments
        self._loss = False

    def find(self, job: Job, wanted: Ranges, rate: float) -> Found:
        """Look for hosts; on the agent's own segment until nobody new answers.

        nmap asks by ARP twice, so at 5 % loss one host in 400 is missed; a routed one gets six probes. Two
        looks with one request each cost the same, and tell whether packets get lost: where one look has found
        what the last missed, every job of the run looks a third time at least.
        """
        if not self._nmap.raw:
            return self._look(job, wanted, rate, Ask.USUALLY)
        if not all(self._on_segment(part.network) for part in job.slices):
            return self._find_routed(job, wanted, rate)
        found: tuple[Host, ...] = ()
        for look in range(MOST_LOOKS):
            silent = ranges.without(wanted, ranges.of_hosts(found))
            new, error = self._look(job, silent, rate, Ask.ONCE)
            found += new
            self._loss = self._loss or bool(look and new)
            if error or (not new and look > self._loss):
                return found, error
        return found, None

    def _find_routed(self, job: Job, wanted: Ranges, rate: float) -> Found:
        """Look for hosts, and once more, by other means, for those that phpIPAM knows and that stay silent."""
        found, error = self._look(job, wanted, rate, Ask.USUALLY)
        if error or job.version == 6:
            return found, error
        silent = ranges.without(wanted, ranges.of_hosts(found))
        known = ranges.union(one for one in job.known if ranges.contains(silent, one.start))
        more, error = self._look(job, known, rate, Ask.BY_TIMESTAMP)
        return found + more, error

    def past_resets(self, job: Job, doubtful: Sequence[Host], rate: float) -> tuple[Host, ...]:
        """Return those of the hosts that answer in another way than by a TCP reset.

        Where nmap may only connect, it has no other way to ask.
        """
        if not doubtful or not self._nmap.raw:
            return ()
        found, _ = self._look(job, ranges.union(ranges.of_hosts(doubtful)), rate, Ask.PAST_RESETS)
        return found

    def _on_segment(self, network: IPNetwork) -> bool:
        return any(ranges.within(network, segment) for segment in self._segments)

    def _look(self, job: Job, wanted: Ranges, rate: float, ask: Ask) -> Found:
        if not wanted:
            return (), None
        limit = self._patience + ranges.size(wanted) * probes.MOST_PROBES / rate
        line = probes.discovery(self._nmap.version, self._nmap.raw, job.version, rate, ask)
        log.debug("subnet %s: %s", job.label, " ".join(line))
        targets = "\n".join(ranges.lines(wanted, job.version))
        try:
            ended = self._processes.run((self._nmap.path, *line), targets, limit)
        except ScanError as error:
            return (), str(error)
        if ended.timed_out:
            found = nmap_xml.read_part(self._nmap.parser, ended.xml)
            return (
                found,
                f"nmap was ended after {limit:.0f} s (scan_timeout); it had found {len(found)} hosts",
            )
        try:
            _check(ended)
            found = nmap_xml.read(self._nmap.parser, ended.xml)
        except ScanError as error:
            return nmap_xml.read_part(self._nmap.parser, ended.xml), str(error)
        _pass_on(job, ended.complaints)
        left_out = ranges.size(wanted) - nmap_xml.total(ended.xml)
        if left_out > 0:  # nmap calls that a success, as where an interface has just gone down
            return found, f"nmap left out {left_out} addresses{_why(ended.complaints)}"
        return found, None


def _check(ended: Ended) -> None:
    if ended.status:
        why = excerpt(" ".join(ended.complaints), 300) or "without a word"
        raise ScanError(f"nmap failed with exit code {ended.status}: {why}")


def _why(complaints: Sequence[str]) -> str:
    return f": {excerpt(complaints[0], 200)}" if complaints else ""


def _pass_on(job: Job, complaints: Sequence[str]) -> None:
    """Hand on what nmap said on stderr although it calls the scan a success."""
    serious = [line for line in complaints if not line.startswith(HARMLESS)]
    for line in complaints:
        level = logging.WARNING if line in serious[:3] else logging.DEBUG
        log.log(level, "subnet %s: nmap says: %s", job.label, line)
