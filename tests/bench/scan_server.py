"""Measure how fast the Scan Server stores reports in a real MariaDB: python tests/bench/scan_server.py [HOSTS]

As for users, it is a process behind HTTP, with the grants of grants.sql and a commit to disk for each report. A
subnet's hosts are in reports of 5,000, each below 1 MiB. Then many agents send at the same time, each on one
connection.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from ipaddress import ip_network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from scan_server_lab import MariaDb, Row, ScanServer, host, hosts_of, report

REPORTS = 1000
NETWORK = ip_network("127.8.0.0/16")
ANSIBLE = 1.4
"""Hosts a second of the Ansible rulebook: 100 hosts in 70 s."""

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
                used = server.cpu_seconds
                seconds = measure(server, number, fields)
                rate, used = number / seconds, server.cpu_seconds - used
                faster = f"{rate / ANSIBLE:,.0f} times the Ansible rulebook's {ANSIBLE}"
                print(f"{name:27}{number:,} hosts in {seconds:.2f} s: {rate:,.0f} hosts/s, {faster}", end="")
                print(f", {used:.2f} s of a processor")
            for agents in (20, 200):
                many_agents(database, server, agents)
        finally:
            server.stop()
            database.stop()


def many_agents(database: MariaDb, server: ScanServer, agents: int) -> None:
    """Let each agent send 1,000 / agents reports of 50 hosts for its own subnets, twice."""
    number = REPORTS // agents
    bodies: list[list[bytes]] = []
    for agent in range(agents):
        database.agent(agents + agent, f"agent-{agents}-{agent}")
        bodies.append([])
        for n in range(number):
            id_, network = (
                agents * 1000 + agent * number + n,
                f"127.{agents % 99}.{agent * number + n >> 2}.0/24",
            )
            network = network.replace(".0/24", f".{64 * (n & 3)}/26")
            database.subnet(id_, network, agent=agents + agent)
            hosts = [one | {"subnetId": str(id_)} for one in hosts_of(network, 50)]
            bodies[-1].append(json.dumps(report(f"agent-{agents}-{agent}", network, *hosts)).encode())
    for name in ("new", "seen again"):
        started, used = time.monotonic(), server.cpu_seconds
        with ThreadPoolExecutor(agents) as pool:
            answers = [
                answer for each in pool.map(lambda some: send(server, some), bodies) for answer in each
            ]
        seconds = time.monotonic() - started
        failed = sum(status != 200 for status, _ in answers)
        slowest = max(seconds for _, seconds in answers)
        what = f"{agents} agents, 50 hosts, {name}"
        each = 1000 * (server.cpu_seconds - used) / len(answers)
        print(
            f"{what:38}{len(answers) / seconds:.0f} reports/s, slowest {slowest:.2f} s, {failed} refused",
            end="",
        )
        print(f", {each:.1f} ms of a processor for each")


def send(server: ScanServer, bodies: list[bytes]) -> list[tuple[int, float]]:
    """Send the reports one after another; return each one's status and seconds."""
    answers = []
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    connection = HTTPConnection(server.url.partition("//")[2], timeout=120)
    for body in bodies:
        started = time.monotonic()
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        answer.read()
        answers.append((answer.status, time.monotonic() - started))
    connection.close()
    return answers


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
