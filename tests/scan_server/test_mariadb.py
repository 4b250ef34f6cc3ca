"""Faults that only a real MariaDB has: outages, locks, collisions, refusals."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import requests
import trustme
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from scan_server import database, write
from scan_server.answers import error_number, trouble
from scan_server.config import Config
from scan_server.database import check, connect
from scan_server.decode import Host, decode
from scan_server.php_time import PhpTime
from scan_server_lab import (
    Database,
    Lab,
    MariaDb,
    ScanServer,
    Start,
    decimal,
    host,
    hosts_of,
    report,
    stored,
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
    """Yield a database that the test may stop and start."""
    database = MariaDb(tmp_path)
    try:
        database.install()
        database.agent(1, "alpha")
        database.subnet(10, NET)
        yield database
    finally:
        database.stop()


def test_report_is_written_atomically(lab: Lab) -> None:
    """Without the grant of the last statement."""
    lab.database.address(101, 10, "192.0.2.1", lastSeen="2026-01-01 00:00:00")
    grant = "INSERT (note) ON phpipam.ipaddresses {} 'scan_server'@'localhost'"
    lab.database.execute(f"REVOKE {grant.format('FROM')}")
    try:
        answer = lab.server.post(report("alpha", NET, *hosts_of(NET, 9, hostname="new")))
        assert answer.status_code == 503
        assert answer.json()["reason"] == "database"
        assert "grants.sql" in answer.json()["error"]
        assert lab.database.addresses("hostname", "lastSeen") == [(None, "2026-01-01 00:00:00")]
        assert lab.database.one("SELECT last_access FROM scanAgents") is None
        assert lab.database.one("SELECT lastDiscovery FROM subnets") is None
    finally:
        lab.database.execute(f"GRANT {grant.format('TO')}")
    assert lab.server.post(report("alpha", NET, *hosts_of(NET, 9))).json() == stored(1, 8)


def test_database_outage_is_named_and_recovered_from(start: Start, own: MariaDb) -> None:
    own.stop()
    server = start(**own.settings)  # the service starts without a database
    document = report("alpha", NET, host("192.0.2.1"))
    answer = server.post(document)
    assert answer.status_code == 503
    assert "keep the report" in answer.json()["error"]
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 503
    own.start()
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 200
    assert server.post(document).json() == stored(0, 1)
    own.stop()
    own.start()
    assert server.post(document).json() == stored(1, 0)  # although its connections are closed
    server.stop()
    assert any("Can't connect to MySQL server" in line["event"] for line in server.log)
    assert "Traceback" not in server.text


def test_wrong_password_is_logged_without_the_password(start: Start, mariadb: MariaDb) -> None:
    server = start(**mariadb.settings | {"mysql_password": "wrong-password"})
    assert server.post(report("alpha", NET)).status_code == 503
    assert requests.get(f"{server.url}/health", timeout=30).json()["reason"] == "database"
    server.stop()
    assert any("Access denied for user 'scan_server'@'localhost'" in line["event"] for line in server.log)
    assert "wrong-password" not in server.text


def test_database_over_tls_is_verified(mariadb: MariaDb, tmp_path: Path) -> None:
    """The database takes encrypted connections only."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    mariadb.execute("SET GLOBAL require_secure_transport = ON")
    try:
        assert _trouble(mariadb) == ""
        assert "a certificate that is not of mysql_ssl_ca" in _trouble(
            mariadb, mysql_ssl_ca=tmp_path / "other.pem"
        )
        assert "does not name mysql_host" in _trouble(mariadb, mysql_host="localhost")
    finally:
        mariadb.execute("SET GLOBAL require_secure_transport = OFF")


def test_database_that_requires_a_client_certificate_gets_it(mariadb: MariaDb) -> None:
    mariadb.execute("ALTER USER 'scan_server'@'localhost' REQUIRE X509")
    try:
        assert "wants a certificate, see mysql_ssl_cert" in _trouble(mariadb)
        own = {"mysql_ssl_cert": mariadb.certificate, "mysql_ssl_key": mariadb.certificate}
        assert _trouble(mariadb, **own) == ""
    finally:
        mariadb.execute("ALTER USER 'scan_server'@'localhost' REQUIRE NONE")


