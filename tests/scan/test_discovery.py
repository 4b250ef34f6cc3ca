"""The passes of host discovery, with a fake process in nmap's place: the targets, probes and rate of each."""

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from ipaddress import IPv4Network, ip_network
from subprocess import CompletedProcess
from typing import Any

import pytest

from phpipam_scan_agent.errors import ScanError
from phpipam_scan_agent.models import Subnet
from phpipam_scan_agent.plan import jobs
from phpipam_scan_agent.plan.jobs import Job, Route
from phpipam_scan_agent.scan.discovery import MAX_PASSES, Discovery
from phpipam_scan_agent.scan.nmap import Nmap
from phpipam_scan_agent.scan.schedule import Schedule
from phpipam_scan_agent.scan.worker import Worker

TTLS = {"arp-response": 0, "reset": 60, "echo-reply": 60}

SEGMENT, ROUTED = Route("eth0", on_link=True), Route("eth0")
BLOCK = "192.0.2.0/28"


class Process:
    """An nmap whose nth run finds the nth set of hosts; further runs find none.

    Runs with a number in `fails` fail. `reasons` has the reason of each run; the last reason is of all further runs.
    """

    def __init__(
        self,
        *up: Sequence[int],
        stderr: Sequence[str] = (),
        mac: str | None = None,
        reasons: Sequence[str] = ("arp-response",),
        fails: Sequence[int] = (),
    ) -> None:
        self._up = list(up)
        self._mac = mac
        self._reasons = reasons
        self._fails = fails
        self._stderr = "\n".join(stderr)
        self.runs: list[tuple[int, str]] = []
        """Number of targets and options of each run."""

    def run(self, command: Sequence[str], stdin: str, timeout: float, most: int = 0) -> CompletedProcess[str]:
        targets = {ip for line in stdin.splitlines() for ip in IPv4Network(line)}
        self.runs.append((len(targets), " ".join(command)))
        if len(self.runs) in self._fails:
            raise ScanError("nmap cannot be started")
        reason = self._reasons[min(len(self.runs), len(self._reasons)) - 1]
        here = [f"192.0.2.{last}" for last in (self._up.pop(0) if self._up else ())]
        hosts = "".join(
            f'<host><status state="up" reason="{reason}" reason_ttl="{TTLS[reason]}"/>'
            f'<address addr="{ip}" addrtype="ipv4"/>'
            f'<address addr="{self._mac or own_mac(ip)}" addrtype="mac"/></host>'
            for ip in here
        )
        end = f'<finished exit="success"/><hosts up="0" down="0" total="{len(targets)}"/>'
        xml = f"<nmaprun>{hosts}<runstats>{end}</runstats></nmaprun>"
        return CompletedProcess(command, 0, xml, self._stderr)

    def wait(self, seconds: float) -> None:
        """Do not wait: no probe fills the kernel's neighbour table."""


def own_mac(ip: str) -> str:
    return f"02:00:00:00:00:{ip[-1:]}0"


def job(route: Route = SEGMENT, *blocks: str) -> Job:
    waiting = jobs.Waiting()
    waiting.add(
        [Subnet(1 + at, ip_network(block), discover=True) for at, block in enumerate(blocks or (BLOCK,))],
        256,
        lambda _, wanted: [{route: each} for each in wanted],
    )
    return waiting.take(256)


def discovery(process: Any, raw: bool = True) -> Discovery:
    return Discovery(Nmap("nmap", (7, 93), raw), process, 900)


def rates(process: Process) -> list[float]:
    return [float(options.split("--max-rate ")[1].split()[0]) for _, options in process.runs]


def test_the_segment_is_probed_until_a_pass_finds_no_new_host() -> None:
    process = Process([1, 2], [])
    found = discovery(process).find(job(), 1000)
    assert [str(host.ip) for host in found.hosts] == ["192.0.2.1", "192.0.2.2"]
    assert [targets for targets, _ in process.runs] == [14, 12]
    assert all("--max-retries 0" in options for _, options in process.runs)


def test_a_host_missed_by_the_first_pass_causes_a_third_pass_of_every_job() -> None:
    process = Process([1], [2], [], [], [], [])
    discover = discovery(process)
    discover.find(job(), 1000)
    assert [targets for targets, _ in process.runs] == [14, 13, 12]
    discover.find(job(), 1000)
    assert len(process.runs) == 6


