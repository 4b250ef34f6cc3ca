"""The decoder alone: any bytes give a Report or a refusal that names the field."""

import json
import time
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan_server.answers import Refusal
from scan_server.decode import Report, decode
from scan_server_lab import Row, host, report

NOW = datetime(2026, 11, 24, 11, tzinfo=timezone.utc)


def read(document: object, now: datetime = NOW) -> Report:
    return decode(json.dumps(document).encode(), now)


def refusal(body: object) -> str:
    with pytest.raises(Refusal) as refused:
        decode(body if isinstance(body, bytes) else json.dumps(body).encode(), NOW)
    assert refused.value.status == 400
    error = str(refused.value)
    assert refused.value.body.get("field", "") in error
    return error


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


@st.composite
def broken(draw: st.DrawFn) -> object:
    """Return a report with any JSON value at one place."""
    document: Any = report("code", "192.0.2.0/24", host("192.0.2.1", subnetId="10", hostname="a", mac=None))
    *path, last = draw(
        st.sampled_from(
            [
                ("code",),
                ("scan",),
                ("scan", "subnet"),
                ("scan", "tz"),
                ("scan", "made"),
                ("scan", "silent"),
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
def test_any_field_value_is_accepted_or_refused_with_a_reason(document: object, as_ascii: bool) -> None:
    body = json.dumps(document, ensure_ascii=as_ascii).encode(errors="surrogatepass")
    try:
        taken = decode(body, NOW)
    except Refusal:
        assert refusal(body)
        return
    for one in taken.hosts:
        f"{one.name}{one.mac}".encode()  # as the database's client does
        assert ip_address(int(one.ip_addr)) in taken.network
        assert one.seen <= taken.made <= NOW


@given(NETWORKS, st.lists(st.integers(0, 2**128 - 1), max_size=20))
def test_addresses_become_unique_decimal_numbers(network: Any, picks: list[int]) -> None:
    ips = [network[pick % network.num_addresses] for pick in picks]
    taken = read(report("code", str(network), *(host(str(ip)) for ip in ips)))
    assert taken.network == network
    assert [one.ip_addr for one in taken.hosts] == list(dict.fromkeys(str(int(ip)) for ip in ips))


@given(st.datetimes(datetime(2000, 1, 3), datetime(2026, 11, 22)), OFFSETS)
def test_time_is_read_with_its_utc_offset(local: datetime, offset: str) -> None:
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset)).hosts
    minutes = int(f"{offset[0]}1") * (int(offset[1:3]) * 60 + int(offset[3:]))
    assert one.seen == local.replace(microsecond=0, tzinfo=timezone.utc) - timedelta(minutes=minutes)


@given(st.datetimes(datetime(2026, 11, 26), datetime(9999, 12, 31)), OFFSETS)
def test_time_in_the_future_becomes_now(local: datetime, offset: str) -> None:
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    document = report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset)
    document["scan"]["made"] = "2027-01-01T00:00:00Z"
    taken = read(document)
    assert taken.hosts[0].seen == taken.made == NOW


@pytest.mark.parametrize(
    ("made", "hosts", "expected"),
    [
        ("2026-03-01T13:30:00+01:00", 1, "2026-03-01 12:30"),
        (None, 1, "2026-03-01 12:00"),
        (None, 0, "2026-11-24 11:00"),
        ("0001-01-01T00:00:00+12:00", 0, "2000-01-01 00:00"),
        ("9999-12-31T23:59:59-12:00", 0, "2026-11-24 11:00"),
    ],
)
def test_report_has_its_time(made: str | None, hosts: int, expected: str) -> None:
    document = report("code", "192.0.2.0/24", *[host("192.0.2.1")] * hosts)
    document["scan"]["made"] = made
    assert read(document).made == datetime.fromisoformat(f"{expected}+00:00")


@given(st.datetimes(datetime(1, 1, 1), datetime(1999, 12, 30)), OFFSETS)
def test_time_of_an_unset_clock_is_refused(local: datetime, offset: str) -> None:
    text = f"{local.year:04}{local.strftime('-%m-%d %H:%M:%S')}"
    document = report("code", "192.0.2.0/24", host("192.0.2.1", lastSeen=text), tz=offset)
    assert refusal(document).startswith("scan.results.0.lastSeen: ")