def _trouble(database: MariaDb, **settings: object) -> str:
    """Connect over TLS, and return the error in the answer."""
    over_tls = {"mysql_host": "127.0.0.1", "mysql_port": database.port, "mysql_ssl_ca": database.authority}
    engine = connect(Config.model_validate(database.settings | over_tls | settings))
    try:
        check(engine)
    except SQLAlchemyError as error:
        return trouble(error)
    finally:
        engine.dispose()
    return ""


def test_address_added_by_phpipam_meanwhile_is_updated(lab: Lab) -> None:
    """Another transaction's insert of the same address is not yet committed when the report arrives."""
    insert = f"INSERT INTO ipaddresses (subnetId, ip_addr, owner) VALUES (10, {decimal('192.0.2.1')}, 'them')"
    with ThreadPoolExecutor() as pool, _busy(lab.database, insert) as theirs:
        answer = pool.submit(lab.server.post, report("alpha", NET, *hosts_of(NET, 3, hostname="us")))
        _wait_for_lock(lab.database)
        theirs.commit()
        assert answer.result().json() == stored(1, 2)
    assert lab.database.addresses("hostname", "owner") == [("us", "them"), ("us", None), ("us", None)]


def test_deadlock_is_retried(lab: Lab) -> None:
    """A transaction with more changes holds a row that the report updates, and then updates a row of the report."""
    lab.database.subnet(11, "198.51.100.0/24")
    for n in range(1, 200):
        lab.database.address(n, 11, f"198.51.100.{n}")
    lab.database.address(300, 10, "192.0.2.1")
    with ThreadPoolExecutor() as pool, _busy(lab.database, "UPDATE ipaddresses SET owner = 'them'") as theirs:
        answer = pool.submit(lab.server.post, report("alpha", NET, host("192.0.2.1", hostname="us")))
        _wait_for_lock(lab.database)
        theirs.execute(text("UPDATE scanAgents SET name = 'them'"))  # MariaDB ends the report's transaction
        theirs.commit()
        assert answer.result().json() == stored(1, 0)
    assert lab.database.one("SELECT COUNT(*) FROM ipaddresses WHERE owner = 'them'") == 200
    assert lab.database.one("SELECT hostname FROM ipaddresses WHERE subnetId = 10") == "us"
    assert _deadlocks(lab.database) > 0


