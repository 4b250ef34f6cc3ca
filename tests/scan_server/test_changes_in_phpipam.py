"""Every row of the README's table "Changes in phpIPAM", with the agent, nmap, DNS and the Scan Server."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nameserver import Nameserver
from scan_server_lab import Lab, ScanServer, Sqlite, decimal, host, report
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a nameserver's port 53 needs root")

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TABLE = README.split("\n## Changes in phpIPAM\n")[1].split("\n## ")[0]

NAMESERVER = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}.9"

RECORDS = [f"{last}.20.0.127.in-addr.arpa. PTR dns{last}.example.net." for last in range(1, 7)]

OLD = "2026-01-02 03:04:05"

ADDRESSES: dict[int, dict[str, Any]] = {
    101: {
        "ip": "127.0.20.1",
        "hostname": "typed.example.org",
        "description": "a router",
        "note": "do not touch",
    },
    102: {"ip": "127.0.20.2", "hostname": None},
    103: {"ip": "127.0.20.3", "hostname": "excluded", "excludePing": 1},
    104: {"ip": "127.0.20.4", "hostname": "deleted"},
    109: {"ip": "127.0.20.9", "hostname": "outside", "state": 2},
}


@dataclass
class Found:
    """phpIPAM's database after a run, and before."""

    before: dict[str, Any]
    after: dict[str, Any]
    subnets: dict[int, Any]
    agents: dict[int, Any]
    lab: Lab
    code: str


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    folder = tmp_path_factory.mktemp("changes")
    database = Sqlite(folder / "phpipam.db")
    server = ScanServer(folder, database.settings)
    lab = Lab(database, server)
    try:
        with Site(folder) as site:
            yield _run(site, lab)
    finally:
        server.stop()
        database.engine.dispose()


def _run(site: Site, lab: Lab) -> Found:
    lab.database.clear()
    code = site.settings["scanagent_code"]
    lab.database.execute("UPDATE settings SET updateTags = 1")
    lab.database.agent(2, code)
    lab.database.agent(3, "another")
    lab.database.subnet(10, "127.0.20.0/29", agent=2, ping=1)
    lab.database.subnet(11, "127.0.21.0/29", agent=3)
    for id_, fields in ADDRESSES.items():
        kept = {"state": 1, "lastSeen": OLD, **{key: value for key, value in fields.items() if key != "ip"}}
        lab.database.address(id_, 10, fields["ip"], **kept)
    nameservers = {"resolveDNS": 1, "nameserverId": 1, "nameservers": {"namesrv1": NAMESERVER}}
    site.phpipam.subnets = [
        subnet(10, "127.0.20.0/29", pingSubnet=1, **nameservers),
        subnet(11, "127.0.21.0/29", scanAgent=3),
    ]
    site.phpipam.addresses = [
        address(id_, 10, **{"lastSeen": OLD, **fields}) for id_, fields in ADDRESSES.items()
    ]
    url, _, port = lab.server.url.rpartition(":")
    site.settings |= {"http_server": url, "http_port": int(port)}
    del site.settings["auth_token"]
    before = _addresses(lab)
    lab.database.execute("DELETE FROM ipaddresses WHERE id = 104")
    with Nameserver(NAMESERVER, RECORDS):
        done = site.run()
    assert done.returncode == 0, done.stderr
    subnets = {row["id"]: row for row in lab.database.execute("SELECT * FROM subnets")}
    agents = {row["id"]: row for row in lab.database.execute("SELECT * FROM scanAgents")}
    return Found(before, _addresses(lab), subnets, agents, lab, code)


def _addresses(lab: Lab) -> dict[str, Any]:
    return {row["ip_addr"]: row for row in lab.database.execute("SELECT * FROM ipaddresses")}


def _changed(found: Found, ip: str) -> set[str]:
    """The columns of an address that the run changed."""
    before, after = found.before[decimal(ip)], found.after[decimal(ip)]
    return {key for key in before if before[key] != after[key]}


def an_address_that_answers(found: Found) -> None:
    assert found.after[decimal("127.0.20.1")]["lastSeen"] > OLD


def its_host_name(found: Found) -> None:
    names = [found.after[decimal(f"127.0.20.{last}")]["hostname"] for last in (1, 2)]
    assert names == ["typed.example.org", "dns2"]


def its_mac_address(found: Found) -> None:
    for mac in ("AA:BB:CC:DD:EE:01", "00:11:22:33:44:55"):
        seen = host("127.0.20.1", id=101, subnetId="10", mac=mac, lastSeen="2099-01-01 00:00:00")
        found.lab.server.post(report(found.code, "127.0.20.0/29", seen)).raise_for_status()
        assert _addresses(found.lab)[decimal("127.0.20.1")]["mac"] == mac


def its_tag(found: Found) -> None:
    assert found.after[decimal("127.0.20.1")]["state"] == 2


def a_host_without_an_address_in_phpipam(found: Found) -> None:
    row = found.after[decimal("127.0.20.5")]
    assert (row["hostname"], row["description"], row["state"]) == ("dns5", "-- autodiscovered --", 2)
    assert row["note"].startswith("This host was autodiscovered on ")


def an_address_that_does_not_answer(found: Found) -> None:
    assert _changed(found, "127.0.20.9") == set()
    silent = report(found.code, "127.0.20.0/29")
    silent["scan"]["silent"] = [109]
    found.lab.server.post(silent).raise_for_status()
    row = _addresses(found.lab)[decimal("127.0.20.9")]
    assert (row["state"], row["lastSeen"]) == (1, OLD)


def an_address_with_ping_exclude(found: Found) -> None:
    assert _changed(found, "127.0.20.3") == set()


def an_address_that_was_deleted_during_the_scan(found: Found) -> None:
    assert decimal("127.0.20.4") not in found.after


def descriptions_notes_owners_custom_fields(found: Found) -> None:
    assert _changed(found, "127.0.20.1") == {"lastSeen", "state"}
    assert _changed(found, "127.0.20.2") == {"lastSeen", "state", "hostname"}


def a_subnet(found: Found) -> None:
    assert found.subnets[10]["lastScan"] > OLD
    assert found.subnets[10]["lastDiscovery"] > OLD


def a_subnet_that_is_not_assigned_to_this_agent(found: Found) -> None:
    assert found.subnets[11]["lastScan"] is found.subnets[11]["lastDiscovery"] is None
    assert not any(decimal(f"127.0.21.{last}") in found.after for last in range(8))


def the_scan_agent(found: Found) -> None:
    assert found.agents[2]["last_access"] > OLD
    assert found.agents[3]["last_access"] is None


ROWS = [row.split(" | ")[0] for row in re.findall(r"^\| (.*) \|$", TABLE, re.MULTILINE)][1:]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_readmes_table_is_right(row: str, found: Found) -> None:
    name = re.sub(r"\W+", "_", row.lower()).strip("_")
    globals()[name](found)
