"""The decoder alone: whatever the bytes are, they make a Report or a refusal that names the field."""

import json
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from scan_server.decode import Report, decode
from scan_server_lab import Row, host, report

NOW = datetime(2026, 11, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))


def read(document: object, now: datetime = NOW) -> Report:
    return decode(json.dumps(document).encode(), now)


def refusal(body: object) -> str:
    with pytest.raises(HTTPException) as refused:
        decode(body if isinstance(body, bytes) else json.dumps(body).encode(), NOW)
    assert refused.value.status_code == 400
    return refused.value.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NETWORKS = st.builds(
    lambda version, bits, length: (IPv4Network if version == 4 else IPv6Network)(
        (bits % 2 ** (32 if version == 4 else 128), length % (33 if version == 4 else 129)), strict=False
    ),
    st.sampled_from([4, 6]),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
OFFSETS = st.builds(
    lambda sign, hours, minutes: f"{sign}{hours:02}{minutes:02}",
    st.sampled_from("+-"),
    st.integers(0, 23),
    st.integers(0, 59),
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Niue"]
).map(ZoneInfo)


@st.composite
def broken(draw: st.DrawFn) -> object:
    """Return a report with anything at all in one place of it."""
    document: Any = report("code", "192.0.2.0/24", host("192.0.2.1", subnetId="10", hostname="a", mac=None))
    *path, last = draw(
        st.sampled_from(
            [
                ("code",),
                ("scan",),
                ("scan", "subnet"),
                ("scan", "tz"),
                ("scan", "results"),
                ("scan", "results", 0),
            ]
            + [("scan", "results", 0, name) for name in (*host("::"), "id", "subnetId", "hostname", "mac")]
        )
    )
    within = document
    for step in path:
        within = within[step]
    within[last] = draw(JSON)
    return document


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_with_a_reason(body: bytes) -> None:
    assert refusal(body)


@given(broken(), st.booleans())
def test_anything_in_any_field_is_taken_or_refused_with_a_reason(document: object, as_ascii: bool) -> None:
    body = json.dumps(document, ensure_ascii=as_ascii).encode(errors="surrogatepass")
    try:
        taken = decode(body, NOW)
    except HTTPException:
        assert refusal(body)
        return
    for one in taken.hosts:
        "".join(filter(None, one)).encode()  # what the database's client will do
        assert ip_address(int(one.ip_addr)) in taken.network
        assert one.seen <= taken.received


@given(NETWORKS, st.lists(st.integers(0, 2**128 - 1), max_size=20))
def test_addresses_become_phpipams_numbers_each_once(network: Any, picks: list[int]) -> None:
    ips = [network[pick % network.num_addresses] for pick in picks]
    taken = read(report("code", str(network), *(host(str(ip)) for ip in ips)))
    assert taken.network == network
    assert [one.ip_addr for one in taken.hosts] == list(dict.fromkeys(str(int(ip)) for ip in ips))


@given(st.datetimes(datetime(2000, 1, 3), datetime(2026, 11, 22)), OFFSETS, ZONES)
def test_time_is_the_same_moment_in_phpipams_zone(local: datetime, offset: str, zone: ZoneInfo) -> None:
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    ((_, seen, _, _),) = read(
        report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset), NOW.astimezone(zone)
    ).hosts
    minutes = int(f"{offset[0]}1") * (int(offset[1:3]) * 60 + int(offset[3:]))
    moment = local.replace(microsecond=0, tzinfo=timezone.utc) - timedelta(minutes=minutes)
    # In autumn an hour comes twice, and phpIPAM cannot tell which of them it has.
    meanings = [datetime.fromisoformat(seen).replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    assert moment in [meaning.astimezone(timezone.utc) for meaning in meanings]


@given(st.datetimes(datetime(2026, 11, 26), datetime(9999, 12, 31)), OFFSETS)
def test_time_to_come_is_now(local: datetime, offset: str) -> None:
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    taken = read(report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset))
    assert taken.hosts[0].seen == taken.received == taken.scanned == "2026-11-24 12:00:00"


