"""What only a real MariaDB can do to the service: go away, lock, collide, refuse."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import requests
from sqlalchemy import Connection, text

from scan_server import write
from scan_server.config import Config
from scan_server.database import connect
from scan_server.decode import Host, decode
from scan_server_lab import (
    EXAMPLE,
    Database,
    Lab,
    MariaDb,
    ScanServer,
    Start,
    decimal,
    host,
    hosts_of,
    report,
    wait_until,
)

NET = "192.0.2.0/24"


@pytest.fixture(autouse=True)
def rows_there(mariadb: MariaDb) -> None:
    mariadb.agent(1, "alpha")
    mariadb.subnet(10, NET)


@pytest.fixture
def lab(mariadb: MariaDb, before_mariadb: ScanServer) -> Lab:
    return Lab(mariadb, before_mariadb)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[MariaDb]:
    """Give a database that the test may stop and start."""
    database = MariaDb(tmp_path)
    try:
        database.install()
        database.agent(1, "alpha")
        database.subnet(10, NET)
        yield database
    finally:
        database.stop()


def test_report_is_written_whole_or_not_at_all(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1", hostname="old", lastSeen="2026-01-01 00:00:00")
    lab.database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON ipaddresses FOR EACH ROW"
        f" IF NEW.ip_addr = {decimal('192.0.2.9')} THEN SIGNAL SQLSTATE '53100'; END IF"
    )
    try:
        answer = lab.server.post(report("alpha", NET, *hosts_of(NET, 9, hostname="new")))
        assert answer.status_code == 503
        assert "keep the report" in answer.json()["error"]
        assert lab.database.addresses("hostname", "lastSeen") == [("old", "2026-01-01 00:00:00")]
        assert lab.database.one("SELECT last_access FROM scanAgents") is None
        assert lab.database.one("SELECT lastDiscovery FROM subnets") is None
    finally:
        lab.database.execute("DROP TRIGGER full")
    assert lab.server.post(report("alpha", NET, *hosts_of(NET, 9))).json() == {"updated": 1, "added": 8}


def test_database_that_is_away_is_said_so_and_found_again(start: Start, own: MariaDb) -> None:
    own.stop()
    server = start(**own.settings)  # it starts without a database
    document = report("alpha", NET, host("192.0.2.1"))
    answer = server.post(document)
    assert answer.status_code == 503
    assert "keep the report" in answer.json()["error"]
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 503
    own.start()
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 200
    assert server.post(document).json() == {"updated": 0, "added": 1}
    own.stop()
    own.start()
    assert server.post(document).json() == {"updated": 1, "added": 0}  # though its connections are dead
    server.stop()
    assert any("Can't connect to MySQL server" in line["event"] for line in server.log)
    assert "Traceback" not in server.text


def test_wrong_password_is_in_the_log_but_not_the_password(start: Start, mariadb: MariaDb) -> None:
    server = start(**mariadb.settings | {"mysql_password": "wrong-password"})
    assert server.post(report("alpha", NET)).status_code == 503
    server.stop()
    assert any("Access denied for user 'scan_server'@'localhost'" in line["event"] for line in server.log)
    assert "wrong-password" not in server.text


def test_address_that_phpipam_adds_meanwhile_is_updated(lab: Lab) -> None:
    """Somebody's insert of the same address is not committed yet when the report comes."""
    insert = f"INSERT INTO ipaddresses (subnetId, ip_addr, owner) VALUES (10, {decimal('192.0.2.1')}, 'them')"
    with ThreadPoolExecutor() as pool, _busy(lab.database, insert) as theirs:
        answer = pool.submit(lab.server.post, report("alpha", NET, *hosts_of(NET, 3, hostname="us")))
        _wait_for_lock(lab.database)
        theirs.commit()
        assert answer.result().json() == {"updated": 1, "added": 2}
    assert lab.database.addresses("hostname", "owner") == [("us", "them"), ("us", None), ("us", None)]


def test_deadlock_is_tried_again(lab: Lab) -> None:
    """Somebody with more changes than ours holds a row that we want, and then wants one that we hold."""
    lab.database.subnet(11, "198.51.100.0/24")
    for n in range(1, 200):
        lab.database.address(n, 11, f"198.51.100.{n}")
    lab.database.address(300, 10, "192.0.2.1")
    with ThreadPoolExecutor() as pool, _busy(lab.database, "UPDATE ipaddresses SET owner = 'them'") as theirs:
        answer = pool.submit(lab.server.post, report("alpha", NET, host("192.0.2.1", hostname="us")))
        _wait_for_lock(lab.database)
        theirs.execute(text("UPDATE scanAgents SET name = 'them'"))  # MariaDB ends our transaction here
        theirs.commit()
        assert answer.result().json() == {"updated": 1, "added": 0}
    assert lab.database.one("SELECT COUNT(*) FROM ipaddresses WHERE owner = 'them'") == 200
    assert lab.database.one("SELECT hostname FROM ipaddresses WHERE subnetId = 10") == "us"
    assert _deadlocks(lab.database) > 0


