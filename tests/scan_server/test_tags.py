"""The tags Used and Offline, as phpIPAM's own pingCheck sets them."""

from datetime import datetime, timedelta, timezone

import pytest

from scan_server_lab import Lab, Row, host, report, stored

NET = "192.0.2.0/24"
OFFLINE, USED, RESERVED, DHCP, OWN = 1, 2, 3, 4, 9


@pytest.fixture(autouse=True)
def rows_there(lab: Lab) -> None:
    lab.database.agent(1, "alpha")
    lab.database.subnet(10, NET, ping=1)
    lab.database.execute("UPDATE settings SET updateTags = 1")


def ago(minutes: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S")


def send(lab: Lab, *hosts: Row, silent: tuple[int, ...] = (), made: float = 0) -> None:
    document = report("alpha", NET, *hosts)
    document["scan"] |= {"silent": list(silent), "made": ago(made).replace(" ", "T") + "Z"}
    assert lab.server.post(document).json() == stored(len(hosts), 0)


@pytest.mark.parametrize("before", [OFFLINE, USED, RESERVED, DHCP])
def test_address_that_is_up_is_used(lab: Lab, before: int) -> None:
    lab.database.address(101, 10, "192.0.2.1", state=before)
    send(lab, host("192.0.2.1", lastSeen=ago(0)))
    assert lab.database.addresses("state") == [USED]


@pytest.mark.parametrize(
    ("before", "after"), [(OFFLINE, OFFLINE), (USED, OFFLINE), (RESERVED, RESERVED), (DHCP, OFFLINE)]
)
def test_address_silent_for_long_is_offline(lab: Lab, before: int, after: int) -> None:
    lab.database.address(101, 10, "192.0.2.1", state=before, lastSeen=ago(61))
    send(lab, silent=(101,))
    assert lab.database.addresses("state") == [after]


@pytest.mark.parametrize(
    ("row", "silent", "made"),
    [
        ({"lastSeen": 59}, (101,), 0),
        ({"lastSeen": 61}, (), 0),  # not in this part of the report, or the scan failed
        ({"lastSeen": 61}, (101,), 30),  # silent for 31 minutes at the time of the scan
        ({"lastSeen": 10}, (101,), 120),  # seen since
        ({"lastSeen": 61, "excludePing": 1}, (101,), 0),
        ({"lastSeen": None}, (101,), 0),
        ({"lastSeen": "1970-01-01 00:00:01"}, (101,), 0),
        ({"lastSeen": "0000-00-00 00:00:00"}, (101,), 0),
        ({"lastSeen": 61, "subnetId": 11}, (101,), 0),
    ],
)
def test_address_is_offline_only_after_the_full_time(
    lab: Lab, row: Row, silent: tuple[int, ...], made: float
) -> None:
    lab.database.address(101, 10, "192.0.2.1", state=USED)
    if isinstance(row.get("lastSeen"), int):
        row = row | {"lastSeen": ago(row["lastSeen"])}
    values = ", ".join(f"{name} = :{name}" for name in row)
    lab.database.execute(f"UPDATE ipaddresses SET {values}", **row)
    send(lab, silent=silent, made=made)
    assert lab.database.addresses("state") == [USED]


def test_old_report_changes_no_tag(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1", state=OFFLINE, lastSeen=ago(300))
    send(lab, host("192.0.2.1", lastSeen=ago(90)), made=90)
    assert lab.database.addresses("state") == [OFFLINE]


@pytest.mark.parametrize(
    "off",
    [
        "UPDATE settings SET updateTags = 0",
        "UPDATE ipTags SET updateTag = 0 WHERE id IN (3, 4)",
        "UPDATE ipaddresses SET state = 9 WHERE state <> 9",
        "UPDATE ipaddresses SET state = NULL",
        "UPDATE subnets SET pingSubnet = 0",
    ],
)
def test_tag_without_automatic_updates_stays(lab: Lab, off: str) -> None:
    lab.database.address(101, 10, "192.0.2.1", state=RESERVED)
    lab.database.address(102, 10, "192.0.2.2", state=DHCP, lastSeen=ago(61))
    lab.database.execute(off)
    before = lab.database.addresses("state")
    send(lab, host("192.0.2.1", lastSeen=ago(0)), silent=(102,))
    assert lab.database.addresses("state") == before


def test_time_until_offline_is_phpipams_setting(lab: Lab) -> None:
    lab.database.execute("UPDATE settings SET pingStatus = '60;120'")
    lab.database.address(101, 10, "192.0.2.1", state=USED, lastSeen=ago(3))
    send(lab, silent=(101,))
    assert lab.database.addresses("state") == [OFFLINE]


@pytest.mark.parametrize(
    ("setting", "after"),
    [("60;120.0", OFFLINE), ("60;1.2e2", OFFLINE), ("60", USED), ("60;1e99", USED), ("", USED), (";", USED)],
)
def test_no_value_of_that_setting_stops_a_report(lab: Lab, setting: str, after: int) -> None:
    lab.database.execute("UPDATE settings SET pingStatus = :setting", setting=setting)
    lab.database.address(101, 10, "192.0.2.1", state=USED, lastSeen=ago(3))
    send(lab, silent=(101,))
    assert lab.database.addresses("state") == [after]


def test_silent_address_of_a_duplicate_network_is_found_by_its_id(lab: Lab) -> None:
    """A report without hosts has no subnetId."""
    lab.database.subnet(11, NET, ping=1)
    for n, subnet in ((101, 10), (102, 11), (103, 11)):
        lab.database.address(n, subnet, f"192.0.2.{n}", state=USED, lastSeen=ago(61))
    send(lab, silent=(102,))
    assert lab.database.addresses("id", "state") == [(101, USED), (102, OFFLINE), (103, USED)]
