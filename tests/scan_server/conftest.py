"""A database of either kind, empty at the start of each test, and its Scan Server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scan_server_lab import MARIADBD, TOKEN, Lab, MariaDb, ScanServer, Sqlite, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yield a function that starts a Scan Server with these settings, until the end of the test."""
    with ExitStack() as stack:

        def start(**settings: Any) -> ScanServer:
            server = ScanServer(tmp_path, {"auth_token": TOKEN} | settings)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    if not MARIADBD:
        pytest.skip("there is no mariadbd; install it: apt-get install mariadb-server")
    database = MariaDb(tmp_path_factory.mktemp("mariadb"))
    try:
        database.install()
        yield database
    finally:
        database.stop()


@pytest.fixture
def mariadb(mariadb_server: MariaDb) -> MariaDb:
    mariadb_server.clear()
    return mariadb_server


@pytest.fixture(scope="session")
def before_mariadb(mariadb_server: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScanServer]:
    folder = tmp_path_factory.mktemp("scan_server")
    server = ScanServer(folder, mariadb_server.settings | {"auth_token": TOKEN})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("sqlite")
    database = Sqlite(folder / "phpipam.db")
    server = ScanServer(folder, database.settings | {"auth_token": TOKEN})
    yield Lab(database, server)
    server.stop()
    database.engine.dispose()


@pytest.fixture(params=["mariadb", "sqlite"])
def lab(request: pytest.FixtureRequest) -> Lab:
    if request.param == "sqlite":
        lab: Lab = request.getfixturevalue("sqlite_lab")
        lab.database.clear()
        return lab
    return Lab(request.getfixturevalue("mariadb"), request.getfixturevalue("before_mariadb"))
