"""The Scan Server as a process on loopback, with a real MariaDB with phpIPAM's tables or a SQLite file."""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import requests
import trustme
import yaml
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL

from listeners import free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "scan_server"
TABLES = Path(__file__).parents[1] / "scan_server" / "phpipam.sql"
MARIADBD = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
"""The program, also outside a user's PATH; None if it is not installed."""

PASSWORD = "password-4Vd9xQ"  # of the database's user

TOKEN = "token-7Qk2mJ"

Row = dict[str, Any]


class Database:
    """phpIPAM's database as its administrator sees it."""

    settings: Row
    """The Scan Server's settings for it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def execute(self, sql: str, **values: object) -> list[Row]:
        """Execute one statement and return its rows, times as text."""
        with self.engine.begin() as connection:
            result = connection.execute(text(sql), values)
            rows = result.mappings() if result.returns_rows else ()
            return [{key: _plain(value) for key, value in row.items()} for row in rows]

    def clear(self) -> None:
        for table in ("ipaddresses", "subnets", "scanAgents", "settings", "ipTags", "api"):
            self.execute(f"DELETE FROM {table}")
        self.execute("INSERT INTO settings (updateTags, pingStatus) VALUES (0, '1800;3600')")
        self.execute("INSERT INTO ipTags (id, updateTag) VALUES (1, 1), (2, 1), (3, 1), (4, 1)")

    def agent(self, id_: int, code: str) -> None:
        self.execute("INSERT INTO scanAgents (id, code) VALUES (:id, :code)", id=id_, code=code)

    def subnet(self, id_: int, cidr: str, agent: int = 1, discover: int = 1, ping: int = 0) -> None:
        self.execute(
            "INSERT INTO subnets (id, subnet, mask, scanAgent, discoverSubnet, pingSubnet)"
            " VALUES (:id, :subnet, :mask, :agent, :discover, :ping)",
            id=id_,
            subnet=decimal(cidr.partition("/")[0]),
            mask=cidr.partition("/")[2],
            agent=agent,
            discover=discover,
            ping=ping,
        )

    def address(self, id_: int, subnet: int, ip: str, **fields: object) -> None:
        fields = {"id": id_, "subnetId": subnet, "ip_addr": decimal(ip), **fields}
        names = ", ".join(fields)
        self.execute(f"INSERT INTO ipaddresses ({names}) VALUES (:{', :'.join(fields)})", **fields)

    def addresses(self, *columns: str) -> list[Any]:
        """Return these columns of all addresses in order; with one column its values."""
        rows = self.execute(f"SELECT {', '.join(columns)} FROM ipaddresses ORDER BY subnetId, ip_addr")
        return [row[columns[0]] if len(columns) == 1 else tuple(row.values()) for row in rows]

    def one(self, sql: str) -> Any:
        """Return the value of a query with one row and one column."""
        ((value,),) = (row.values() for row in self.execute(sql))
        return value


class Sqlite(Database):
    """A SQLite file with the Scan Server's tables."""

    def __init__(self, file: Path) -> None:
        self.settings = {"sqlite_file": str(file)}
        super().__init__(create_engine(f"sqlite:///{file}", connect_args={"timeout": 30}))


