"""Run the agent as its users do, as a process of its own, in a network that leads nowhere."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from stand_ins.phpipam import Row

from .network import Namespace

SUPPORT = Path(__file__).parents[1]
INSIDE = Path(__file__).with_name("inside.py")
PYTHONPATH = os.pathsep.join((str(SUPPORT), str(SUPPORT.parents[1] / "examples")))

_AS_NOBODY = ("setpriv", "--reuid", "nobody", "--clear-groups", "--inh-caps")

NOBODY = (*_AS_NOBODY, "-all", "--ambient-caps", "-all")
"""Before a command: an ordinary user runs it."""

NOBODY_WITH_RAW = (*_AS_NOBODY, "-all,+net_raw", "--ambient-caps", "-all,+net_raw")
"""The same with CAP_NET_RAW, as a systemd unit gives it."""


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    status: int
    stderr: str
    seconds: float
    memory: float
    """The largest amount that the agent's own process had, MiB."""
    cpu: float
    """Seconds of the agent, its nmap processes and nobody else."""
    reports: list[dict[str, Any]]
    arrivals: list[float]
    """When each request came to the Scan Server, in seconds since the epoch."""
    probed: dict[str, int]
    """How many packets each address was sent, if that was watched."""

    @property
    def said(self) -> list[str]:
        """Return the lines that the agent wrote to stderr: its warnings and errors, steps with -v."""
        return self.stderr.splitlines()

    def rows(self, subnet: int | None = None) -> list[dict[str, Any]]:
        """Return what was reported, of one of phpIPAM's subnets only if its id is given."""
        return [
            row
            for report in self.reports
            for row in report["results"]
            if subnet is None or row["subnetId"] == str(subnet)
        ]

    def found(self, subnet: int | None = None) -> set[str]:
        """Return the addresses that were reported."""
        return {row["ip"] for row in self.rows(subnet)}

    def each(self, field: str) -> dict[str, str]:
        """Return a field of each address that was reported with it."""
        return {row["ip"]: row[field] for row in self.rows() if field in row}

    def probed_in(self, network: str) -> set[str]:
        """Return the addresses of a network that were sent packets."""
        block = ip_network(network)
        return {ip for ip in self.probed if ip_address(ip) in block}


def run(
    namespace: Namespace,
    subnets: Sequence[Row],
    *,
    addresses: Iterable[Row] = (),
    nameservers: Mapping[str, Sequence[str] | None] | None = None,
    arguments: Sequence[str] = (),
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    watch: bool = False,
    **settings: object,
) -> Run:
    """Run the agent once and return what came of it; it scans fast unless `settings` say otherwise.

    `nameservers` are zones by the loopback address they are served at, None for one that is silent; `prefix`
    goes before the command, to change who runs it; `watch` records which addresses are sent packets.
    """
    site = {
        "subnets": list(subnets),
        "addresses": list(addresses),
        "nameservers": nameservers or {},
        "arguments": list(arguments),
        "prefix": list(prefix),
        "environment": environment or {},
        "watch": watch,
        "settings": {"max_rate": 10000} | settings,
    }
    done = namespace.run(
        [sys.executable, str(INSIDE)],
        input=json.dumps(site),
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return Run(**json.loads(done.stdout))
