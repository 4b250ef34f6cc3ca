"""Measure scans of simulated networks: this agent beside nmap and fping, and the agent's memory.

    .venv-tests/bin/python tests/bench/scanning.py            # 50 subnets in two networks: 10 minutes
    .venv-tests/bin/python tests/bench/scanning.py --memory   # a /20, a /18 and a /16: 1 minute
    .venv-tests/bin/python tests/bench/scanning.py --others   # answers for dead addresses: 3 minutes
    .venv-tests/bin/python tests/bench/scanning.py --sizes    # the same in subnets of four sizes: 5 minutes

Needs root, nmap, fping and gcc; packets go to network namespaces without a route out. Prints Markdown.
"""

import argparse
import ipaddress
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2] / "examples")]

from lab import agent  # noqa: E402
from lab.network import Network, require  # noqa: E402
from stand_ins.phpipam import subnet  # noqa: E402

SUBNETS = tuple(f"10.77.{5 * number}.0/24" for number in range(50))
FEW = 10
"""Number of subnets measured where one nmap after another would take minutes for all."""

NETWORKS: dict[str, dict[str, Any]] = {
    "Same segment, 0.3 ms, no loss": {"rtt": 0.3},
    "Routed, 20 ms, 1 % loss, 20 % of the hosts drop ICMP": {
        "address": "192.0.2.1/24",
        "gateway": "192.0.2.254",
        "rtt": 20,
        "loss": 1,
        "quiet": 20,
    },
}

ROUTED: dict[str, Any] = {"address": "192.0.2.1/24", "gateway": "192.0.2.254", "rtt": 20}

OTHERS: dict[str, dict[str, Any]] = {
    "nobody": ROUTED,
    "a firewall, by RST": ROUTED | {"resets": True},
    "a firewall, by SYN/ACK (SYN proxy)": ROUTED | {"syn_proxy": True},
    "a SYN proxy for 79 % of the dead": ROUTED | {"syn_proxy": True, "share": 79},
    "a firewall, by ICMP echo": ROUTED | {"echoes": True},
    "a router, by ARP (proxy ARP)": {"proxy_arp": True},
    "a router, by ARP, for 79 % of the dead": {"proxy_arp": True, "share": 79},
    "nobody, hosts drop ICMP": ROUTED | {"quiet": 100},
    "the same, inside the interface's prefix": {
        "address": "10.77.255.254/16",
        "gateway": "10.77.255.253",
        "rtt": 20,
        "quiet": 100,
    },
}
"""The answerers for dead addresses; in the last row a more specific route leads through the router."""

Scanned = tuple[set[str], float]
"""The addresses that are up, and the seconds of the scan."""

Scan = Callable[[Network, Sequence[str]], Scanned]
"""Scans subnets of a network."""


@dataclass(frozen=True)
class Measured:
    """The result of a scan."""

    seconds: float
    missed: int
    false: int
    """Dead addresses that were reported as live."""
    packets: int
    peak: int
    """The largest number of packets in one second."""


def one_after_another(network: Network, subnets: Sequence[str]) -> Scanned:
    """Scan like the Ansible collection: an nmap for each subnet, with its defaults."""
    return _shell(network, (_nmap(block) for block in subnets))


def all_in_one(network: Network, subnets: Sequence[str]) -> Scanned:
    return _shell(network, [_nmap(" ".join(subnets))])


def by_hand(network: Network, subnets: Sequence[str]) -> Scanned:
    return _shell(network, [*(_nmap(f"--min-rate 200 {block}") + " &" for block in subnets), "wait"])


def fping(network: Network, subnets: Sequence[str]) -> Scanned:
    # One for all: -g takes a single network. 1 ms between two packets is the least that it allows.
    hosts = "".join(f"{ip}\n" for block in subnets for ip in ipaddress.ip_network(block).hosts())
    started = time.monotonic()
    done = network.run(["fping", "-a", "-q", "-r", "1", "-i", "1"], input=hosts)
    return set(done.stdout.split()), time.monotonic() - started