@given(st.text())
def test_name_is_kept_exactly_or_left_out(name: str) -> None:
    (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", hostname=name))).hosts
    assert one.name in (name or None, None)
    assert not set(one.name or "") & set("<>\"'&;%\\ \n\x00")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": "\\ud800"}'])
def test_invalid_json_is_named(body: bytes) -> None:
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
        ("scan.made", "yesterday"),
        ("scan.made", "2026-11-24 12:00:00"),
        ("scan.silent", "101"),
        ("scan.silent.0", 0),
        ("scan.silent.0", "x"),
        ("scan.silent.0", 2**63),
        ("scan.results.0.subnetId", 2**63),
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
    document["scan"] |= {"made": "2026-11-24T12:00:00Z", "silent": [101]}
    *path, last = (int(step) if step.isdigit() else step for step in field.split("."))
    within = document
    for step in path:
        within = within[step]
    within[last] = value
    assert refusal(document).startswith(f"{field}: ")
    if isinstance(within, dict):
        del within[last]
        if last not in ("made", "silent", "subnetId", "hostname", "mac"):
            assert refusal(document) == f"{field}: Field required"


HOSTILE = [
    "x', note='PWNED",
    "o'brien",
    '"; DROP TABLE ipaddresses; --',
    "\\",
    "%s",
    ":code",
    "<script>alert(1)</script>",
    "a b",
    "a\x00b",
    "line\nbreak",
    "🦆",
    "\u202egpj.exe",
    "x" * 256,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_refused_or_left_out(text: str) -> None:
    for field in ("subnet", "tz", "made", "ip", "lastSeen", "subnetId", "mac"):
        document: Any = report("code", "192.0.2.0/24", host("192.0.2.1"))
        within = document["scan"] if field in ("subnet", "tz", "made") else document["scan"]["results"][0]
        within[field] = text
        assert field in refusal(document).partition(":")[0]
    for field in ("id", "hostname"):
        (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", **{field: text}))).hosts
        assert (one.id, one.name) == (None, None)


def test_report_that_is_no_object_is_named() -> None:
    assert refusal([]).startswith("report: ")


@pytest.mark.parametrize("nothing", [{}, {"hostname": None, "mac": None}, {"hostname": "", "mac": ""}])
def test_empty_field_equals_a_missing_field(nothing: Row) -> None:
    (one,) = read(report("code", "192.0.2.0/24", host("192.0.2.1", **nothing))).hosts
    assert (one.name, one.mac) == (None, None)


@pytest.mark.parametrize("ids", [("10", "10"), (10, "10"), (None, 10), ("", "10"), ("10",)])
def test_subnet_id_may_be_a_number_or_its_text_or_missing(ids: tuple[object, ...]) -> None:
    hosts = [host(f"192.0.2.{n}", subnetId=id_) for n, id_ in enumerate(ids)]
    assert read(report("code", "192.0.2.0/24", *hosts)).subnet_id == 10


def test_subnet_ids_must_agree() -> None:
    two = (host("192.0.2.1", subnetId="10"), host("192.0.2.2", subnetId="11"))
    assert "subnetId" in refusal(report("code", "192.0.2.0/24", *two))


def test_code_of_digits_may_be_a_number() -> None:
    assert read(report("", "192.0.2.0/24") | {"code": 123456}).code == "123456"


@pytest.mark.parametrize("results", [[{}] * 340_000, [host("192.0.2.1")] * 20_001])
def test_too_many_results_end_the_decoding(results: Any) -> None:
    started = time.process_time()
    assert refusal(report("code", "192.0.2.0/24", *results)).startswith("scan.results")
    assert time.process_time() - started < 2


def test_unknown_fields_are_ignored() -> None:
    document = report("code", "192.0.2.0/24", host("192.0.2.1", id="nonsense", status="up"))
    assert len(read(document | {"version": 2}).hosts) == 1


def test_network_may_have_host_bits() -> None:
    assert read(report("code", "192.0.2.77/24")).network == ip_network("192.0.2.0/24")
