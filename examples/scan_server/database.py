"""phpIPAM's database: the tables and columns in use, and the connection."""

import logging
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Update, column, create_engine, select, table, text, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from .answers import error_number
from .config import Config, ConfigError

log = logging.getLogger(__name__)

POOL = 10
"""Number of connections to the database for reports."""

LOCK_SECONDS = 5
"""Maximum seconds of a wait for a lock of others, such as a backup's.

A report tries five times, in less than the minute that agents wait for its answer.
"""


def _table(name: str, columns: str) -> Any:
    return table(name, *map(column, columns.split()))


agents = _table("scanAgents", "id code last_access")
subnets = _table("subnets", "id subnet mask scanAgent discoverSubnet pingSubnet lastDiscovery lastScan")
addresses = _table(
    "ipaddresses", "id subnetId ip_addr hostname mac lastSeen description note state excludePing"
)
excluded = (addresses.c.excludePing == 1).label("excluded")
"""Whether an address is excluded from scans; before phpIPAM 1.5 the column is a text."""

settings = _table("settings", "updateTags pingStatus")
tags = _table("ipTags", "id updateTag")
api = _table("api", "app_last_access")

CHECKS = (
    "SELECT id, code FROM scanAgents LIMIT 1",
    "SELECT id, subnet, mask, scanAgent, discoverSubnet, pingSubnet, lastDiscovery, lastScan FROM subnets LIMIT 1",
    "SELECT id, subnetId, ip_addr, hostname, mac, lastSeen, excludePing FROM ipaddresses LIMIT 1",
    "UPDATE scanAgents SET last_access = NULL WHERE FALSE",
    "UPDATE subnets SET lastDiscovery = NULL, lastScan = NULL WHERE FALSE",
    "UPDATE ipaddresses SET hostname = NULL, mac = NULL, lastSeen = NULL WHERE FALSE",
    "INSERT INTO ipaddresses (subnetId, ip_addr, hostname, mac, lastSeen, description, note, state)"
    " SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE FALSE",
)
"""Statements with the rights that a report needs; they change no row."""

_DENIED = frozenset((1054, 1142, 1143, 1146))
"""MariaDB's errors for a column or table that is not there, or that the user may not use."""

_missing: set[str] = set()


def connect(config: Config) -> Engine:
    """Return the engine. It connects at the first statement, so that the service starts without the database.

    Raise ConfigError if the SQLite file cannot be used.
    """
    if config.sqlite_file:
        try:
            with closing(sqlite3.connect(config.sqlite_file)) as connection:
                connection.executescript(Path(__file__).with_name("sqlite.sql").read_text())
        except sqlite3.Error as error:
            raise ConfigError(f"sqlite_file: {config.sqlite_file} cannot be used: {error}") from None
        url = URL.create("sqlite", database=str(config.sqlite_file))
        return create_engine(url, hide_parameters=True, connect_args={"timeout": 30})

    options: dict[str, Any] = {
        "host": config.mysql_host,
        "port": config.mysql_port,
        "user": config.mysql_user,
        "password": config.mysql_password.get_secret_value(),
        "database": config.mysql_database,
        "charset": "utf8mb4",
        "connect_timeout": 5,
        "read_timeout": 60,
        "write_timeout": 60,
        "init_command": f"SET lock_wait_timeout = {LOCK_SECONDS}, innodb_lock_wait_timeout = {LOCK_SECONDS}",
    }
    if config.mysql_host.startswith("/"):
        options |= {"host": None, "unix_socket": config.mysql_host, "ssl_disabled": not config.mysql_ssl_ca}
    # Without it, the database server decides about encryption, and its certificate is not verified.
    if config.mysql_ssl_ca:
        options["ssl"] = config.tls("mysql_ssl", config.mysql_ssl_ca)
    return create_engine(
        "mysql+pymysql://",
        hide_parameters=True,  # errors are logged, and an agent's code is a parameter
        isolation_level="READ COMMITTED",  # an update locks the rows that it changes, not all that it reads
        pool_pre_ping=True,  # the database may have been restarted
        pool_size=POOL,
        max_overflow=2,  # for /health, and for the clock
        pool_timeout=10,
        connect_args=options,
    )


def update_rows(ids: list[int]) -> Update:
    """Return the update of these addresses.

    Found by their ids: if MariaDB read the whole table, it would wait for rows that other transactions lock.
    """
    rows = update(addresses).where(addresses.c.id.in_(ids))
    return rows.with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")


def check(engine: Engine) -> None:
    """Raise SQLAlchemyError unless a report could be stored."""
    with engine.connect() as connection:
        for statement in CHECKS:
            # SQLite has no grants to try, and an UPDATE would wait for a report's.
            if connection.dialect.name != "sqlite" or statement.startswith("SELECT"):
                connection.execute(text(statement))


def last_api_requests(connection: Connection) -> frozenset[datetime]:
    """Return when each app of phpIPAM's API was used last, in PHP's zone; empty if unknown."""
    used = select(api.c.app_last_access).where(api.c.app_last_access > "1971")
    try:
        return frozenset(datetime.fromisoformat(str(time)) for time in connection.scalars(used))
    except DBAPIError as error:
        explain_missing("timezone: cannot be detected, UTC is used unless it is set", error)
        return frozenset()


def explain_missing(feature: str, error: DBAPIError) -> None:
    """Log once that a feature is off without a grant or table. Raise any other error."""
    if error_number(error) not in _DENIED:
        raise error
    if feature not in _missing:
        _missing.add(feature)
        log.warning("%s; run grants.sql again: %s", feature, error.orig)
