import subprocess
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import pytest

from phpipam_scan_agent.errors import ScanError
from phpipam_scan_agent.models import Host
from phpipam_scan_agent.scan import nmap_xml, probes

RECORDED = Path(__file__).with_name("nmap_xml")


def run(*arguments: str, targets: str = "", version: int = 4) -> str:
    """The XML of the real nmap with these arguments, also of a failed scan; without raw sockets, for any user."""
    line = probes.discovery((7, 80), raw=False, version=version, rate=1000, kinds=probes.Probes.DEFAULT)
    return subprocess.run(("nmap", *line, *arguments), input=targets, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def loopback() -> str:
    return run(targets="127.0.3.4/30\n")


SWITCHED = """<?xml version="1.0"?>
<nmaprun scanner="nmap" args="nmap" start="1" version="7.93" xmloutputversion="1.05">
<host><status state="up" reason="arp-response" reason_ttl="0"/>
<address addr="192.0.2.10" addrtype="ipv4"/>
<address addr="aa:bb:cc:dd:ee:01" addrtype="mac" vendor="A &quot;vendor&quot;"/>
<hostnames><hostname name="gw.example.net" type="PTR"/></hostnames></host>
<host><status state="down" reason="no-response" reason_ttl="0"/>
<address addr="192.0.2.3" addrtype="ipv4"/></host>
<host><status state="up" reason="echo-reply" reason_ttl="64"/>
<address addr="192.0.2.9" addrtype="ipv4"/></host>
<runstats><finished time="1" timestr="x" summary="x" elapsed="1" exit="success"/>
<hosts up="2" down="1" total="3"/></runstats></nmaprun>
"""
"""nmap's XML of an Ethernet segment, written by hand, since loopback has no MAC addresses."""


def test_the_hosts_that_are_up_come_in_order(loopback: str) -> None:
    found = nmap_xml.read(loopback)
    assert [host.ip for host in found] == [ip_address(f"127.0.3.{last}") for last in (4, 5, 6, 7)]


def test_the_reason_of_each_host_is_read(loopback: str) -> None:
    """The probed ports are closed or open; a TCP connection shows nothing else."""
    assert {host.reason for host in nmap_xml.read(loopback)} <= {"conn-refused", "syn-ack"}


def test_ipv6_hosts_are_read() -> None:
    assert [host.ip for host in nmap_xml.read(run(targets="::1\n", version=6))] == [ip_address("::1")]


def test_a_scan_without_hosts_is_no_error() -> None:
    assert nmap_xml.read(run(targets="")) == ()


@pytest.mark.parametrize("version", ["7.80", "7.991"])
def test_the_oldest_and_the_newest_nmap_are_read_alike(version: str) -> None:
    """The XML of both for the same hosts on an Ethernet segment and behind a router."""
    four, six = ((RECORDED / f"{version}-ipv{n}.xml").read_text() for n in (4, 6))
    mac, vendor = "00:00:0C:00:00:10", "Cisco Systems"
    assert nmap_xml.read(four) == (
        Host(ip_address("192.0.2.10"), "arp-response", mac=mac, vendor=vendor, ttl=0),
        Host(ip_address("198.51.100.1"), "echo-reply", ttl=64),
    )
    assert nmap_xml.read(six) == (
        Host(ip_address("2001:db8::10"), "nd-response", mac=mac, vendor=vendor, ttl=0),
    )
    assert (nmap_xml.total(four), nmap_xml.total(six)) == (5, 2)


def test_macs_are_upper_case_and_hosts_down_left_out() -> None:
    assert nmap_xml.read(SWITCHED) == (
        Host(ip_address("192.0.2.9"), "echo-reply", ttl=64),
        Host(ip_address("192.0.2.10"), "arp-response", mac="AA:BB:CC:DD:EE:01", vendor='A "vendor"'),
    )


def test_names_in_the_xml_are_ignored() -> None:
    """Names are looked up separately; nmap runs with -n."""
    assert {host.name for host in nmap_xml.read(SWITCHED)} == {None}


def test_truncated_xml_is_refused(loopback: str) -> None:
    whole = loopback.rstrip()
    for length in range(0, len(whole), 5):
        with pytest.raises(ScanError):
            nmap_xml.read(whole[:length])


def test_a_scan_that_nmap_ended_with_an_error_is_refused() -> None:
    xml = run("-e", "no-such-device", targets="127.0.3.4\n")
    assert 'exit="error"' in xml
    with pytest.raises(ScanError, match="nmap did not finish"):
        nmap_xml.read(xml)


@pytest.mark.parametrize("said", ["", "QUITTING!", "<html></html>", "\0", "<nmaprun></nmaprun>"])
def test_an_unfinished_scan_is_refused(said: str) -> None:
    with pytest.raises(ScanError, match="nmap did not finish"):
        nmap_xml.read(said)


def test_invalid_xml_is_refused(loopback: str) -> None:
    with pytest.raises(ScanError, match="nmap's answer is not the XML of a scan"):
        nmap_xml.read(loopback + "<")


def test_complete_hosts_of_a_truncated_scan_are_read(loopback: str) -> None:
    whole = nmap_xml.read(loopback)
    for length in range(0, len(loopback), 5):
        part = loopback[:length]
        assert nmap_xml.read_part(part) == whole[: part.count("</host>")]


def test_garbage_gives_no_hosts() -> None:
    assert nmap_xml.read_part("<nmaprun><host><</host>") == ()


def test_many_threads_read_at_once() -> None:
    """python-nmap's parser stores its last result."""
    xml = [SWITCHED.replace("192.0.2.", f"192.0.{third}.") for third in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: nmap_xml.read(one), xml))
    assert [{str(host.ip) for host in one} for one in found] == [
        {f"192.0.{third}.9", f"192.0.{third}.10"} for third in range(100)
    ]
