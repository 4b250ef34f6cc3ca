"""The real nmap accepts the arguments, on loopback."""

import os
import subprocess

import nmap
import pytest

from phpipam_scan_agent.scan import probes
from phpipam_scan_agent.scan.probes import Probes

VERSION: tuple[int, int] = nmap.PortScanner().nmap_version()


def scan(targets: str, version: int = 4, kinds: Probes = Probes.DEFAULT) -> subprocess.CompletedProcess[str]:
    line = probes.discovery(VERSION, raw=os.geteuid() == 0, version=version, rate=1000, kinds=kinds)
    return subprocess.run(("nmap", *line), input=targets, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("targets", "version"), [("127.0.3.4/30\n", 4), ("::1\n", 6)])
def test_the_targets_on_stdin_are_scanned_and_no_ports(targets: str, version: int) -> None:
    done = scan(targets, version)

    assert done.stderr == ""
    up = [line for line in done.stdout.splitlines() if 'state="up"' in line]
    assert len(up) == (4 if version == 4 else 1)
    assert 'exit="success"' in done.stdout
    assert "<port" not in done.stdout


def test_no_names_are_looked_up() -> None:
    assert 'type="PTR"' not in scan("127.0.0.1\n").stdout


@pytest.mark.parametrize("kinds", Probes)
def test_nmap_knows_the_options_of_every_kind_of_probe(kinds: Probes) -> None:
    assert 'exit="success"' in scan("127.0.3.4\n", kinds=kinds).stdout


def test_ipv6_is_probed_without_a_timestamp_request() -> None:
    assert 'exit="success"' in scan("::1\n", version=6).stdout


@pytest.mark.parametrize("kinds", Probes)
def test_without_raw_sockets_the_kind_of_probe_makes_no_difference(kinds: Probes) -> None:
    line = probes.discovery((7, 94), raw=False, version=4, rate=1000, kinds=kinds)
    assert line == probes.discovery((7, 94), raw=False, version=4, rate=1000, kinds=Probes.DEFAULT)
    assert "--unprivileged" in line


def test_the_option_to_ignore_resets_needs_a_recent_nmap() -> None:
    old = probes.discovery((7, 80), raw=True, version=4, rate=1000, kinds=Probes.IGNORE_RST)
    new = probes.discovery((7, 94), raw=True, version=4, rate=1000, kinds=Probes.IGNORE_RST)
    assert "--discovery-ignore-rst" in new
    assert "--discovery-ignore-rst" not in old
    assert old[-2:] == ("-PE", "-PP")


def test_a_rate_below_one_packet_a_second_is_a_ceiling() -> None:
    line = probes.discovery((7, 80), raw=True, version=4, rate=0.25, kinds=Probes.DEFAULT)
    assert line[line.index("--max-rate") + 1] == "0.250"