def by_agent(max_rate: int = 2000) -> Scan:
    def scan(network: Network, subnets: Sequence[str]) -> Scanned:
        rows = [subnet(1 + at, block) for at, block in enumerate(subnets)]
        done = agent.run(network, rows, max_rate=max_rate)
        if done.status or done.stderr:
            sys.exit(f"the agent ended with status {done.status}: {done.stderr}")
        return done.found(), done.seconds

    return scan


ROWS: dict[str, tuple[Scan, int]] = {  # and the number of measurements; the median is shown
    "one nmap after another (the original agent's way)": (one_after_another, 1),
    "fping, retries 1, one for all": (fping, 1),
    "one nmap for all, defaults": (all_in_one, 1),
    "50 nmap at once, each --min-rate 200": (by_hand, 5),
    "**the agent, max_rate 10000**": (by_agent(10000), 5),
    "**the agent, defaults (max_rate 2000)**": (by_agent(), 1),
}


def _nmap(arguments: str) -> str:
    return f"nmap -sn -n -oG - {arguments}"


def _shell(network: Network, lines: Iterable[str]) -> Scanned:
    with tempfile.TemporaryFile("w+") as output:
        script = "\n".join(lines)
        started = time.monotonic()
        network.run(["sh", "-ec", script], capture_output=False, stdout=output)
        seconds = time.monotonic() - started
        output.seek(0)
        return {line.split()[1] for line in output if line.endswith("Status: Up\n")}, seconds


def measure(network: Network, scan: Scan, subnets: Sequence[str]) -> Measured:
    """Scan once and compare with the live hosts."""
    live = set().union(*(network.live(block) for block in subnets))
    ends = set().union(*(network.live(block, ends=True) for block in subnets)) - live
    network.counters()
    found, seconds = scan(network, subnets)
    seen = network.counters()
    if not seen.kept_up:
        sys.exit("the simulator could not keep up; this measurement is worth nothing")
    # Network and broadcast addresses answer, and nmap probes them as well: not counted.
    return Measured(seconds, len(live - found), len(found - live - ends), seen.packets, seen.peak)


def compare(title: str, like: dict[str, Any], times: int | None) -> None:
    """Print the table of one network."""
    with Network(**like) as network:
        live = sum(len(network.live(block)) for block in SUBNETS)
        print(f"### {title}\n\n50 subnets /24, {live} hosts live.\n")
        print("| | time | times as fast | found | false | packets | most in a second |")
        print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
        sequential = 0.0
        for name, (scan, often) in ROWS.items():
            some = FEW if scan is one_after_another and network.gateway else len(SUBNETS)
            runs = [measure(network, scan, SUBNETS[:some]) for _ in range(times or often)]
            scale = len(SUBNETS) / some
            seconds = scale * statistics.median(run.seconds for run in runs)
            sequential = sequential or seconds
            here = live if scale == 1 else sum(len(network.live(block)) for block in SUBNETS[:some])
            found = 100 * (1 - max(run.missed for run in runs) / here)
            print(
                f"| {name}{'' if scale == 1 else f' ({some} subnets, times {scale:.0f})'}"
                f" | {seconds:.1f} s | {sequential / seconds:.1f} | {found:.1f} %"
                f" | {max(run.false for run in runs)}"
                f" | {scale * statistics.median(run.packets for run in runs):,.0f}"
                f" | {max(run.peak for run in runs):,} |",
                flush=True,
            )
    print()


