import os
import sys
from pathlib import Path

import pytest

from executables import fake
from lab.network import Hosts, Namespace
from phpipam_scan_agent.scan import network

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

MACS = """
import socket, sys
from contextlib import suppress
from phpipam_scan_agent.scan import network
for known, silent in zip(sys.argv[1::2], sys.argv[2::2]):
    with suppress(ConnectionRefusedError):
        socket.create_connection((known, 9))
    with socket.socket(socket.AF_INET6 if ":" in silent else socket.AF_INET, socket.SOCK_DGRAM) as to:
        to.sendto(b"", (silent, 9))
print(sorted(f"{link.address} {link.mac} {link.name}" for link in network.own_links()))
print(sorted(f"{ip} {mac}" for ip, mac in network.neighbours().items()))
"""


@needs_root
def test_macs_of_the_machine_and_of_its_neighbours() -> None:
    """On a segment that leads nowhere, a real host that was spoken to, and addresses that nobody has."""
    with (
        Namespace() as here,
        Hosts(here, ["192.0.2.10/24", "2001:db8::10/64"], ["192.0.2.1/24", "2001:db8::1/64"]) as there,
    ):
        ours = here.ip("-brief", "link", "show", there.device).split()[2].upper()
        theirs = there.mac
        targets = ("192.0.2.10", "192.0.2.77", "2001:db8::10", "2001:db8::77")
        own, neighbours = here.run([sys.executable, "-c", MACS, *targets]).stdout.splitlines()
    assert f"192.0.2.1/24 {ours} {there.device}" in own
    assert f"2001:db8::1/64 {ours} {there.device}" in own
    assert "127.0.0.1" not in own
    assert f"192.0.2.10 {theirs}" in neighbours
    assert f"2001:db8::10 {theirs}" in neighbours
    assert ":77" not in neighbours.replace(".", ":")


def test_without_iproute_there_are_no_macs_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert network.own_links() == []
    assert network.neighbours() == {}


@pytest.mark.parametrize("script", ["exit 1", "echo '[{]'", "echo; echo no JSON", "true"])
def test_an_ip_that_speaks_no_json_costs_the_macs_alone(script: str, path: Path) -> None:
    fake(path, script).rename(path / "ip")
    assert network.own_links() == []
    assert network.neighbours() == {}
