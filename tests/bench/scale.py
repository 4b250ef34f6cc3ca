"""Measure how a run grows with the number of subnets and of known addresses: python tests/bench/scale.py [SUBNETS…]

Real processes and real nmap on loopback; phpIPAM and the Scan Server are stand-ins. Cold: phpIPAM is asked about each
subnet; warm: all answers are cached. The last column does not grow if the work is linear. With SUBNETS only these
numbers of subnets are measured. Prints Markdown.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "examples")]

from stand_ins.phpipam import Row, address, subnet  # noqa: E402
from stand_ins.site import Site  # noqa: E402

FIRST = int(ip_address("127.16.0.0"))
KNOWN = 60_000


@dataclass(frozen=True)
class Measured:
    seconds: float
    cpu: float
    """CPU seconds of the agent and its nmap processes."""

    memory: float
    """Peak memory of the agent's own process in MiB."""


def measure(site: Site) -> Measured:
    started = time.monotonic()
    agent = subprocess.Popen(site.command("--quiet"), env=site.environment)
    memory = ended = 0
    while not ended:
        # Not the rusage's ru_maxrss, which includes this process, as it was when the agent was forked.
        peak = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{agent.pid}/status").read_text())
        memory = int(peak[1]) if peak else memory
        time.sleep(0.01)
        ended, status, used = os.wait4(agent.pid, os.WNOHANG)
    if status:
        sys.exit(f"the agent ended with status {status}")
    return Measured(time.monotonic() - started, used.ru_utime + used.ru_stime, memory / 1024)


def row(name: str, items: int, run: Measured) -> None:
    print(
        f"| {name} | {run.seconds:.1f} s | {run.cpu:.1f} s | {run.memory:.0f} MiB"
        f" | {1000 * run.cpu / items:.2f} ms |",
        flush=True,
    )


def many_subnets(number: int) -> list[Row]:
    return [subnet(10 + at, f"{ip_address(FIRST + 4 * at)}/30") for at in range(number)]


def both(site: Site, name: str, items: int) -> None:
    site.forget()
    row(f"{name}, cold", items, measure(site))
    row(f"{name}, warm", items, measure(site))


def main(numbers: list[int]) -> None:
    print("| | time | CPU | memory | CPU an item |")
    print("|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.settings["max_rate"] = 1_000_000
        for number in numbers or (500, 2000, 8000):
            site.phpipam.subnets = many_subnets(number)
            both(site, f"{number:,} subnets /30", number)
        if numbers:
            return
        site.phpipam.subnets = [subnet(10, "127.32.0.0/16", discoverSubnet=0, pingSubnet=1)]
        site.phpipam.addresses = [
            address(100 + at, 10, str(ip_address(int(ip_address("127.32.0.1")) + at))) for at in range(KNOWN)
        ]
        both(site, f"a /16 with {KNOWN:,} known addresses", KNOWN)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