@given(st.datetimes(datetime(1, 1, 1), datetime(1999, 12, 30)), OFFSETS)
def test_time_of_a_clock_that_is_not_set_is_refused(local: datetime, offset: str) -> None:
    text = f"{local.year:04}{local.strftime('-%m-%d %H:%M:%S')}"
    document = report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset)
    assert refusal(document).startswith("scan.results.0.lastSeen: ")


@given(st.text())
def test_hostname_is_taken_to_the_letter_or_left_out(name: str) -> None:
    (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", hostname=name))).hosts
    assert one.hostname in (name or None, None)
    assert not set(one.hostname or "") & set("<>\"'&;%\\ \n\x00")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": "\\ud800"}'])
def test_what_is_no_json_is_called_so(body: bytes) -> None:
    assert refusal(body) == "Invalid JSON payload"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", None),
        ("code", ["c"]),
        ("scan", []),
        ("scan.subnet", "192.0.2.1"),
        ("scan.subnet", "192.0.2.0/33"),
        ("scan.subnet", 5),
        ("scan.tz", "UTC"),
        ("scan.tz", "+2400"),
        ("scan.tz", "+0060"),
        ("scan.tz", "+0000\n"),
        ("scan.tz", None),
        ("scan.results", {}),
        ("scan.results.0", "x"),
        ("scan.results.0.ip", "192.0.2"),
        ("scan.results.0.ip", "192.0.3.1"),
        ("scan.results.0.ip", "::ffff:192.0.2.1"),
        ("scan.results.0.ip", None),
        ("scan.results.0.lastSeen", ""),
        ("scan.results.0.lastSeen", "yesterday"),
        ("scan.results.0.lastSeen", "2026-11-24"),
        ("scan.results.0.lastSeen", "2026-11-24T12:00:00Z"),
        ("scan.results.0.lastSeen", "2026-02-30 12:00:00"),
        ("scan.results.0.lastSeen", 1764000000),
        ("scan.results.0.subnetId", "ten"),
        ("scan.results.0.hostname", 5),
        ("scan.results.0.mac", "AA:BB:CC:DD:EE"),
        ("scan.results.0.mac", "AA:BB:CC:DD:EE:01\n"),
    ],
)
def test_wrong_field_is_named(field: str, value: object) -> None:
    document: Any = report("code", "192.0.2.0/24", host("192.0.2.1"))
    *path, last = (int(step) if step.isdigit() else step for step in field.split("."))
    within = document
    for step in path:
        within = within[step]
    within[last] = value
    assert refusal(document).startswith(f"{field}: ")
    if isinstance(within, dict):
        del within[last]
        if last not in ("subnetId", "hostname", "mac"):
            assert refusal(document) == f"{field}: Field required"


def test_report_that_is_no_object_is_called_so() -> None:
    assert refusal([]).startswith("report: ")


@pytest.mark.parametrize("nothing", [{}, {"hostname": None, "mac": None}, {"hostname": "", "mac": ""}])
def test_empty_is_as_good_as_left_out(nothing: Row) -> None:
    (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", **nothing))).hosts
    assert (one.hostname, one.mac) == (None, None)


@pytest.mark.parametrize("ids", [("10", "10"), (10, "10"), (None, 10), ("", "10"), ("10",)])
def test_subnet_id_may_be_a_number_or_its_text_or_missing(ids: tuple[object, ...]) -> None:
    hosts = [host(f"192.0.2.{n}", subnetId=id_) for n, id_ in enumerate(ids)]
    assert read(report("code", "192.0.2.0/24", *hosts)).subnet_id == 10


def test_subnet_ids_must_agree() -> None:
    two = (host("192.0.2.1", subnetId="10"), host("192.0.2.2", subnetId="11"))
    assert "subnetId" in refusal(report("code", "192.0.2.0/24", *two))


def test_code_of_digits_may_be_a_number() -> None:
    assert read(report("", "192.0.2.0/24") | {"code": 123456}).code == "123456"


def test_unknown_fields_are_passed_over() -> None:
    document = report("code", "192.0.2.0/24", host("192.0.2.1", id="nonsense", status="up"))
    assert len(read(document | {"version": 2}).hosts) == 1


def test_network_may_have_host_bits() -> None:
    assert read(report("code", "192.0.2.77/24")).network == ip_network("192.0.2.0/24")
