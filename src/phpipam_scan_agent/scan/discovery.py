"""Host discovery: passes of nmap over a job's addresses."""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from subprocess import CompletedProcess
from typing import NamedTuple

from ..errors import ScanError
from ..models import Host
from ..plan import ranges
from ..plan.jobs import Job
from ..plan.ranges import Ranges
from ..system.redact import excerpt
from . import nmap_xml, probes
from .nmap import Nmap
from .plausibility import Kind
from .probes import Probes
from .process import MAX_OUTPUT, Processes, TimedOutError

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The result of a pass, or of all passes over a job's addresses."""

    hosts: tuple[Host, ...]
    error: str | None = None
    """Why hosts may be missing, or None."""

    timed_out: bool = False
    """Whether the error is the time limit."""

    def plus(self, other: "Found") -> "Found":
        """Return the hosts of both, with the first error."""
        first = self if self.error else other
        return first._replace(hosts=self.hosts + other.hosts)


OUTPUT_PER_ADDRESS = 2000
"""Maximum output of nmap per address, in characters; it writes about 350 for a host that is up."""

MAX_PASSES = 6
"""Maximum number of passes on the agent's own segment."""

CONFIRMING = {
    Kind.ARP: (Probes.BY_IP,),
    Kind.ECHO: (Probes.TCP, Probes.TIMESTAMP),
    Kind.TIMESTAMP: (Probes.TCP, Probes.ICMP),
    Kind.SYN_ACK: (Probes.ICMP, Probes.ACK),
    Kind.RST: (Probes.IGNORE_RST,),
}
"""Further passes where one kind of answer proves nothing: the probes with other answers. Probes that the same
firewall may answer are a pass of their own, the last one: nmap takes a host's first answer and ignores the others."""

NEIGHBOURS_AT_ONCE = 400
"""Addresses of the agent's own segment that are probed by IP at a time. The kernel then sends ARP requests, and its
neighbour table holds 1,024 entries: of 93 hosts of a /21 behind proxy ARP 43 were found at once. With nmap's
--send-eth all 93 are, but it resolves one address after the other, which takes 98 s."""

NEIGHBOURS_KEPT = 5.5
"""Seconds after which the kernel lets new entries replace these; 5 in its source (neigh_forced_gc)."""

SEND_FAILED = ("sendto in ", "WARNING: eth_send ")
"""Prefixes of nmap's messages about a packet that was not sent, by IP and by ARP."""

FAILURES_OMITTED = "Omitting future Sendto error"
"""Prefix of nmap's message after the tenth of them."""

UNSENT = 0.05
"""Tolerated number of such packets as a share of the addresses probed, since each address gets several probes."""

HARMLESS = ("Strange read error", "WARNING: No targets were specified")
"""Prefixes of nmap's messages without significance: a connection was reset; no target has a route."""


