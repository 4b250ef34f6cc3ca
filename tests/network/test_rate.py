"""max_rate and parallel_scans are limits, and reports do not wait for each other."""

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from lab.agent import run
from lab.network import Network
from stand_ins.phpipam import subnet

pytestmark = pytest.mark.usefixtures("lab")

ROUTED: dict[str, Any] = {"address": "192.0.2.1/24", "gateway": "192.0.2.254", "rtt": 20}


@pytest.mark.parametrize(
    ("like", "prefix", "many", "settings"),
    [
        pytest.param({"loss": 5}, 26, 16, {"max_rate": 800, "parallel_scans": 4}, id="segment"),
        pytest.param(ROUTED, 28, 6, {"max_rate": 300, "parallel_scans": 4}, id="routed, few addresses"),
        pytest.param(ROUTED, 23, 6, {"max_rate": 10000}, id="routed, fast"),
        pytest.param(ROUTED | {"resets": True}, 26, 2, {"max_rate": 500}, id="routed, firewall"),
    ],
)
def test_the_rate_is_never_exceeded(
    like: dict[str, Any], prefix: int, many: int, settings: dict[str, Any]
) -> None:
    subnets = [subnet(1 + number, f"10.77.{2 * number}.0/{prefix}") for number in range(many)]
    with Network(**like) as network:
        run(network, subnets, **settings)
        seen = network.counters()

    ceiling = 1.1 * settings["max_rate"]
    assert seen.packets > ceiling  # otherwise the limit was not reached
    assert seen.peak <= ceiling


class Recorder:
    """An nmap on PATH that records the start and end of each process of the real nmap."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        script = folder / "nmap"
        script.write_text(
            f'#!/bin/sh\necho "$(date +%s.%N) 1" >>{self._log}\n'
            f'{shutil.which("nmap")} "$@"\nstatus=$?\n'
            f'echo "$(date +%s.%N) -1" >>{self._log}\nexit $status\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self.environment = {"PATH": f"{folder}:{os.environ['PATH']}"}

    @property
    def events(self) -> list[tuple[float, int]]:
        """Return times in seconds since the epoch, each with the change of the number of processes."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [(float(when), int(more)) for when, more in lines]

    @property
    def most(self) -> int:
        """Return the maximum number of processes at a time."""
        running = [0]
        for _, more in self.events:
            running.append(running[-1] + more)
        return max(running)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def test_there_are_never_more_nmap_processes_than_parallel_scans(recorder: Recorder) -> None:
    subnets = [subnet(1 + number, f"10.77.{number}.0/24") for number in range(20)]
    with Network() as network:
        live = network.live("10.77.0.0/20") | network.live("10.77.16.0/22")
        done = run(network, subnets, environment=recorder.environment, parallel_scans=2)

    assert recorder.most == 2
    assert done.found() == live - {ip for ip in live if ip.endswith((".0", ".255"))}


def test_a_large_subnet_is_reported_in_parts_while_others_are_scanned(recorder: Recorder) -> None:
    blocks = {1: "10.77.0.0/20", 2: "10.77.128.0/22"}
    with Network() as network:
        live = {number: network.live(block) for number, block in blocks.items()}
        rows = [subnet(*block) for block in blocks.items()]
        # With one process at a time; two would end at the same time.
        done = run(network, rows, arguments=["-v"], environment=recorder.environment, parallel_scans=1)

    assert [report["subnet"] for report in done.reports].count(blocks[1]) > 1
    assert done.arrivals[0] < recorder.events[-1][0]  # when the last nmap ended
    assert {number: done.found(number) for number in blocks} == live
    # The hosts, not the rows: a part that ends during the upload of its block's report is sent together with it.
    assert sum(map(int, re.findall(r"(\d+) hosts up", done.stderr))) == len(done.found())  # each host once