def others() -> None:
    """Print the hosts found where others answer for dead addresses, by nmap's defaults and by the agent."""
    block = "10.77.5.0/24"
    print("### What answers for others\n\nA /24; nmap with its defaults, the agent with max_rate 2000.\n")
    print("| who answers for dead addresses | live | by | found | false | packets | time | warned |")
    print("|---|--:|---|--:|--:|--:|--:|---|", flush=True)
    for name, like in OTHERS.items():
        for alive in (5, 40, 90, 95):
            with Network(**like, alive=alive, loss=1) as network:
                if network.gateway and ipaddress.ip_address(network.gateway) in network.address.network:
                    network.ip("route", "add", block, "via", network.gateway)
                live = len(network.live(block))
                warned: list[str] = []

                def agent_(network: Network, subnets: Sequence[str], warned: list[str] = warned) -> Scanned:
                    done = agent.run(network, [subnet(1, subnets[0])], max_rate=2000)
                    warned += done.said
                    return done.found(), done.seconds

                for by, scan in (("nmap", all_in_one), ("**agent**", agent_)):
                    seen = measure(network, scan, [block])
                    print(
                        f"| {name} | {live} | {by} | {live - seen.missed} | {seen.false} | {seen.packets:,}"
                        f" | {seen.seconds:.1f} s | {'yes' if warned else 'no'} |",
                        flush=True,
                    )
    print()


def sizes() -> None:
    """Print the agent's hosts in subnets of four sizes where others answer for dead addresses."""
    blocks = {"/29": "10.77.2.0/29", "/28": "10.77.1.0/28", "/24": "10.77.5.0/24", "/20": "10.77.16.0/20"}
    print(
        "### What answers for others, by size of the subnet\n\nmax_rate 10000; found, of live, and false.\n"
    )
    print("| who answers for dead addresses | of the dead | live | loss", *blocks, sep=" | ", end=" |\n")
    print("|---|--:|--:|--:|" + "---|" * len(blocks), flush=True)
    answerers = [
        name for name in OTHERS if name.startswith("a firewall, ") or name == "a router, by ARP (proxy ARP)"
    ]
    cases = itertools.product(answerers, (5, 40, 90), ((0, 100), (5, 100), (5, 79)))
    for name, alive, (loss, share) in cases:
        with Network(**OTHERS[name], alive=alive, loss=loss, share=share) as network:
            # The kernel's neighbour table, which is asked behind proxy ARP, makes a /20 take two minutes there.
            some = {size: block for size, block in blocks.items() if size != "/20" or network.gateway}
            done = agent.run(network, [subnet(1 + at, block) for at, block in enumerate(some.values())])
            if done.status or not network.counters().kept_up:
                sys.exit(f"the agent or the simulator failed: {done.stderr}")
            cells = []
            for at, block in enumerate(some.values()):
                live, found = network.live(block), done.found(1 + at)
                cells.append(f"{len(found & live):,} of {len(live):,}, {len(found - live)}")
            print(f"| {name} | {share} % | {alive} % | {loss} %", *cells, sep=" | ", end=" |\n", flush=True)
    print()


def memory() -> None:
    """Print the agent's memory for networks of growing size, with half of their addresses live."""
    print(
        "### Memory of the agent's own process\n\nSame segment, every second address live, max_rate 10000.\n"
    )
    print("| subnet | hosts found | live | memory | time | CPU, nmap's included | reports |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    with Network("10.78.255.254/15", alive=50) as network:
        for block in ("10.78.0.0/24", "10.78.0.0/20", "10.78.0.0/18", "10.78.0.0/16"):
            live = network.live(block)
            done = agent.run(network, [subnet(1, block)])
            print(
                f"| /{block[-2:]} | {len(done.found() & live):,} | {len(live):,} | {done.memory:.0f} MiB"
                f" | {done.seconds:.1f} s | {done.cpu:.1f} s | {len(done.reports)} |",
                flush=True,
            )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measure the memory instead")
    parser.add_argument("--others", action="store_true", help="measure answers for dead addresses instead")
    parser.add_argument("--sizes", action="store_true", help="the same by size of the subnet")
    parser.add_argument("--times", type=int, help="measure each row so often")
    options = parser.parse_args()
    try:
        require()
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(str(missing))
    version = next(iter(os.popen("nmap --version")), "").partition(" ( ")[0]
    print(f"{version}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start\n")
    if options.memory:
        memory()
    elif options.others:
        others()
    elif options.sizes:
        sizes()
    else:
        for title, like in NETWORKS.items():
            compare(title, like, options.times)


if __name__ == "__main__":
    main()