class Discovery:
    """Runs nmap over the addresses of jobs; may be used from many threads.

    `timeout` is the time limit of an nmap process, in seconds, in addition to the time that its packets take at
    their rate.
    """

    def __init__(self, nmap: Nmap, processes: Processes, timeout: float) -> None:
        self._nmap = nmap
        self._processes = processes
        self._timeout = timeout
        self._loss = False
        self._neighbour_table = threading.Lock()
        self._free_at = 0.0

    def find(self, job: Job, rate: float) -> Found:
        """Return the hosts among a job's addresses; on the agent's own segment, pass until no new host answers.

        nmap sends two ARP requests, so at 5 % loss one host in 400 is missed; a routed host gets six probes. Two
        passes with one request each cost the same, and reveal packet loss: after a pass has found a host that the
        previous pass missed, every job of the run makes at least three passes, and this job halves its rate.
        """
        wanted = ranges.union(part for chunk in job.chunks for part in chunk.ranges)
        if job.route.error:
            return Found((), job.route.error)
        if self._nmap.raw and job.route.on_link:
            found = self._find_on_segment(job, wanted, rate)
            return found if found.error else self._find_known(job, found, rate, Probes.REPEATED_ARP)
        found = self._pass(job, wanted, rate, Probes.DEFAULT)
        if found.error or not self._nmap.raw or job.version == 6:  # IPv6 has no timestamp
            return found
        return self._find_known(job, found, rate, Probes.TIMESTAMP)

    def _find_on_segment(self, job: Job, wanted: Ranges, rate: float) -> Found:
        found = Found(())
        for number in range(MAX_PASSES):
            silent = ranges.without(wanted, ranges.of_ips(host.ip for host in found.hosts))
            new = self._pass(job, silent, rate, Probes.SINGLE_ARP)
            found = found.plus(new)
            if number and new.hosts:
                self._loss = True
                rate /= 2  # packets are being lost
            if found.error or (not new.hosts and number > self._loss):
                break
        return found

    def _find_known(self, job: Job, found: Found, rate: float, kinds: Probes) -> Found:
        """Probe the silent addresses that are in phpIPAM again, and return all hosts found."""
        silent = ranges.without(ranges.union(job.known), ranges.of_ips(host.ip for host in found.hosts))
        return found.plus(self._pass(job, silent, rate, kinds))

    def confirm(self, job: Job, hosts: Iterable[Host], kind: Kind, rate: float) -> Found:
        """Find the hosts that answer by another kind of answer.

        Without raw sockets nmap has no such probe.
        """
        found = Found(())
        if not self._nmap.raw:
            return found
        silent = ranges.union(ranges.of_ips(host.ip for host in hosts))
        for kinds in CONFIRMING[kind]:
            new = self._pass_by_ip(job, silent, rate, kinds)
            found = found.plus(new)
            silent = ranges.without(silent, ranges.of_ips(host.ip for host in new.hosts))
        return found

    def controls(self, job: Job, wanted: Ranges, kinds: Probes, rate: float) -> Found:
        """Probe control addresses behind a router; on the agent's segment ARP distinguishes hosts."""
        if job.route.on_link or not self._nmap.raw:
            return Found(())
        return self._pass(job, wanted, rate, kinds)

    def _pass_by_ip(self, job: Job, wanted: Ranges, rate: float, kinds: Probes) -> Found:
        """Probe without ARP; on the agent's own segment no faster than the kernel's neighbour table allows."""
        if not job.route.on_link:
            return self._pass(job, wanted, rate, kinds)
        found = Found(())
        for part in ranges.cut(wanted, NEIGHBOURS_AT_ONCE):
            with self._neighbour_table:
                self._processes.wait(self._free_at - time.monotonic())
                found = found.plus(self._pass(job, part, rate, kinds))
                share = ranges.size(part) / NEIGHBOURS_AT_ONCE
                self._free_at = time.monotonic() + NEIGHBOURS_KEPT * share
        return found

    def _pass(self, job: Job, wanted: Ranges, rate: float, kinds: Probes) -> Found:
        if not wanted:
            return Found(())
        limit = self._timeout + ranges.size(wanted) * probes.MOST_PROBES / rate
        line = probes.discovery(self._nmap.version, self._nmap.raw, job.version, rate, kinds)
        log.debug("subnet %s: %s", job.label, " ".join(line))
        targets = "\n".join(ranges.lines(wanted, job.version))
        max_output = MAX_OUTPUT + OUTPUT_PER_ADDRESS * ranges.size(wanted)
        try:
            done = self._processes.run((self._nmap.path, *line), targets, limit, max_output)
        except TimedOutError as error:
            found = nmap_xml.read_part(error.stdout)
            why = f"nmap was ended after {limit:.0f} s (scan_timeout); it had found {len(found)} hosts"
            return Found(found, why, timed_out=True)
        except ScanError as error:
            return Found((), str(error))
        return self._found(job, ranges.size(wanted), done)

    def _found(self, job: Job, probed: int, done: CompletedProcess[str]) -> Found:
        """Return the hosts in nmap's output; with an error also where nmap calls an incomplete scan a success."""
        messages = [line for line in done.stderr.splitlines() if line.strip()]
        try:
            if done.returncode:
                why = excerpt(" ".join(messages), 300) or "without a message"
                raise ScanError(f"nmap failed with exit code {done.returncode}: {why}")
            found = nmap_xml.read(done.stdout)
        except ScanError as error:
            return Found(nmap_xml.read_part(done.stdout), str(error))
        if unsent := _unsent(messages, probed):
            return Found(found, unsent)
        _log_messages(job, messages)
        left_out = probed - nmap_xml.total(done.stdout)
        if left_out > 0:  # as where an interface has just gone down
            why = f": {excerpt(messages[0], 200)}" if messages else ""
            return Found(found, f"nmap left out {left_out} addresses{why}")
        return Found(found)


def _unsent(messages: Sequence[str], probed: int) -> str | None:
    """Return an error if more than a few probes could not be sent: nmap calls such a scan a success."""
    failed = [line for line in messages if line.startswith(SEND_FAILED)]
    omitted = any(line.startswith(FAILURES_OMITTED) for line in messages)
    if not failed or (len(failed) <= UNSENT * probed and not omitted):
        return None
    number = f"{len(failed)} or more" if omitted else len(failed)
    return (
        f"{number} probes could not be sent: {excerpt(failed[0], 200)}; check the machine's own firewall, its"
        " conntrack table and max_rate"
    )


def _log_messages(job: Job, messages: Sequence[str]) -> None:
    """Log the messages of a successful nmap process."""
    serious = [line for line in messages if not line.startswith(HARMLESS)]
    for line in messages:
        level = logging.WARNING if line in serious[:3] else logging.DEBUG
        log.log(level, "subnet %s: nmap says: %s", job.label, line)
