"""The part of phpIPAM's database that is used here, and the way to it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, column, create_engine, select, table
from sqlalchemy.engine import URL

from .config import Config, ConfigError

agents = table("scanAgents", *map(column, ("id", "code", "last_access")))
subnets = table(
    "subnets",
    *map(column, ("id", "subnet", "mask", "scanAgent", "discoverSubnet", "pingSubnet")),
    *map(column, ("lastDiscovery", "lastScan")),
)
addresses = table(
    "ipaddresses",
    *map(column, ("id", "subnetId", "ip_addr", "hostname", "mac", "lastSeen")),
    *map(column, ("description", "note", "state")),
)


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

    socket = {"unix_socket": config.mysql_host} if config.mysql_host.startswith("/") else {}
    url = URL.create(
        "mysql+pymysql",
        username=config.mysql_user,
        password=config.mysql_password.get_secret_value(),
        host=None if socket else config.mysql_host,
        port=None if socket else config.mysql_port,
        database=config.mysql_database,
    )
    return create_engine(
        url,
        hide_parameters=True,  # an agent's code is one, and errors are logged
        isolation_level="READ COMMITTED",  # an update locks the rows that it changes, not all that it reads
        pool_pre_ping=True,  # the database may have been started anew
        pool_timeout=10,
        connect_args=socket
        | {"charset": "utf8mb4", "connect_timeout": 5, "read_timeout": 60, "write_timeout": 60},
    )


def check(engine: Engine) -> None:
    """Raise SQLAlchemyError unless the database answers and lets us read."""
    with engine.connect() as connection:
        connection.execute(select(agents.c.id).limit(1))