class MariaDb(Database):
    """A separate server in `folder`, connected by its socket or over TLS.

    Its time zone is Berlin's, which must have no effect.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "socket"
        self._user = f"--user={getpass.getuser()}"
        self._files = (f"--datadir={folder / 'data'}", f"--tmpdir={folder}")
        self._process: subprocess.Popen[bytes] | None = None
        self.settings = {
            "mysql_host": str(self._socket),
            "mysql_user": "scan_server",
            "mysql_password": PASSWORD,
        }
        self.certificate = folder / "database.pem"
        self.authority = folder / "authority.pem"
        (self.port,) = free_ports(1)
        url = URL.create(
            "mysql+pymysql", username="root", database="phpipam", query={"unix_socket": str(self._socket)}
        )
        super().__init__(create_engine(url, pool_pre_ping=True))

    def install(self) -> None:
        """Make the server's files, phpIPAM's tables, and the user of the Scan Server's README."""
        root = "--auth-root-authentication-method=normal"
        _run("mariadb-install-db", "--no-defaults", self._user, *self._files, root, "--skip-test-db")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self.certificate))
        self.start()
        self.script(TABLES.read_text())
        self.grant()

    def grant(self) -> None:
        """Run grants.sql by the command of the Scan Server's README."""
        self.script((EXAMPLE / "grants.sql").read_text().replace("CHANGE-ME", PASSWORD), "phpipam")

    def start(self, *options: str) -> None:
        """Wait until it accepts connections."""
        files = (f"--socket={self._socket}", f"--pid-file={self._folder / 'pid'}")
        tls = [f"--ssl-{what}={self.certificate}" for what in ("cert", "key")]
        tls.append(f"--ssl-ca={self.authority}")
        network = (f"--port={self.port}", "--bind-address=127.0.0.1", *tls)
        assert MARIADBD
        self._process = subprocess.Popen(
            (MARIADBD, "--no-defaults", self._user, *self._files, *files, *network, *options),
            env=os.environ | {"TZ": "Europe/Berlin"},
            stderr=subprocess.PIPE,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ready,))
        self._reader.start()
        assert ready.wait(60)
        assert self._process.poll() is None, self._process.returncode

    def stop(self) -> None:
        """Stop it and wait for its end; its data stays in the folder."""
        self.engine.dispose()
        if self._process:
            self._process.terminate()
            self._process.wait(60)
            self._reader.join()
            self._process = None

    def _read(self, ready: threading.Event) -> None:
        assert self._process
        assert self._process.stderr
        with self._process.stderr as said:
            for line in said:
                if b"ready for connections" in line:
                    ready.set()
        ready.set()

    def script(self, sql: str, *database: str) -> None:
        """Execute a script as the database's administrator."""
        _run("mariadb", "--no-defaults", "--user=root", f"--socket={self._socket}", *database, given=sql)


class ScanServer:
    """The Scan Server as a process; it listens after the construction."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.log: list[Row] = []
        self.text = ""
        self.url = ""
        self.options: Row = {"timeout": 60}
        """Default arguments of `post` for requests."""
        self.token = str(settings.get("auth_token", "no-token-set"))
        self.process = subprocess.Popen(
            start_command(folder, {"http_port": 0, **settings}),
            cwd=EXAMPLE.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        listens = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(listens,))
        self._reader.start()
        assert listens.wait(60)
        assert self.url, self.text

    def _read(self, listens: threading.Event) -> None:
        assert self.process.stderr
        with self.process.stderr as said:
            for line in said:
                self.text += line
                self.log.append(json.loads(line))
                if found := re.search("running on (https?://[^ ]+)", self.log[-1]["event"]):
                    self.url = found[1]
                    listens.set()
        listens.set()

    def post(self, document: object, **options: Any) -> requests.Response:
        """Send a report, as a document or as bytes."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return requests.post(self.url, data=body, **{"headers": headers, **self.options, **options})

    def stop(self) -> int:
        """End it by SIGTERM, and return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(60)
        self._reader.join()
        return code

    @property
    def requests(self) -> list[Row]:
        """Return its access log."""
        return [line for line in self.log if line["event"] == "request"]

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Lab:
    """A database and its Scan Server."""

    database: Database
    server: ScanServer


Start = Callable[..., ScanServer]
"""Starts a Scan Server with these settings."""


def start_command(folder: Path, settings: Mapping[str, Any]) -> Sequence[str]:
    """Write the settings as a configuration file and return the command that starts the Scan Server."""
    file = folder / "scan_server.yaml"
    file.write_text(yaml.safe_dump({"nofusscomputing_phpipam_scan_server": dict(settings)}))
    return (sys.executable, "-m", "scan_server", "--config", str(file))


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition is true; fail if it does not become true."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.2)
    raise AssertionError("this never came true")


def stored(updated: int, added: int, skipped: int = 0) -> Row:
    """The answer to a stored report."""
    return {"server": "phpipam-scan-server", "updated": updated, "added": added, "skipped": skipped}


def report(code: str, subnet: str, *results: Row, tz: str = "+0000") -> Row:
    return {"code": code, "scan": {"subnet": subnet, "tz": tz, "results": list(results)}}


def host(ip: str, **fields: object) -> Row:
    return {"ip": ip, "lastSeen": "2026-03-01 12:00:00", **fields}


def hosts_of(cidr: str, number: int, **fields: object) -> list[Row]:
    first = int(ip_network(cidr)[1])
    return [host(str(ip_address(first + index)), **fields) for index in range(number)]


def decimal(ip: str) -> str:
    """Return an address in phpIPAM's stored form."""
    return str(int(ip_address(ip)))


def _plain(value: object) -> object:
    return str(value) if isinstance(value, datetime) else value


def _run(*command: str, given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
