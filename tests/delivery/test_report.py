"""Results → reports, and two reports of a subnet → their merge."""

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.delivery.report import BLOCK, halves, limited, make, merge, without_old_rows
from phpipam_scan_agent.models import Address, Host, Report, ReportRow, ScanResult, Subnet
from reports import NOON
from thorough import thorough

NETWORK = ip_network("192.0.2.0/24")
OLDER = NOON - timedelta(hours=1)


def row(last: int, seen: datetime = NOON, **fields: str | int) -> ReportRow:
    return ReportRow(ip_address(f"192.0.2.{last}"), seen, **fields)  # type: ignore[arg-type]


def state(made: datetime, *rows: ReportRow, silent: tuple[int, ...] = ()) -> Report:
    return Report(NETWORK, 10, made, rows, silent)


# Result → reports


def scanned(cidr: str, *hosts: Host, silent: tuple[Address, ...] = ()) -> ScanResult:
    return ScanResult(Subnet(10, ip_network(cidr), discover=True), hosts, NOON, seconds=1.0, silent=silent)


def test_a_report_has_time_and_data_of_each_host() -> None:
    known = Address(101, ip_address("192.0.2.1"))
    hosts = (
        Host(ip_address("192.0.2.1"), mac="AA:BB:CC:DD:EE:01", name="gw.example.net", address=known),
        Host(ip_address("192.0.2.77"), name="o'brien.example.net"),
    )
    (made,) = make(scanned("192.0.2.0/24", *hosts, silent=(Address(102, ip_address("192.0.2.2")),)))
    assert made == state(NOON, row(1, id=101, hostname="gw", mac="AA:BB:CC:DD:EE:01"), row(77), silent=(102,))


def test_a_subnet_without_hosts_has_a_report_too() -> None:
    assert list(make(scanned("192.0.2.0/24"))) == [state(NOON)]


def test_a_large_subnet_has_a_report_for_each_block_with_hosts() -> None:
    last = [1, BLOCK - 1, BLOCK, 5 * BLOCK + 3]
    hosts = [Host(ip_address(int(ip_address("10.0.0.0")) + at)) for at in last]
    silent = Address(7, ip_address("10.0.24.9"))
    made = list(make(scanned("10.0.0.0/8", *hosts, silent=(silent,))))
    assert [(each.block, len(each.rows), each.silent) for each in made] == [
        (0, 2, ()),
        (1, 1, ()),
        (3, 0, (7,)),
        (5, 1, ()),
    ]


def test_ipv6_has_one_block() -> None:
    hosts = (Host(ip_address("2001:db8::1")), Host(ip_address("2001:db8::ffff:0:1")))
    (made,) = make(scanned("2001:db8::/64", *hosts))
    assert len(made.rows) == 2


# Merge


def test_merge_keeps_the_newest_time_of_each_address() -> None:
    waiting = state(OLDER, row(1, OLDER, hostname="old"), row(2, OLDER, mac="AA:BB:CC:DD:EE:02"))
    new = state(NOON, row(1, hostname="new"), row(3))
    assert merge(waiting, new) == state(
        NOON, row(1, hostname="new"), row(2, OLDER, mac="AA:BB:CC:DD:EE:02"), row(3)
    )


def test_merge_keeps_a_mac_address_but_not_a_name() -> None:
    waiting = state(OLDER, row(1, OLDER, id=101, hostname="gw", mac="AA:BB:CC:DD:EE:01"))
    # Without a name in the newer row, since a person may have named the address meanwhile.
    assert merge(waiting, state(NOON, row(1))).rows == (row(1, id=101, mac="AA:BB:CC:DD:EE:01"),)


def test_merge_ignores_a_clock_set_back() -> None:
    merged = merge(state(NOON, row(1)), state(OLDER, row(1, OLDER, hostname="gw"), row(2, OLDER)))
    assert merged == state(NOON, row(1), row(2, OLDER))


def test_merge_compares_times_across_time_zones() -> None:
    summer = (NOON - timedelta(minutes=30)).astimezone(timezone(timedelta(hours=2)))
    winter = NOON.astimezone(timezone(timedelta(hours=1)))
    assert merge(state(summer, row(1, summer)), state(winter, row(1, winter))).rows[0].seen == winter
    assert merge(state(winter, row(1, winter)), state(summer, row(1, summer))).rows[0].seen == winter


def test_an_address_is_silent_until_it_is_seen() -> None:
    waiting = state(OLDER, row(1, OLDER, id=101), silent=(102, 103))
    assert merge(waiting, state(NOON, row(2, id=102), silent=(101,))).silent == (101, 103)


def test_rows_older_than_the_limit_are_left_out() -> None:
    assert without_old_rows(state(NOON, row(1, OLDER), row(2)), NOON).rows == (row(2),)


_MOMENTS = st.integers(0, 5).map(lambda hours: NOON + timedelta(hours=hours))
_STATES = st.builds(
    lambda made, lasts, name: state(
        made, *(row(last, made, **({"hostname": name} if name else {})) for last in lasts)
    ),
    _MOMENTS,
    st.sets(st.integers(1, 4)),
    st.sampled_from([None, "one", "two"]),
)


@thorough
@given(st.lists(_STATES, min_size=1, max_size=5))
def test_any_sequence_of_merges_keeps_the_newest_times(states: list[Report]) -> None:
    merged = states[0]
    for each in states[1:]:
        merged = merge(merged, each)
    newest: dict[object, datetime] = {}
    for each in states:
        for found in each.rows:
            newest[found.ip] = max(found.seen, newest.get(found.ip, found.seen))
    assert {found.ip: found.seen for found in merged.rows} == newest
    assert len(merged.rows) == len(newest)
    assert merged.made == max(each.made for each in states)


# Halves


@given(number=st.integers(0, 40), most=st.integers(1, 40))
def test_repeated_halves_contain_every_host(number: int, most: int) -> None:
    whole = state(NOON, *(row(last) for last in range(number)), silent=(7,))

    def cut(each: Report) -> list[Report]:
        return [each] if len(each.rows) <= most else [part for half in halves(each) for part in cut(half)]

    parts = cut(whole)
    assert tuple(found for part in parts for found in part.rows) == whole.rows
    assert all(len(part.rows) <= most for part in parts)
    assert [part.silent for part in parts if part.silent] == [(7,)]
    assert all(part._replace(rows=(), silent=()) == state(NOON) for part in parts)


@pytest.mark.parametrize("number", [0, 1])
def test_a_report_of_at_most_one_host_has_no_halves(number: int) -> None:
    assert halves(state(NOON, *(row(last) for last in range(number)))) == ()


# Times of a clock that was ahead


def test_times_are_limited_in_their_own_zone() -> None:
    berlin = timezone(timedelta(hours=1))
    later = (NOON + timedelta(days=30)).astimezone(berlin)
    made = limited(state(later, row(1, later), row(2, OLDER)), NOON)
    assert [str(each.seen) for each in made.rows] == ["2026-11-24 13:00:00+01:00", str(OLDER)]
    assert str(made.made) == "2026-11-24 13:00:00+01:00"
