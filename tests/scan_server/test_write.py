"""The changes of a report in phpIPAM's database, and the rows that stay; on MariaDB and on SQLite."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scan_server_lab import Lab, Row, Start, decimal, host, hosts_of, report, stored

NET = "192.0.2.0/24"


@pytest.fixture(autouse=True)
def rows_there(lab: Lab) -> None:
    lab.database.agent(1, "alpha")
    lab.database.agent(2, "beta")
    lab.database.subnet(10, NET)


def test_new_host_is_inserted_as_phpipam_would(lab: Lab) -> None:
    one = host("192.0.2.1", subnetId="10", hostname="gw", mac="AA:BB:CC:DD:EE:01")
    answer = lab.server.post(report("alpha", NET, one, host("192.0.2.2")))
    assert (answer.status_code, answer.json()) == (200, stored(0, 2))
    note = "This host was autodiscovered on 2026-03-01 12:00:00"
    common = ("-- autodiscovered --", note, 2, "2026-03-01 12:00:00")
    assert lab.database.addresses(
        "subnetId", "ip_addr", "hostname", "mac", "description", "note", "state", "lastSeen"
    ) == [
        (10, "3221225985", "gw", "AA:BB:CC:DD:EE:01", *common),
        (10, "3221225986", None, None, *common),
    ]


def test_known_host_is_updated_with_reported_fields_only(lab: Lab) -> None:
    theirs = {"description": "core", "note": "do not touch", "state": 3, "lastSeen": "2026-01-01 00:00:00"}
    lab.database.address(101, 10, "192.0.2.1", hostname="old", mac="00:00:00:00:00:01", **theirs)
    one = host("192.0.2.1", id=101, subnetId="10", hostname="new", mac="aa:bb:cc:dd:ee:01")
    answer = lab.server.post(report("alpha", NET, one))
    assert answer.json() == stored(1, 0)
    assert lab.database.addresses("id", "hostname", "mac", "lastSeen", "description", "note", "state") == [
        (101, "old", "AA:BB:CC:DD:EE:01", "2026-03-01 12:00:00", "core", "do not touch", 3)
    ]


@pytest.mark.parametrize("nothing", [{}, {"hostname": None, "mac": None}, {"hostname": "", "mac": ""}])
def test_missing_field_never_clears_a_column(lab: Lab, nothing: Row) -> None:
    lab.database.address(101, 10, "192.0.2.1", hostname="gw", mac="00:00:00:00:00:01")
    assert lab.server.post(report("alpha", NET, host("192.0.2.1", **nothing))).status_code == 200
    assert lab.database.addresses("hostname", "mac", "lastSeen") == [
        ("gw", "00:00:00:00:00:01", "2026-03-01 12:00:00")
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-03-01 11:59:59", "2026-03-01 12:00:00"),
        ("2026-03-01 12:00:01", "2026-03-01 12:00:01"),
        ("1970-01-01 00:00:01", "2026-03-01 12:00:00"),
        (None, "2026-03-01 12:00:00"),
    ],
)
def test_last_seen_goes_forward_only(lab: Lab, before: str | None, after: str) -> None:
    lab.database.address(101, 10, "192.0.2.1", lastSeen=before)
    lab.server.post(report("alpha", NET, host("192.0.2.1")))
    assert lab.database.addresses("lastSeen") == [after]


def test_name_is_written_only_if_empty(lab: Lab) -> None:
    for n, name in enumerate((None, "", "old"), 1):
        lab.database.address(n, 10, f"192.0.2.{n}", hostname=name)
    lab.server.post(report("alpha", NET, *(host(f"192.0.2.{n}", hostname="new") for n in (1, 2, 3))))
    assert lab.database.addresses("hostname") == ["new", "new", "old"]


def test_names_always_replaces_names_but_no_full_name_by_its_first_label(lab: Lab, start: Start) -> None:
    server = start(**lab.database.settings, names="always")
    for n, name in enumerate(("old", "gw", "GW.example.org", "gw2.example.org"), 1):
        lab.database.address(n, 10, f"192.0.2.{n}", hostname=name)
    hosts = [host(f"192.0.2.{n}", hostname="gw") for n in (1, 2, 3, 4)]
    hosts[1]["hostname"] = "gw.example.org"
    assert server.post(report("alpha", NET, *hosts)).json() == stored(4, 0)
    assert lab.database.addresses("hostname") == ["gw", "gw.example.org", "GW.example.org", "gw"]


def test_older_report_changes_nothing(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1", mac="00:00:00:00:00:01", lastSeen="2026-03-01 12:00:01")
    old = host("192.0.2.1", hostname="old", mac="AA:BB:CC:DD:EE:01")
    assert lab.server.post(report("alpha", NET, old)).json() == stored(1, 0)
    assert lab.database.addresses("hostname", "mac") == [(None, "00:00:00:00:00:01")]


def test_deleted_address_is_not_inserted_again(lab: Lab) -> None:
    """phpIPAM had the address when the agent asked, and it was deleted since."""
    answer = lab.server.post(report("alpha", NET, host("192.0.2.1", id=101), host("192.0.2.2")))
    assert answer.json() == stored(0, 1, skipped=1)
    assert lab.database.addresses("ip_addr") == [decimal("192.0.2.2")]


def test_subnet_without_discovery_gets_no_new_host(lab: Lab) -> None:
    """As where somebody switched discovery off after the scan."""
    lab.database.subnet(30, "198.51.100.0/24", discover=0, ping=1)
    lab.database.address(301, 30, "198.51.100.1")
    answer = lab.server.post(report("alpha", "198.51.100.0/24", *hosts_of("198.51.100.0/24", 3)))
    assert answer.json() == stored(1, 0, skipped=2)
    assert lab.database.addresses("id", "lastSeen") == [(301, "2026-03-01 12:00:00")]


def test_address_with_ping_exclude_is_not_changed(lab: Lab) -> None:
    """Also if it was excluded after the scan."""
    lab.database.address(101, 10, "192.0.2.1", excludePing=1)
    lab.database.address(102, 10, "192.0.2.2")
    hosts = hosts_of(NET, 2, hostname="gw", mac="AA:BB:CC:DD:EE:01")
    assert lab.server.post(report("alpha", NET, *hosts)).json() == stored(1, 0, skipped=1)
    assert lab.database.addresses("hostname", "mac") == [(None, None), ("gw", "AA:BB:CC:DD:EE:01")]


def test_mac_in_another_notation_is_not_rewritten(lab: Lab) -> None:
    notations = ("aabb.ccdd.ee01", "aa-bb-cc-dd-ee-01", "AABBCCDDEE01", "aabb.ccdd.ee02")
    for n, mac in enumerate(notations, 1):
        lab.database.address(n, 10, f"192.0.2.{n}", mac=mac)
    lab.server.post(report("alpha", NET, *hosts_of(NET, 4, mac="AA:BB:CC:DD:EE:01")))
    assert lab.database.addresses("mac") == [*notations[:3], "AA:BB:CC:DD:EE:01"]


def test_reports_in_any_order_leave_the_latest_times(lab: Lab) -> None:
    for time in ("2026-03-01 12:00:00", "2026-03-03 12:00:00", "2026-03-02 12:00:00"):
        lab.server.post(report("alpha", NET, host("192.0.2.1", lastSeen=time)))
    assert lab.database.addresses("lastSeen") == ["2026-03-03 12:00:00"]
    assert lab.database.one("SELECT lastDiscovery FROM subnets") == "2026-03-03 12:00:00"


def test_clock_ahead_does_not_keep_a_host_online(lab: Lab) -> None:
    lab.server.post(report("alpha", NET, host("192.0.2.1", lastSeen="2099-01-01 00:00:00")))
    (seen,) = lab.database.addresses("lastSeen")
    assert abs(datetime.fromisoformat(seen) - _utc_now()) < timedelta(minutes=5)


def test_each_host_may_have_its_own_time(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1")
    lab.database.address(102, 10, "192.0.2.2")
    times = [f"2026-03-01 12:00:0{digit}" for digit in (1, 2, 3)]
    hosts = [host(f"192.0.2.{n}", lastSeen=time) for n, time in enumerate(times, 1)]
    assert lab.server.post(report("alpha", NET, *hosts)).json() == stored(2, 1)
    assert lab.database.addresses("lastSeen") == times


def test_same_address_in_another_subnet_is_unchanged(lab: Lab) -> None:
    lab.database.subnet(11, NET, agent=2)
    lab.database.address(101, 11, "192.0.2.1", hostname="other", lastSeen="2026-01-01 00:00:00")
    lab.server.post(report("alpha", NET, host("192.0.2.1", hostname="mine")))
    assert lab.database.addresses("subnetId", "hostname", "lastSeen") == [
        (10, "mine", "2026-03-01 12:00:00"),
        (11, "other", "2026-01-01 00:00:00"),
    ]


def test_address_twice_in_a_report_is_written_once(lab: Lab) -> None:
    later = host("192.0.2.1", lastSeen="2026-03-01 13:00:00", hostname="later")
    answer = lab.server.post(
        report("alpha", NET, host("192.0.2.1", hostname="first"), later, host("192.0.2.1"))
    )
    assert answer.json() == stored(0, 1)
    assert lab.database.addresses("hostname", "lastSeen") == [("later", "2026-03-01 13:00:00")]


def test_ipv6_is_stored_as_a_decimal_number(lab: Lab) -> None:
    lab.database.subnet(20, "2001:db8::/64")
    lab.database.address(201, 20, "2001:db8::1")
    one = host("2001:0DB8:0::1", hostname="new")
    answer = lab.server.post(report("alpha", "2001:db8::/64", one, host("2001:db8::2")))
    assert (answer.status_code, answer.json()) == (200, stored(1, 1))
    assert lab.database.addresses("subnetId", "ip_addr", "hostname") == [
        (20, "42540766411282592856903984951653826561", "new"),
        (20, "42540766411282592856903984951653826562", None),
    ]


@pytest.mark.parametrize(
    ("discover", "ping", "stamped"),
    [(1, 0, {"lastDiscovery"}), (0, 1, {"lastScan"}), (1, 1, {"lastDiscovery", "lastScan"})],
)
def test_subnet_has_the_time_of_its_scan(lab: Lab, discover: int, ping: int, stamped: set[str]) -> None:
    lab.database.subnet(30, "198.51.100.0/24", discover=discover, ping=ping)
    early = host("198.51.100.1", lastSeen="2026-03-01 11:00:00")
    lab.server.post(report("alpha", "198.51.100.0/24", early, host("198.51.100.2")))
    (row,) = lab.database.execute("SELECT lastDiscovery, lastScan FROM subnets WHERE id = 30")
    assert row == {
        name: "2026-03-01 12:00:00" if name in stamped else None for name in ("lastDiscovery", "lastScan")
    }
    (other,) = lab.database.execute("SELECT lastDiscovery, lastScan FROM subnets WHERE id = 10")
    assert other == {"lastDiscovery": None, "lastScan": None}


def test_empty_report_updates_the_agents_last_access(lab: Lab) -> None:
    assert lab.server.post(report("alpha", NET)).json() == stored(0, 0)
    for sql in ("SELECT last_access FROM scanAgents WHERE id = 1", "SELECT lastDiscovery FROM subnets"):
        assert abs(datetime.fromisoformat(lab.database.one(sql)) - _utc_now()) < timedelta(minutes=5)
    assert lab.database.one("SELECT last_access FROM scanAgents WHERE id = 2") is None


@pytest.mark.parametrize("code", ["nobody", "", "ALPHA", "álpha", "alpha ", "1", "' OR 1=1 -- "])
def test_unknown_code_writes_nothing(lab: Lab, code: str) -> None:
    answer = lab.server.post(report(code, NET, host("192.0.2.1")))
    assert answer.status_code == 401
    assert answer.json()["reason"] == "code"
    assert answer.json()["error"].startswith("code: ")
    _nothing_is_written(lab)


@pytest.mark.parametrize(
    ("code", "subnet"),
    [("beta", NET), ("alpha", "192.0.2.0/25"), ("alpha", "192.0.0.0/16"), ("alpha", "2001:db8::/64")],
)
def test_subnet_of_no_agent_or_another_agent_is_refused(lab: Lab, code: str, subnet: str) -> None:
    answer = lab.server.post(report(code, subnet))
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("scan.subnet: ")
    assert answer.json().items() >= {"reason": "subnet", "field": "scan.subnet", "subnet": subnet}.items()
    _nothing_is_written(lab)


@pytest.mark.parametrize("wrong", ["11", "12", "999"])
def test_subnet_id_must_fit_the_network_and_the_agent(lab: Lab, wrong: str) -> None:
    lab.database.subnet(11, NET, agent=2)
    lab.database.subnet(12, "192.0.3.0/24")
    assert lab.server.post(report("alpha", NET, host("192.0.2.1", subnetId=wrong))).status_code == 403
    _nothing_is_written(lab)


def test_subnet_id_distinguishes_equal_networks(lab: Lab) -> None:
    lab.database.subnet(11, NET)
    assert lab.server.post(report("alpha", NET, host("192.0.2.1", subnetId="11"))).status_code == 200
    assert lab.database.addresses("subnetId") == [11]
    assert lab.database.one("SELECT lastDiscovery FROM subnets WHERE id = 10") is None
    answer = lab.server.post(report("alpha", NET, host("192.0.2.2")))
    assert answer.status_code == 400
    assert "subnetId" in answer.json()["error"]
    assert lab.database.addresses("subnetId") == [11]


def test_network_with_host_bits_is_found(lab: Lab) -> None:
    lab.database.subnet(40, "203.0.113.77/24")
    for subnet in ("203.0.113.0/24", "203.0.113.77/24"):
        assert lab.server.post(report("alpha", subnet, host("203.0.113.1"))).status_code == 200
    assert lab.database.addresses("subnetId", "ip_addr") == [(40, decimal("203.0.113.1"))]


def test_folders_and_invalid_subnets_are_ignored(lab: Lab) -> None:
    for subnet in (None, "", "0", "x", "99999999999999999999999999999999999999999"):
        lab.database.execute(
            "INSERT INTO subnets (subnet, mask, scanAgent, discoverSubnet) VALUES (:s, '24', 1, 1)", s=subnet
        )
    assert lab.server.post(report("alpha", NET, host("192.0.2.1"))).status_code == 200
    assert lab.database.addresses("subnetId") == [10]


def test_address_outside_the_subnet_refuses_the_whole_report(lab: Lab) -> None:
    answer = lab.server.post(report("alpha", NET, host("192.0.2.1"), host("192.0.3.1")))
    assert answer.status_code == 400
    assert answer.json()["error"] == "scan.results.1.ip: 192.0.3.1 lies outside 192.0.2.0/24"
    _nothing_is_written(lab)


@pytest.mark.parametrize("text", ["x', note='PWNED", "<b>", "a\x00b", "🦆", "x" * 256])
def test_invalid_host_name_is_left_out_and_its_host_kept(lab: Lab, text: str) -> None:
    lab.database.address(101, 10, "192.0.2.1", note="mine")
    hosts = (host("192.0.2.1", hostname=text), host("192.0.2.2", hostname=text))
    assert lab.server.post(report("alpha", NET, *hosts)).json() == stored(1, 1)
    assert lab.database.addresses("hostname", "note")[0] == (None, "mine")


@pytest.mark.parametrize("name", ["GW_1", "gw.example.org", "bücher", "サーバー", "x" * 255])
def test_name_in_any_alphabet_is_stored_exactly(lab: Lab, name: str) -> None:
    lab.server.post(report("alpha", NET, host("192.0.2.1", hostname=name)))
    assert lab.database.addresses("hostname") == [name]


def test_twenty_agents_at_once(lab: Lab) -> None:
    """All have the same network in different VRFs, so their rows are next to each other in the index."""
    for n in range(100, 120):
        lab.database.agent(n, f"agent-{n}")
        lab.database.subnet(n, "198.51.100.0/24", agent=n)
    hosts = hosts_of("198.51.100.0/24", 200, hostname="x")

    def send(n: int) -> tuple[int, Any]:
        answer = lab.server.post(report(f"agent-{n}", "198.51.100.0/24", *hosts))
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(send, range(100, 120)))
        second = list(pool.map(send, range(100, 120)))
    assert first == [(200, stored(0, 200))] * 20
    assert second == [(200, stored(200, 0))] * 20
    assert len(lab.database.addresses("id")) == 20 * 200


def test_reports_of_one_subnet_at_once_insert_each_address_once(lab: Lab) -> None:
    def send(n: int) -> tuple[int, Any]:
        hosts = hosts_of(NET, 100 + n, hostname=f"name-{n}")
        answer = lab.server.post(report("alpha", NET, *(hosts if n % 2 else hosts[::-1])))
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    assert [status for status, _ in answers] == [200] * 20
    assert sum(answer["added"] for _, answer in answers) == 119
    assert sum(answer["updated"] for _, answer in answers) == sum(100 + n for n in range(20)) - 119
    assert len(lab.database.addresses("id")) == 119


OFFSETS = ["+0000", "-0500", "+0530", "+1245", "-0930", "+1400", "-1200"]


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Chatham"])
def test_times_are_right_for_every_pair_of_zones(lab: Lab, start: Start, zone: str) -> None:
    server = start(**lab.database.settings, timezone=zone)
    moments = [datetime(2026, month, 15, 12, tzinfo=timezone.utc) for month in (1, 7)]
    for moment in moments:  # the first inserts, the second updates; one in winter, one in summer
        for n, offset in enumerate(OFFSETS, 1):
            local = moment.astimezone(datetime.strptime(offset, "%z").tzinfo)
            seen = local.strftime("%Y-%m-%d %H:%M:%S")
            answer = server.post(report("alpha", NET, host(f"192.0.2.{n}", lastSeen=seen), tz=offset))
            assert answer.status_code == 200
        expected = moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
        assert lab.database.addresses("lastSeen") == [expected] * len(OFFSETS)
        assert lab.database.one("SELECT lastDiscovery FROM subnets") == expected
    inserted = moments[0].astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
    assert set(lab.database.addresses("note")) == {f"This host was autodiscovered on {inserted}"}
    access = datetime.fromisoformat(lab.database.one("SELECT last_access FROM scanAgents WHERE id = 1"))
    assert abs(access - datetime.now(ZoneInfo(zone)).replace(tzinfo=None)) < timedelta(minutes=5)


def _nothing_is_written(lab: Lab) -> None:
    assert lab.database.addresses("id") == []
    assert lab.database.execute("SELECT id FROM scanAgents WHERE last_access IS NOT NULL") == []
    stamped = "SELECT id FROM subnets WHERE lastDiscovery IS NOT NULL OR lastScan IS NOT NULL"
    assert lab.database.execute(stamped) == []


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)
