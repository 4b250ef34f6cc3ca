"""The part of phpIPAM's database that is used here, and the way to it."""

import logging
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Update,
    column,
    create_engine,
    insert,
    literal,
    select,
    table,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import false

from .answers import error_number
from .config import Config, ConfigError

log = logging.getLogger(__name__)

POOL = 10
"""Connections to the database for reports."""


def _table(name: str, columns: str) -> Any:
    return table(name, *map(column, columns.split()))


agents = _table("scanAgents", "id code last_access")
subnets = _table("subnets", "id subnet mask scanAgent discoverSubnet pingSubnet lastDiscovery lastScan")
addresses = _table(
    "ipaddresses", "id subnetId ip_addr hostname mac lastSeen description note state excludePing"
)
settings = _table("settings", "updateTags pingStatus")
tags = _table("ipTags", "id updateTag")
api = _table("api", "app_last_access")

INSERTED = ("subnetId", "ip_addr", "hostname", "mac", "lastSeen", "description", "note", "state")
"""The columns of an address that is added."""

_DENIED = frozenset((1054, 1142, 1143, 1146))
"""MariaDB's errors for a column or table that is not there, or that the user may not use."""

_missing: set[str] = set()


def connect(config: Config) -> Engine:
    """Return the engine. No server is asked yet: one that is away may come back.

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

    socket: dict[str, Any] = {}
    if config.mysql_host.startswith("/"):
        socket = {"unix_socket": config.mysql_host, "ssl_disabled": not config.mysql_ssl_ca}
    url = URL.create(
        "mysql+pymysql",
        username=config.mysql_user,
        password=config.mysql_password.get_secret_value(),
        host=None if socket else config.mysql_host,
        port=None if socket else config.mysql_port,
        database=config.mysql_database,
    )
    timeouts = {"connect_timeout": 5, "read_timeout": 60, "write_timeout": 60}
    return create_engine(
        url,
        hide_parameters=True,  # an agent's code is one, and errors are logged
        isolation_level="READ COMMITTED",  # an update locks the rows that it changes, not all that it reads
        pool_pre_ping=True,  # the database may have been started anew
        pool_size=POOL,
        max_overflow=2,  # for /health, and for the clock
        pool_timeout=10,
        connect_args={"charset": "utf8mb4", **socket, **timeouts, **_tls(config)},
    )


def _tls(config: Config) -> dict[str, Any]:
    """Without mysql_ssl_ca, the connection is what the server makes of it: encrypted perhaps, verified never."""
    if not config.mysql_ssl_ca:
        return {}
    files = {
        "ssl_ca": config.mysql_ssl_ca,
        "ssl_cert": config.mysql_ssl_cert,
        "ssl_key": config.mysql_ssl_key,
    }
    return {**files, "ssl_verify_cert": True, "ssl_verify_identity": True}


def update_rows(ids: list[int]) -> Update:
    """Return the update of these addresses.

    By their ids alone: where MariaDB reads the whole table instead, it waits for others' rows too.
    """
    rows = update(addresses).where(addresses.c.id.in_(ids))
    return rows.with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")


def check(engine: Engine) -> None:
    """Raise SQLAlchemyError unless a report could be stored: every statement of one is tried on no row."""
    new = select(*(literal(None) for _ in INSERTED)).where(false())
    with engine.connect() as connection:
        for used in (agents, subnets, addresses):
            optional = ("state", "excludePing", "description", "note", "last_access")
            connection.execute(select(*(c for c in used.c if c.name not in optional)).limit(1))
        if connection.dialect.name == "sqlite":  # no grants to try, and a statement waits for a report's
            return
        connection.execute(update(agents).where(false()).values(last_access=None))
        connection.execute(update(subnets).where(false()).values(lastDiscovery=None, lastScan=None))
        connection.execute(update(addresses).where(false()).values(hostname=None, mac=None, lastSeen=None))
        connection.execute(insert(addresses).from_select(INSERTED, new))
        connection.rollback()


def last_api_requests(connection: Connection) -> frozenset[datetime]:
    """Return when each app of phpIPAM's API was used last, in PHP's zone; nothing if that cannot be known."""
    used = select(api.c.app_last_access).where(api.c.app_last_access > "1971")
    try:
        return frozenset(datetime.fromisoformat(str(time)) for time in connection.scalars(used))
    except DBAPIError as error:
        explain_missing("timezone: cannot be found, UTC is used unless it is set", error)
        return frozenset()


def explain_missing(feature: str, error: DBAPIError) -> None:
    """Log once that a feature is off for want of a grant or table. Raise the error if it is another one."""
    if error_number(error) not in _DENIED:
        raise error
    if feature not in _missing:
        _missing.add(feature)
        log.warning("%s; run grants.sql again: %s", feature, error.orig)
