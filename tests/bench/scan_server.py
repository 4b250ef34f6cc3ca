"""How fast the Scan Server stores reports in a real MariaDB: python tests/bench/scan_server.py [HOSTS]

Everything is what users have: a process behind HTTP, the grants of grants.sql, a commit to disk for each
report. A subnet's hosts come in reports of 5,000, so that each stays below 1 MiB.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from scan_server_lab import MariaDb, Row, ScanServer, host, report

NETWORK = ip_network("127.8.0.0/16")
ANSIBLE = 1.4
"""Hosts a second of the Ansible rulebook that this takes the place of: 100 hosts in 70 s."""

ROUNDS: tuple[tuple[str, Callable[[int], Row]], ...] = (
    ("new hosts", lambda n: {"lastSeen": "2026-03-01 12:00:00"}),
    ("seen again", lambda n: {"lastSeen": "2026-03-01 12:05:00"}),
    ("seen again, with new names", lambda n: {"lastSeen": "2026-03-01 12:10:00", "hostname": f"renamed-{n}"}),
)


def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = MariaDb(Path(folder))
        database.install()
        database.agent(1, "bench")
        database.subnet(10, str(NETWORK))
        server = ScanServer(Path(folder), database.settings)
        try:
            for name, fields in ROUNDS:
                seconds = measure(server, number, fields)
                rate = number / seconds
                faster = f"{rate / ANSIBLE:,.0f} times the Ansible rulebook's {ANSIBLE}"
                print(f"{name:27}{number:,} hosts in {seconds:.2f} s: {rate:,.0f} hosts/s, {faster}")
        finally:
            server.stop()
            database.stop()


def measure(server: ScanServer, number: int, fields: Callable[[int], Row]) -> float:
    hosts = [
        host(
            str(NETWORK[n]),
            subnetId="10",
            **{"hostname": f"host-{n}", "mac": f"AA:BB:CC:00:{n >> 8:02X}:{n & 255:02X}"} | fields(n),
        )
        for n in range(1, number + 1)
    ]
    started = time.monotonic()
    for first in range(0, number, 5000):
        answer = server.post(report("bench", str(NETWORK), *hosts[first : first + 5000]))
        assert answer.status_code == 200, answer.text
    return time.monotonic() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10_000)
