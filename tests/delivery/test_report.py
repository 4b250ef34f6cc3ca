import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.delivery import report
from phpipam_scan_agent.models import Address, Host, Report, ScanResult, Subnet

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def result(*hosts: Host, known: dict[str, int] | None = None, seen: datetime = NOON) -> ScanResult:
    addresses = {ip_address(ip): Address(id_, ip_address(ip)) for ip, id_ in (known or {}).items()}
    network = ip_network("192.0.2.0/24")
    subnet = Subnet(10, network, discover=True, resolve_names=True, addresses=tuple(addresses.values()))
    found = tuple(replace(host, address=addresses.get(host.ip)) for host in hosts)
    return ScanResult(subnet, found, seen, seconds=1.5)


def host(ip: str, mac: str | None = None, name: str | None = None) -> Host:
    return Host(ip_address(ip), mac=mac, name=name)


def make(scanned: ScanResult) -> Report:
    """The report, in a server that takes large ones."""
    (made,) = report.make(scanned, 1_000_000)
    return made


def rows(scanned: ScanResult) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(make(scanned).scan)["results"]
    return made


def test_the_report_is_exactly_what_the_server_takes() -> None:
    made = make(
        result(
            host("192.0.2.1", "AA:BB:CC:DD:EE:01", "gw.example.net"),
            host("192.0.2.77"),
            known={"192.0.2.1": 101, "192.0.2.9": 109},
        )
    )
    assert made.network == ip_network("192.0.2.0/24")
    assert made.scan == (
        '{"subnet": "192.0.2.0/24", "tz": "+0000", "results": ['
        '{"id": 101, "subnetId": "10", "ip": "192.0.2.1", "lastSeen": "2026-11-24 12:00:00",'
        ' "hostname": "gw", "mac": "AA:BB:CC:DD:EE:01"}, '
        '{"subnetId": "10", "ip": "192.0.2.77", "lastSeen": "2026-11-24 12:00:00"}]}'
    )


def test_a_subnet_without_hosts_has_no_results() -> None:
    assert json.loads(make(result()).scan)["results"] == []


def test_what_is_not_known_is_left_out_and_never_null() -> None:
    made = rows(result(host("192.0.2.1"), host("192.0.2.2", name="o'brien.example.net")))
    assert [row.keys() for row in made] == [{"subnetId", "ip", "lastSeen"}] * 2


def test_an_id_comes_only_with_its_own_address() -> None:
    made = rows(result(host("192.0.2.1"), host("192.0.2.2"), known={"192.0.2.2": 102, "198.51.100.1": 5}))
    assert [row.get("id") for row in made] == [None, 102]


@pytest.mark.parametrize(
    ("hours", "zone", "local"),
    [
        (0, "+0000", "2026-11-24 12:00:00"),
        (1, "+0100", "2026-11-24 13:00:00"),
        (-5, "-0500", "2026-11-24 07:00:00"),
        (5.5, "+0530", "2026-11-24 17:30:00"),
        (-3.5, "-0330", "2026-11-24 08:30:00"),
        (5.75, "+0545", "2026-11-24 17:45:00"),
        (14, "+1400", "2026-11-25 02:00:00"),
        (-0.25, "-0015", "2026-11-24 11:45:00"),
    ],
)
def test_last_seen_is_local_and_its_offset_is_told(hours: float, zone: str, local: str) -> None:
    seen = NOON.astimezone(timezone(timedelta(hours=hours)))
    scan = json.loads(make(result(host("192.0.2.1"), seen=seen)).scan)
    assert scan["tz"] == zone
    assert scan["results"][0]["lastSeen"] == local


def test_an_offset_with_seconds_is_told_without_them() -> None:
    """Zones of before the railways have such."""
    assert report.zone(NOON.astimezone(timezone(timedelta(hours=2, minutes=30, seconds=17)))) == "+0230"


_HOSTS = st.builds(
    Host,
    ip=st.integers(0, 255).map(lambda last: IPv4Address(f"192.0.2.{last}")),
    mac=st.none() | st.just("AA:BB:CC:DD:EE:01"),
    name=st.none() | st.text() | st.text(alphabet="aZ09-_.'\";\\\n \u0661é", min_size=1),
)


@given(
    hosts=st.lists(_HOSTS, max_size=5),
    ids=st.dictionaries(st.integers(0, 255), st.integers(1, 9), max_size=5),
)
def test_whatever_was_found_no_null_and_no_wild_name_is_reported(
    hosts: list[Host], ids: dict[int, int]
) -> None:
    scanned = result(*hosts, known={f"192.0.2.{last}": id_ for last, id_ in ids.items()})
    made = make(scanned)
    assert made.scan.isascii()
    assert len(made.scan.splitlines()) == 1
    reported = rows(scanned)
    assert [row["ip"] for row in reported] == [str(found.ip) for found in hosts]
    for row in reported:
        assert None not in row.values()
        assert row.keys() <= {"id", "subnetId", "ip", "lastSeen", "hostname", "mac"}
        assert re.fullmatch("[A-Za-z0-9_-]{1,63}", row.get("hostname", "x"))
        assert row.get("id") == ids.get(int(row["ip"].rpartition(".")[2]))