def test_locks_of_others_are_not_waited_for_long(mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB's own limits are 50 seconds for a row and a day for a table, as a backup locks it."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    monkeypatch.setattr(write, "TRIES", 1)
    mariadb.address(101, 10, "192.0.2.1")
    now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    taken = decode(json.dumps(report("alpha", NET, host("192.0.2.1"))).encode(), now)
    engine = connect(Config.model_validate(mariadb.settings))
    php = PhpTime(now, timezone.utc)

    def wait(sql: str, use: Callable[[], object]) -> float:
        with _busy(mariadb, sql) as theirs:
            started = time.monotonic()
            with pytest.raises(DBAPIError) as refused:
                use()
            theirs.execute(text("UNLOCK TABLES"))
        assert error_number(refused.value) == 1205
        return time.monotonic() - started

    assert wait("UPDATE ipaddresses SET owner = 'x'", lambda: write.store(engine, taken, php, False)) < 30
    assert wait("LOCK TABLES ipaddresses READ", lambda: write.store(engine, taken, php, False)) < 30
    assert wait("LOCK TABLES ipaddresses READ", lambda: check(engine)) < 30
    engine.dispose()


def test_agents_do_not_wait_for_each_other(lab: Lab) -> None:
    """While an agent's report waits, another agent's report is stored, next to it in each index."""
    lab.database.agent(2, "beta")
    lab.database.subnet(11, NET, agent=2)
    for n in range(1, 200):
        lab.database.address(2 * n, 10, f"192.0.2.{n}")
        lab.database.address(2 * n + 1, 11, f"192.0.2.{n}")
    hosts, all_stored = hosts_of(NET, 250), stored(199, 51)
    update = "UPDATE ipaddresses SET owner = 'them' WHERE id = 2"
    with ThreadPoolExecutor() as pool, _busy(lab.database, update) as theirs:
        held = pool.submit(lab.server.post, report("alpha", NET, *hosts))
        _wait_for_lock(lab.database)
        assert lab.server.post(report("beta", NET, *hosts)).json() == all_stored
        assert not held.done()
        theirs.commit()
        assert held.result().json() == all_stored


def test_untrusted_text_is_bound_as_a_parameter(mariadb: MariaDb) -> None:
    """The decoder refuses such a name; here it is used in the statements without the decoder."""
    mariadb.address(101, 10, "192.0.2.1", note="mine")
    seen = now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    taken = decode(json.dumps(report("alpha", NET)).encode(), now)
    engine = connect(Config.model_validate(mariadb.settings))
    for name in ("x', note='PWNED", '"; DROP TABLE ipaddresses; --', "\\", "%s %(x)s :x", "<b>", "🦆"):
        hosts = [Host(n, decimal(f"192.0.2.{n}"), seen, name, None, None) for n in (1, 2)]
        write.store(engine, taken._replace(hosts=hosts), PhpTime(now, timezone.utc), replace_names=True)
        assert mariadb.addresses("hostname") == [name, name]
    engine.dispose()
    assert mariadb.addresses("note")[0] == "mine"


def test_hour_that_the_database_skips_in_spring_is_no_error(start: Start, mariadb: MariaDb) -> None:
    """phpIPAM is in UTC, and the database in Berlin, where 02:30 did not exist on that day."""
    server = start(**mariadb.settings)
    answer = server.post(report("alpha", NET, host("192.0.2.1", lastSeen="2026-03-29 02:30:00")))
    assert answer.status_code == 200
    assert mariadb.addresses("lastSeen") == ["2026-03-29 02:30:00"]
    assert mariadb.one("SELECT lastDiscovery FROM subnets") == "2026-03-29 03:00:00"


BERLIN = ZoneInfo("Europe/Berlin")


def _ask_api(database: MariaDb) -> datetime:
    """Store the time of a request like phpIPAM with PHP in Berlin; return the time in UTC."""
    now = datetime.now(timezone.utc)
    database.execute("DELETE FROM api")
    database.execute(
        "INSERT INTO api (app_last_access) VALUES (:t)", t=now.astimezone(BERLIN).isoformat()[:19]
    )
    return now


def test_phps_zone_is_found(mariadb: MariaDb, start: Start) -> None:
    server = start(**mariadb.settings)
    now = _ask_api(mariadb)
    server.post(report("alpha", NET, host("192.0.2.1", lastSeen=now.isoformat(" ")[:19])))
    assert mariadb.addresses("lastSeen") == [now.astimezone(BERLIN).isoformat(" ")[:19]]


def test_wrong_time_zone_fails_the_health_check(mariadb: MariaDb, start: Start) -> None:
    server = start(**mariadb.settings, timezone="UTC")
    for _ in range(2):
        _ask_api(mariadb)
        assert server.post(report("alpha", NET)).status_code == 200
        time.sleep(1)  # phpIPAM's times have no fractions
    health = requests.get(f"{server.url}/health", timeout=30)
    assert (health.status_code, health.json()["reason"]) == (503, "timezone")
    assert "UTC is wrong" in health.json()["error"]


def test_repeated_hour_in_autumn_is_no_error(mariadb: MariaDb) -> None:
    """Ten reports between 02:00 and the second 03:00 in Berlin, after a report with a clock far ahead."""
    mariadb.address(101, 10, "192.0.2.1", lastSeen="2031-01-01 00:00:00")
    engine = connect(Config.model_validate(mariadb.settings))
    for minutes in range(1, 120, 12):
        now = datetime(2026, 10, 25, 0, tzinfo=timezone.utc) + timedelta(minutes=minutes)
        one = host("192.0.2.1", lastSeen=now.isoformat(" ")[:19])
        taken = decode(json.dumps(report("alpha", NET, one)).encode(), now)
        write.store(engine, taken, PhpTime(now, BERLIN), replace_names=False)
        local = now.astimezone(BERLIN).isoformat(" ")[:19]
        assert mariadb.addresses("lastSeen") == [local]
        assert mariadb.one("SELECT lastDiscovery FROM subnets WHERE id = 10") == local
    engine.dispose()


def test_phpipams_times_for_never_are_replaced(lab: Lab) -> None:
    lab.database.address(101, 10, "192.0.2.1", lastSeen="0000-00-00 00:00:00")
    lab.database.execute("UPDATE subnets SET lastDiscovery = '0000-00-00 00:00:00'")
    lab.server.post(report("alpha", NET, host("192.0.2.1")))
    assert lab.database.addresses("lastSeen") == ["2026-03-01 12:00:00"]
    assert lab.database.one("SELECT lastDiscovery FROM subnets") == "2026-03-01 12:00:00"


def _grants(*tables: tuple[str, str, str]) -> list[tuple[str, str]]:
    return [(f"{verb} ({column})", table) for table, verb, columns in tables for column in columns.split()]


GRANTS = _grants(
    ("scanAgents", "SELECT", "id code"),
    ("scanAgents", "UPDATE", "last_access"),
    ("subnets", "SELECT", "id subnet mask scanAgent discoverSubnet pingSubnet lastDiscovery lastScan"),
    ("subnets", "UPDATE", "lastDiscovery lastScan"),
    ("ipaddresses", "SELECT", "id subnetId ip_addr hostname mac lastSeen excludePing"),
    ("ipaddresses", "INSERT", "subnetId ip_addr hostname mac lastSeen description note state"),
    ("ipaddresses", "UPDATE", "hostname mac lastSeen"),
)
FOR_TAGS = _grants(
    ("ipaddresses", "SELECT", "state"),
    ("ipaddresses", "UPDATE", "state"),
    ("settings", "SELECT", "updateTags pingStatus"),
    ("ipTags", "SELECT", "id updateTag"),
)
FOR_TIMEZONE = _grants(("api", "SELECT", "app_last_access"))


def test_grants_are_necessary_and_sufficient(mariadb: MariaDb, start: Start) -> None:
    """Without any grant, /health and a report with all changes fail, or a feature is off."""
    mariadb.subnet(11, "198.51.100.0/24", ping=1)
    mariadb.address(101, 11, "198.51.100.1", state=1)
    mariadb.execute("UPDATE settings SET updateTags = 1")
    server = start(**mariadb.settings)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    known = host("198.51.100.1", hostname="a", mac="AA:BB:CC:DD:EE:01", lastSeen=now)
    document = report("alpha", "198.51.100.0/24", known, host("198.51.100.2"))
    user = "'scan_server'@'localhost'"

    def try_without(privilege: str, table: str) -> tuple[int, int]:
        mariadb.execute(f"REVOKE {privilege} ON {table} FROM {user}")
        health = requests.get(f"{server.url}/health", timeout=30).status_code
        answer = server.post(document).status_code
        mariadb.execute(f"GRANT {privilege} ON {table} TO {user}")
        return health, answer

    for grant in GRANTS:
        assert try_without(*grant) == (503, 503), grant
    for grant in FOR_TAGS + FOR_TIMEZONE:
        assert try_without(*grant) == (200, 200), grant
        assert mariadb.one("SELECT state FROM ipaddresses WHERE id = 101") == (1 if grant in FOR_TAGS else 2)
        mariadb.execute("UPDATE ipaddresses SET state = 1 WHERE id = 101")
    assert requests.get(f"{server.url}/health", timeout=30).status_code == 200
    server.stop()
    off = [line["event"] for line in server.log if "run grants.sql again" in line["event"]]
    assert [text.partition(":")[0] for text in off] == ["tags", "timezone"]  # once each

    for privilege, table in GRANTS + FOR_TAGS + FOR_TIMEZONE:
        mariadb.execute(f"REVOKE {privilege} ON {table} FROM {user}")
    left = [next(iter(row.values())) for row in mariadb.execute(f"SHOW GRANTS FOR {user}")]
    mariadb.grant()  # a second time
    assert [grant.partition(" TO ")[0] for grant in left] == ["GRANT USAGE ON *.*"]


def test_ping_exclude_of_phpipam_1_4_is_understood(lab: Lab) -> None:
    """The column is a text, `0` or `1`, or NULL."""
    column = "ALTER TABLE ipaddresses CHANGE excludePing excludePing "
    lab.database.execute("UPDATE subnets SET pingSubnet = 1")
    lab.database.execute("UPDATE settings SET updateTags = 1")
    lab.database.execute(column + "BINARY NULL DEFAULT '0'")
    try:
        for n, value in enumerate(("0", "1", None), 1):
            lab.database.address(n, 10, f"192.0.2.{n}", excludePing=value)
            silent = {"state": 2, "lastSeen": "2020-01-01 00:00:00"}
            lab.database.address(10 + n, 10, f"192.0.2.{10 + n}", excludePing=value, **silent)
        document = report("alpha", NET, *hosts_of(NET, 3, hostname="gw"))
        document["scan"] |= {"silent": [11, 12, 13], "made": "2026-03-01T12:00:00+00:00"}
        answer = lab.server.post(document)
        rows = lab.database.addresses("hostname", "state")
    finally:
        lab.database.execute("UPDATE ipaddresses SET excludePing = 0")
        lab.database.execute(column + "BOOL NOT NULL DEFAULT 0")
    assert answer.json() == stored(2, 0, skipped=1)
    assert [name for name, _ in rows[:3]] == ["gw", None, "gw"]
    assert [tag for _, tag in rows[3:]] == [1, 2, 1]


def test_letters_that_phpipam_1_4_cannot_store_lose_no_host(lab: Lab) -> None:
    """Its tables have characters of at most three bytes."""
    column = "ALTER TABLE ipaddresses MODIFY hostname VARCHAR(255) CHARACTER SET "
    lab.database.execute(column + "utf8mb3")
    try:
        answer = lab.server.post(report("alpha", NET, *hosts_of(NET, 1, hostname="\U00010330")))
        names = lab.database.addresses("hostname")
    finally:
        lab.database.execute(column + "utf8mb4")
    assert (answer.json(), names) == (stored(0, 1), [None])


UNIQUE_MAC = "CREATE UNIQUE INDEX site_mac ON ipaddresses (subnetId, mac)"
REQUIRED_FIELD = "ALTER TABLE ipaddresses ADD COLUMN rack VARCHAR(10) NOT NULL"
TRIGGER = (
    "CREATE TRIGGER refuses BEFORE {} ON ipaddresses FOR EACH ROW"
    " IF NEW.ip_addr = {} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not here'; END IF"
)
NO_INSERT = TRIGGER.format("INSERT", decimal("192.0.2.4"))
NO_UPDATE = TRIGGER.format("UPDATE", decimal("192.0.2.3"))


@pytest.mark.parametrize(
    ("make", "undo", "error", "refused", "counts"),
    [
        (UNIQUE_MAC, "DROP INDEX site_mac ON ipaddresses", "for key 'site_mac'", {2, 4}, (2, 1)),
        (REQUIRED_FIELD, "ALTER TABLE ipaddresses DROP COLUMN rack", "Field 'rack'", {3, 4}, (3, 0)),
        (NO_INSERT, "DROP TRIGGER refuses", "not here", {3}, (3, 1)),
        (NO_UPDATE, "DROP TRIGGER refuses", "not here", {2}, (2, 2)),
    ],
)
def test_rows_refused_by_the_database_are_named_and_others_stored(
    lab: Lab, make: str, undo: str, error: str, refused: set[int], counts: tuple[int, int]
) -> None:
    for n in (1, 2, 3):
        lab.database.address(n, 10, f"192.0.2.{n}", mac=f"00:00:00:00:00:0{n}")
    hosts = hosts_of(NET, 5)
    hosts[2]["mac"] = hosts[4]["mac"] = "00:00:00:00:00:01"
    lab.database.execute(make)
    try:
        answer = lab.server.post(report("alpha", NET, *hosts))
        rows = lab.database.addresses("ip_addr", "lastSeen")
    finally:
        lab.database.execute(undo)
    body = answer.json()
    assert (body["updated"], body["added"]) == counts
    assert (answer.status_code, body["reason"], body["refused"]) == (400, "row", len(refused))
    assert {row["field"] for row in body["rows"]} == {f"scan.results.{place}" for place in refused}
    assert all(error in row["error"] for row in body["rows"])
    assert body["rows"][0]["error"] in body["error"]
    # An address whose MAC address is refused is online nevertheless.
    online = {ip for ip, seen in rows if seen == "2026-03-01 12:00:00"}
    lost = refused - {2} if make == UNIQUE_MAC else refused
    assert online == {decimal(f"192.0.2.{n + 1}") for n in range(5) if n not in lost}


@contextmanager
def _busy(database: Database, sql: str) -> Iterator[Connection]:
    """Yield another transaction that has executed this."""
    with database.engine.connect() as connection:
        connection.execute(text(sql))
        yield connection


def _wait_for_lock(database: Database) -> None:
    """Wait until a transaction waits for a lock."""
    waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    wait_until(lambda: database.one(waiting))  # less than 0.1 s after a query, InnoDB repeats its answer


def _deadlocks(database: Database) -> int:
    (row,) = database.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    return int(row["Value"])
