"""Candidates of IPv6 subnets that are too large to probe whole, with a fake process in nmap's place."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network
from subprocess import CompletedProcess
from typing import Any

import pytest

from phpipam_scan_agent.models import Subnet
from phpipam_scan_agent.scan import network
from phpipam_scan_agent.scan.neighbours import Neighbours
from phpipam_scan_agent.scan.network import Link
from phpipam_scan_agent.scan.nmap import Nmap

LINK = Link("eth0", ip_interface("2001:db8::1/64"), "02:00:00:00:00:01")


class Process:
    """nmap's multicast scripts, which these addresses answer."""

    def __init__(self, *answers: str, status: int = 0) -> None:
        hosts = "".join(
            f'<host><status state="up" reason="nd-response" reason_ttl="0"/>'
            f'<address addr="{ip}" addrtype="ipv6"/></host>'
            for ip in answers
        )
        end = '<finished exit="success"/><hosts up="0" down="0" total="0"/>' if not status else ""
        xml = f"<nmaprun>{hosts}<runstats>{end}</runstats></nmaprun>"
        self._done = CompletedProcess("nmap", status, xml, "")
        self.runs = 0

    def run(self, command: Sequence[str], stdin: str, timeout: float, most: int = 0) -> CompletedProcess[str]:
        self.runs += 1
        return self._done


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        ip_address("2001:db8::99"): "02:00:00:00:00:99",
        ip_address("2001:db8:1::98"): "02:00:00:00:00:98",
    }
    monkeypatch.setattr(network, "neighbours", lambda: known)


def neighbours(process: Any, raw: bool = True) -> Neighbours:
    return Neighbours(Nmap("nmap", (7, 93), raw), [LINK], process)


def large(block: str = "2001:db8::/64", discover: bool = True) -> Subnet:
    return Subnet(1, ip_network(block), discover=discover, ping=True)


def test_ipv6_candidates_come_from_answers_interface_identifiers_and_the_kernel() -> None:
    some = neighbours(Process("fe80::5", "2001:db8::7", "2001:db8:2::8")).with_candidates(large())
    assert list(map(str, some.candidates)) == ["2001:db8::1", "2001:db8::5", "2001:db8::7", "2001:db8::99"]


def test_the_link_is_asked_at_most_once() -> None:
    process = Process("2001:db8::7")
    links = neighbours(process)
    for other in (large("2001:db8::/120"), large(discover=False), large("2001:db8:5::/64")):
        assert links.with_candidates(other) == other
    assert process.runs == 0
    assert links.with_candidates(large()) == links.with_candidates(large())
    assert process.runs == 1


def test_without_raw_sockets_only_known_addresses_are_checked() -> None:
    assert neighbours(Process("2001:db8::7"), raw=False).with_candidates(large()) == large()


def test_without_nmap_the_kernels_table_is_used(caplog: pytest.LogCaptureFixture) -> None:
    some = neighbours(Process(status=1)).with_candidates(large())
    assert list(map(str, some.candidates)) == ["2001:db8::1", "2001:db8::99"]
    assert "IPv6 neighbour discovery failed" in caplog.text