def test_passes_after_a_lost_packet_halve_the_rate() -> None:
    process = Process([1], [2], [3], [])
    discovery(process).find(job(), 1000)
    assert rates(process) == [1000, 1000, 500, 250]


def test_the_number_of_passes_is_limited() -> None:
    process = Process(*([last] for last in range(1, 15)))
    assert len(discovery(process).find(job(), 1000).hosts) == MAX_PASSES


@pytest.mark.parametrize("raw", [True, False])
def test_behind_a_router_there_is_one_pass_with_all_probes(raw: bool) -> None:
    process = Process([1])
    assert len(discovery(process, raw).find(job(ROUTED), 1000).hosts) == 1
    ((targets, options),) = process.runs
    assert targets == 14
    assert ("-PE -PS443 -PA80" in options) == raw
    assert "--max-retries" not in options


def test_without_a_route_no_process_is_started() -> None:
    process = Process()
    found = discovery(process).find(job(Route("eth0", error="no carrier")), 1000)
    assert (found.hosts, found.error, process.runs) == ((), "no carrier", [])


SENDTO = "sendto in send_ip_packet_sd: sendto(4, packet, 28, 0, 192.0.2.1, 16) => Operation not permitted"
ETH = "WARNING: eth_send of ARP packet returned -1 rather than expected 42 (errno=105: No buffer space available)"
OMITTED = (
    "Omitting future Sendto error messages now that 10 have been shown.  Use -d2 if you really want to see."
)


@pytest.mark.parametrize(
    "stderr", [[SENDTO], [ETH] * 5, [SENDTO] * 10 + [OMITTED]], ids=["IP", "ARP", "omitted"]
)
def test_probes_that_were_not_sent_are_an_error_and_the_hosts_are_kept(stderr: list[str]) -> None:
    found = discovery(Process([1], stderr=stderr)).find(job(ROUTED), 1000)
    assert len(found.hosts) == 1
    assert found.error is not None
    assert stderr[0] in found.error
    assert "could not be sent" in found.error


def test_a_single_unsent_probe_of_many_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert discovery(Process([1], stderr=[SENDTO])).find(job(ROUTED, "192.0.2.0/24"), 1000).error is None
    assert "Operation not permitted" in caplog.text


def results(process: Process, job: Job) -> list[tuple[list[int], str | None]]:
    """Return the last octet of each host, and the error, of each subnet of a job."""
    schedule = Schedule(1000, 1, job.size, lambda _, wanted: [{job.route: each} for each in wanted])
    schedule.add([subnet for chunk in job.chunks for subnet, _ in chunk.subnets], 0)
    (start,) = schedule.startable()
    worker = Worker(discovery(process), schedule, dict, lambda: datetime.now(timezone.utc), None, False)
    return [([int(host.ip) % 256 for host in each.hosts], each.error) for each in worker.scan(start)]


FAILED = "nmap cannot be started"


def test_a_failed_confirmation_of_suspects_is_the_failure_of_their_subnet() -> None:
    """Otherwise hosts behind a router with proxy ARP would be missed without an error, and counted as silent."""
    process = Process(range(1, 15), fails=range(2, 10), mac="02:00:00:00:00:01")
    assert results(process, job()) == [([], FAILED)]


def test_suspects_are_not_reported_if_the_control_addresses_cannot_be_probed() -> None:
    hosts_of_another = [17, 18]
    process = Process([*range(1, 7), *hosts_of_another], fails=[2], reasons=["reset"])
    assert results(process, job(ROUTED, "192.0.2.0/29", "192.0.2.16/28")) == [
        ([], FAILED),
        (hosts_of_another, None),
    ]


def test_confirmed_hosts_are_reported_even_if_the_control_addresses_cannot_be_probed() -> None:
    process = Process(range(1, 7), range(1, 7), fails=[2], reasons=["reset", "", "echo-reply"])
    assert results(process, job(ROUTED, "192.0.2.0/29")) == [([*range(1, 7)], None)]


def test_a_full_part_of_a_larger_network_is_reported() -> None:
    """Its network and broadcast address are hosts, which answer like the others."""
    process = Process(range(1, 7), [0, 7], range(1, 7), reasons=["echo-reply", "echo-reply", "reset"])
    assert results(process, job(ROUTED, "192.0.2.0/29")) == [([*range(1, 7)], None)]
    assert [targets for targets, _ in process.runs] == [6, 2, 6]
