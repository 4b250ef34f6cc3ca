"""Run the agent twice on loopback, against stand-ins and the Scan Server of scan_server/, and show the stored hosts.

The Scan Server has a SQLite file instead of phpIPAM's database.
"""

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path

import yaml

from stand_ins.phpipam import address, subnet
from stand_ins.site import Site


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.phpipam.subnets = [
            subnet(10, "127.0.20.0/28", description="office"),
            subnet(11, "127.0.21.0/28", description="laboratory"),
            subnet(12, "127.0.22.0/28", description="no scan", discoverSubnet=0),
        ]
        site.phpipam.addresses = [address(101, 10, "127.0.20.1"), address(102, 10, "127.0.20.2")]

        say(
            f"First run: the agent asks phpIPAM's stand-in ({site.api.url}:{site.api.port}), scans and reports"
        )
        run(site)
        say("A report, as the Scan Server's stand-in received it:")
        show_report(site)
        with scan_server(site):
            where = f"{site.settings['http_server']}:{site.settings['http_port']}"
            say(f"Second run: with cached answers of phpIPAM; the reports go to a real Scan Server ({where})")
            asked = len(site.api.requests)
            run(site)
            say(f"Requests to phpIPAM: {len(site.api.requests) - asked}. Its database now has:")
            show_database(site)


def show_report(site: Site) -> None:
    report = site.scan_server.reports[0]
    report["code"] = "***"
    rows = report["scan"]["results"]
    report["scan"]["results"] = rows[:2]
    print(json.dumps(report, indent=1), f"… and {len(rows) - 2} more hosts")


@contextmanager
def scan_server(site: Site) -> Iterator[None]:
    """Run the Scan Server over TLS, with the rows of phpIPAM's stand-in, and configure the agent for it."""
    site.certificates.write(site.folder / "server.pem")
    settings = {
        "sqlite_file": "phpipam.db",
        "http_host": "127.0.0.1",
        "http_port": 0,
        "tls_cert": "server.pem",
        "tls_key": "server.pem",
        "auth_token": site.settings["auth_token"],
    }
    config, log = site.folder / "scan_server.yaml", site.folder / "scan_server.log"
    config.write_text(yaml.safe_dump({"nofusscomputing_phpipam_scan_server": settings}))
    command = [sys.executable, "-m", "scan_server", "--config", str(config)]
    with log.open("w") as file, subprocess.Popen(command, cwd=Path(__file__).parent, stderr=file) as process:
        try:
            while not (listens := re.search(r"running on (\S+):(\d+)", log.read_text())):
                if process.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.1)
            site.settings |= {"http_server": listens[1], "http_port": int(listens[2])}
            fill(site)
            yield
        finally:
            process.terminate()


def fill(site: Site) -> None:
    """Put the rows of phpIPAM's stand-in into the database."""
    agent, subnets = site.phpipam.agent, site.phpipam.subnets
    with closing(sqlite3.connect(site.folder / "phpipam.db")) as database, database:
        database.execute("INSERT INTO scanAgents (id, code) VALUES (?, ?)", (agent["id"], agent["code"]))
        database.executemany(
            "INSERT INTO subnets (id, subnet, mask, scanAgent) VALUES (?, ?, ?, ?)",
            [(row["id"], str(int(ip_address(row["subnet"]))), row["mask"], agent["id"]) for row in subnets],
        )
        database.executemany(
            "INSERT INTO ipaddresses (id, subnetId, ip_addr, hostname) VALUES (?, ?, ?, ?)",
            [
                (row["id"], row["subnetId"], str(int(ip_address(row["ip"]))), row["hostname"])
                for row in site.phpipam.addresses
            ],
        )


def show_database(site: Site) -> None:
    """Print the addresses in the database."""
    with closing(sqlite3.connect(site.folder / "phpipam.db")) as database:
        rows = database.execute(
            "SELECT ip_addr, lastSeen, COALESCE(hostname, ''), COALESCE(description, '') FROM ipaddresses"
            " ORDER BY ip_addr"
        ).fetchall()
    for number, *fields in rows[:6]:
        print(f"{ip_address(int(number))!s:14}", *(f"{field:20}" for field in fields))
    print(f"… {len(rows)} addresses in total")


def say(line: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{line}{plain}", flush=True)


def run(site: Site) -> None:
    subprocess.run(site.command("--format", "table", "-v"), env=site.environment, check=True)


if __name__ == "__main__":
    main()