def test_agents_do_not_wait_for_each_other(lab: Lab) -> None:
    """While one agent's report is held up, another's goes through, neighbours in every index."""
    lab.database.agent(2, "beta")
    lab.database.subnet(11, NET, agent=2)
    for n in range(1, 200):
        lab.database.address(2 * n, 10, f"192.0.2.{n}")
        lab.database.address(2 * n + 1, 11, f"192.0.2.{n}")
    hosts, stored = hosts_of(NET, 250), {"updated": 199, "added": 51}
    update = "UPDATE ipaddresses SET owner = 'them' WHERE id = 2"
    with ThreadPoolExecutor() as pool, _busy(lab.database, update) as theirs:
        held = pool.submit(lab.server.post, report("alpha", NET, *hosts))
        _wait_for_lock(lab.database)
        assert lab.server.post(report("beta", NET, *hosts)).json() == stored
        assert not held.done()
        theirs.commit()
        assert held.result().json() == stored


def test_strangers_text_is_bound_not_pasted(mariadb: MariaDb) -> None:
    """The decoder lets no such name through; here it goes straight into the statements."""
    mariadb.address(101, 10, "192.0.2.1", note="mine")
    now = datetime(2026, 11, 24, tzinfo=ZoneInfo("UTC"))
    taken = decode(json.dumps(report("alpha", NET)).encode(), now)
    engine = connect(Config.model_validate(mariadb.settings))
    for name in ("x', note='PWNED", '"; DROP TABLE ipaddresses; --', "\\", "%s %(x)s :x", "<b>", "🦆"):
        hosts = [Host(decimal(f"192.0.2.{n}"), "2026-03-01 12:00:00", name, None) for n in (1, 2)]
        write.store(engine, taken._replace(hosts=hosts))
        assert mariadb.addresses("hostname") == [name, name]
    engine.dispose()
    assert mariadb.addresses("note")[0] == "mine"


def test_hour_that_the_database_skips_in_spring_is_no_error(start: Start, mariadb: MariaDb) -> None:
    """phpIPAM is in UTC here, and the database's own clock in Berlin, where 02:30 was not that day."""
    server = start(**mariadb.settings)
    answer = server.post(report("alpha", NET, host("192.0.2.1", lastSeen="2026-03-29 02:30:00")))
    assert answer.status_code == 200
    assert mariadb.addresses("lastSeen") == ["2026-03-29 02:30:00"]
    assert mariadb.one("SELECT lastDiscovery FROM subnets") == "2026-03-29 03:00:00"


def test_time_that_phpipam_means_as_never_is_overtaken(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1", lastSeen="0000-00-00 00:00:00")
    lab.database.execute("UPDATE subnets SET lastDiscovery = '0000-00-00 00:00:00'")
    lab.server.post(report("alpha", NET, host("192.0.2.1")))
    assert lab.database.addresses("lastSeen") == ["2026-03-01 12:00:00"]
    assert lab.database.one("SELECT lastDiscovery FROM subnets") == "2026-03-01 12:00:00"


GRANTS = [
    (f"{verb} ({column})", table)
    for table, verb, columns in (
        ("scanAgents", "SELECT", "id code"),
        ("scanAgents", "UPDATE", "last_access"),
        ("subnets", "SELECT", "id subnet mask scanAgent discoverSubnet pingSubnet lastDiscovery lastScan"),
        ("subnets", "UPDATE", "lastDiscovery lastScan"),
        ("ipaddresses", "SELECT", "id subnetId ip_addr hostname mac lastSeen"),
        ("ipaddresses", "INSERT", "subnetId ip_addr hostname mac lastSeen description note state"),
        ("ipaddresses", "UPDATE", "hostname mac lastSeen"),
    )
    for column in columns.split()
]


def test_grants_are_all_needed_and_all_there_is(mariadb: MariaDb, start: Start) -> None:
    """A report that does everything passes with the grants of the file, and fails without any one of them."""
    mariadb.subnet(11, "198.51.100.0/24", ping=1)
    mariadb.address(101, 11, "198.51.100.1")
    server = start(**mariadb.settings)
    known = host("198.51.100.1", hostname="a", mac="AA:BB:CC:DD:EE:01")
    document = report("alpha", "198.51.100.0/24", known, host("198.51.100.2"))
    user = "'scan_server'@'localhost'"
    for privilege, table in GRANTS:
        mariadb.execute(f"REVOKE {privilege} ON phpipam.{table} FROM {user}")
        assert server.post(document).status_code == 503, (privilege, table)
        mariadb.execute(f"GRANT {privilege} ON phpipam.{table} TO {user}")
    assert server.post(document).json() == {"updated": 1, "added": 1}
    for privilege, table in GRANTS:
        mariadb.execute(f"REVOKE {privilege} ON phpipam.{table} FROM {user}")
    left = [next(iter(row.values())) for row in mariadb.execute(f"SHOW GRANTS FOR {user}")]
    assert [grant.partition(" TO ")[0] for grant in left] == ["GRANT USAGE ON *.*"]
    mariadb.execute(f"DROP USER {user}")
    mariadb.script(
        (EXAMPLE / "grants.sql").read_text().replace("CHANGE-ME", mariadb.settings["mysql_password"])
    )


@contextmanager
def _busy(database: Database, sql: str) -> Iterator[Connection]:
    """Give a transaction of somebody else's that has done this."""
    with database.engine.connect() as connection:
        connection.execute(text(sql))
        yield connection


def _wait_for_lock(database: Database) -> None:
    """Return when somebody waits for a lock."""
    waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    wait_until(lambda: database.one(waiting))  # asked ten times a second, InnoDB would repeat itself


def _deadlocks(database: Database) -> int:
    (row,) = database.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    return int(row["Value"])
