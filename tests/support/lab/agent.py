"""Run the installed agent in a separate process, in a network without a route out."""

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
"""Prefix of a command: an ordinary user runs it."""

NOBODY_WITH_RAW = (*_AS_NOBODY, "-all,+net_raw", "--ambient-caps", "-all,+net_raw")
"""The same with CAP_NET_RAW, as a systemd unit gives it."""


@dataclass(frozen=True)
class Run:
    """The results of a run."""

    status: int
    stderr: str
    seconds: float
    memory: float
    """Peak memory of the agent's own process in MiB."""
    cpu: float
    """CPU seconds of the agent and its nmap processes."""
    reports: list[dict[str, Any]]
    arrivals: list[float]
    """Arrival times of the Scan Server's requests in seconds since the epoch."""
    probed: dict[str, int]
    """Number of packets sent to each address, if `watch` was set."""

    @property
    def said(self) -> list[str]:
        """Return the agent's lines on stderr: warnings and errors, steps with -v."""
        return self.stderr.splitlines()

    def rows(self, subnet: int | None = None) -> list[dict[str, Any]]:
        """Return the reported results, with an id only of the subnet with this id."""
        return [
            row
            for report in self.reports
            for row in report["results"]
            if subnet is None or row["subnetId"] == str(subnet)
        ]

    def found(self, subnet: int | None = None) -> set[str]:
        """Return the reported addresses."""
        return {row["ip"] for row in self.rows(subnet)}

    def each(self, field: str) -> dict[str, str]:
        """Return a field by reported address, of addresses with this field."""
        return {row["ip"]: row[field] for row in self.rows() if field in row}

    def probed_in(self, network: str) -> set[str]:
        """Return the addresses of a network to which packets were sent."""
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
    """Run the agent once and return the results; by default at a high rate, which `settings` can change.

    `nameservers` maps loopback addresses to zones, or to None for a silent nameserver; `prefix` is put before the
    command, to change its user; `watch` counts the packets to each address.
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
