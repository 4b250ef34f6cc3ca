"""Reports → the JSON of both Scan Servers."""

import json
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.delivery.report import make
from phpipam_scan_agent.delivery.wire import bodies, zone
from phpipam_scan_agent.models import Address, Host, Report, ReportRow, ScanResult, Subnet
from reports import NOON
from scan_server.decode import decode
from thorough import thorough

NETWORK = ip_network("192.0.2.0/24")


def state(*rows: ReportRow, made: datetime = NOON, silent: tuple[int, ...] = ()) -> Report:
    return Report(NETWORK, 10, made, rows, silent)


def scans(report: Report, limit: int = 1_000_000) -> list[dict[str, Any]]:
    return [json.loads(body)["scan"] for body in bodies(report, "agent-code", limit)]


def test_the_json_is_exactly_the_servers_format() -> None:
    known = ReportRow(ip_address("192.0.2.1"), NOON, 101, "gw", "AA:BB:CC:DD:EE:01")
    (body,) = bodies(state(known, ReportRow(ip_address("192.0.2.77"), NOON), silent=(102,)), 'a"c', 1_000_000)
    assert body.decode() == (
        '{"code": "a\\"c", "scan": {"subnet": "192.0.2.0/24", "tz": "+0000",'
        ' "made": "2026-11-24T12:00:00+00:00", "silent": [102], "results": ['
        '{"id": 101, "subnetId": "10", "ip": "192.0.2.1", "lastSeen": "2026-11-24 12:00:00",'
        ' "hostname": "gw", "mac": "AA:BB:CC:DD:EE:01"}, '
        '{"subnetId": "10", "ip": "192.0.2.77", "lastSeen": "2026-11-24 12:00:00"}]}}'
    )


def test_a_subnet_without_hosts_has_no_results() -> None:
    (scan,) = scans(state())
    assert scan == {"subnet": "192.0.2.0/24", "tz": "+0000", "made": NOON.isoformat(), "results": []}


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
def test_last_seen_is_local_time_with_its_utc_offset(hours: float, zone: str, local: str) -> None:
    seen = NOON.astimezone(timezone(timedelta(hours=hours)))
    (scan,) = scans(state(ReportRow(ip_address("192.0.2.1"), seen), made=seen))
    assert scan["tz"] == zone
    assert scan["results"][0]["lastSeen"] == local


def test_a_utc_offset_is_sent_without_seconds() -> None:
    """Time zones before about 1900 have seconds."""
    assert zone(NOON.astimezone(timezone(timedelta(hours=2, minutes=30, seconds=17)))) == "+0230"


def test_times_of_two_utc_offsets_are_sent_in_two_bodies() -> None:
    summer = (NOON - timedelta(days=40)).astimezone(timezone(timedelta(hours=2)))
    winter = NOON.astimezone(timezone(timedelta(hours=1)))
    rows = (ReportRow(ip_address("192.0.2.1"), summer), ReportRow(ip_address("192.0.2.2"), winter))
    found = {scan["tz"]: scan for scan in scans(state(*rows, made=winter, silent=(7,)))}
    assert found.keys() == {"+0200", "+0100"}
    assert found["+0200"]["results"][0]["lastSeen"] == "2026-10-15 14:00:00"
    assert found["+0100"]["results"][0]["lastSeen"] == "2026-11-24 13:00:00"
    assert found["+0200"]["made"] == "2026-10-15T14:00:00+02:00"
    assert (found["+0100"]["made"], found["+0100"]["silent"]) == ("2026-11-24T13:00:00+01:00", [7])
    assert "silent" not in found["+0200"]


_NAMES = (
    st.none()
    | st.text(max_size=5)
    | st.text(alphabet="aZ09-_.'\";\\\n \u0661é", min_size=1, max_size=5).map(lambda name: name * 60)
)
_HOSTS = st.lists(
    st.builds(
        Host,
        ip=st.integers(0, 255).map(lambda last: IPv4Address(f"192.0.2.{last}")),
        mac=st.none() | st.integers(0, 2**48 - 1).map(lambda mac: mac.to_bytes(6, "big").hex(":").upper()),
        name=_NAMES,
        address=st.none() | st.integers(1, 2**31).map(lambda id_: Address(id_, IPv4Address("192.0.2.1"))),
    ),
    max_size=6,
    unique_by=lambda host: host.ip,
)


@thorough
@given(
    hosts=_HOSTS,
    hours=st.integers(-12, 14),
    form=st.sampled_from(["short", "full"]),
    limit=st.integers(300, 1500),
    silent=st.lists(st.integers(1, 10**9), max_size=3, unique=True),
)
def test_the_example_server_reads_any_report_without_loss(
    hosts: list[Host], hours: int, form: str, limit: int, silent: list[int]
) -> None:
    seen = NOON.astimezone(timezone(timedelta(hours=hours)))
    subnet = Subnet(10, NETWORK, discover=True)
    quiet = tuple(Address(id_, IPv4Address("192.0.2.9")) for id_ in silent)
    (report,) = make(ScanResult(subnet, tuple(hosts), seen, seconds=1.0, silent=quiet), form)
    made = list(bodies(report, "agent-code", limit))
    for body in made:
        assert body.isascii()
        assert all(None not in row.values() for row in json.loads(body)["scan"]["results"])
        assert len(body) <= limit or len(json.loads(body)["scan"]["results"]) <= 1
    read = [decode(body, NOON + timedelta(seconds=1)) for body in made]
    assert all((each.code, each.network, each.made) == ("agent-code", NETWORK, NOON) for each in read)
    rows = {row.ip: row for row in report.rows}
    assert {
        IPv4Address(int(host.ip_addr)): (host.id, host.name, host.mac, host.seen)
        for each in read
        for host in each.hosts
    } == {ip: (row.id, row.hostname, row.mac, NOON) for ip, row in rows.items()}
    assert [id_ for each in read for id_ in each.silent] == silent
    assert {each.subnet_id for each in read if each.hosts} <= {10}


def test_a_report_is_split_into_the_fewest_bodies() -> None:
    rows = [ReportRow(IPv4Address(int(ip_address("192.0.2.0")) + at % 256), NOON) for at in range(4000)]
    (whole,) = bodies(state(*rows), "code", 10**9)
    assert len(list(bodies(state(*rows), "code", 100_000))) == -(-len(whole) // 100_000)
