"""A large report goes as several: whatever was found, every host is in one of them, and each is whole."""

import json
from datetime import timedelta, timezone
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.delivery import report
from phpipam_scan_agent.models import Address, Host, Report, ScanResult, Subnet
from reports import NOON
from thorough import thorough

NETWORK = ip_network("10.0.0.0/8")

_SHAPES = st.binary(max_size=60)
"""A byte a host: whether phpIPAM knows it, whether it has a MAC address, and how long its name is."""

_HOURS = st.integers(-12, 14)


def scanned(shapes: bytes, hours: int = 0) -> ScanResult:
    hosts = tuple(
        Host(
            IPv4Address(10 * 2**24 + 3571 * at),
            mac="AA:BB:CC:DD:EE:01" if shape & 2 else None,
            name="x" * (shape >> 2) or None,
        )
        for at, shape in enumerate(shapes)
    )
    known = tuple(
        Address(10**9 + shape, host.ip) for host, shape in zip(hosts, shapes, strict=True) if shape & 1
    )
    subnet = Subnet(10, NETWORK, discover=True, addresses=known)
    return ScanResult(subnet, hosts, NOON.astimezone(timezone(timedelta(hours=hours))), seconds=1.0)


def rows(reports: list[Report]) -> list[dict[str, Any]]:
    return [row for each in reports for row in json.loads(each.scan)["results"]]


def check_each(reports: list[Report], tz: str) -> None:
    """Each is a report of its own, of the same subnet and zone, and knows how many hosts it has."""
    for each in reports:
        scan = json.loads(each.scan)
        assert scan.keys() == {"subnet", "tz", "results"}
        assert (scan["subnet"], scan["tz"]) == (str(NETWORK), tz)
        assert each.network == NETWORK
        assert each.hosts == len(scan["results"])


@thorough
@given(shapes=_SHAPES, hours=_HOURS, room=st.integers(400, 6000))
def test_every_host_is_in_one_report_and_each_fits(shapes: bytes, hours: int, room: int) -> None:
    result = scanned(shapes, hours)
    (whole,) = report.make(result, 10**9)
    made = list(report.make(result, room))
    assert rows(made) == rows([whole])
    assert [row["ip"] for row in rows(made)] == [str(host.ip) for host in result.hosts]
    assert all(len(each.scan.encode()) <= room for each in made)
    assert all(each.hosts for each in made) or not shapes
    check_each(made, f"{hours:+03}00")


@thorough
@given(shapes=_SHAPES, hours=_HOURS, most=st.integers(1, 60))
def test_halves_of_halves_are_the_whole(shapes: bytes, hours: int, most: int) -> None:
    (whole,) = report.make(scanned(shapes, hours), 10**9)

    def cut(each: Report) -> list[Report]:
        return [each] if each.hosts <= most else [part for half in report.halves(each) for part in cut(half)]

    parts = cut(whole)
    assert rows(parts) == rows([whole])
    assert all(part.hosts <= most for part in parts)
    check_each(parts, f"{hours:+03}00")


@pytest.mark.parametrize("shapes", [b"", b"x"])
def test_one_host_or_none_has_no_halves(shapes: bytes) -> None:
    (whole,) = report.make(scanned(shapes), 10**9)
    assert report.halves(whole) == ()


def test_no_more_reports_are_made_than_are_needed() -> None:
    result = scanned(b"x" * 4000)
    (whole,) = report.make(result, 10**9)
    made = list(report.make(result, 100_000))
    assert len(made) == -(-len(whole.scan) // 100_000)
