"""Signals during a run, with real processes."""

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import runs
from forked import ForkedSite
from reports import waiting
from stand_ins.https import Answer
from stand_ins.phpipam import subnet
from stand_ins.site import Site

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

HALF = """
    echo "$targets" | REAL "$@" | sed '/addr="127.0.21.100"/,$d'
    touch REACHED
    sleep 300
"""
"""An nmap that hangs after 99 hosts."""

every_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def two_subnets(site: ForkedSite) -> None:
    """Large enough for a separate nmap each."""
    site.phpipam.subnets = [subnet(10, "127.0.20.0/24"), subnet(11, "127.0.21.0/24")]


def received(site: ForkedSite) -> dict[str, int]:
    """The number of reported hosts of each subnet."""
    scans = [each["scan"] for each in site.scan_server.reports]
    assert len({scan["subnet"] for scan in scans}) == len(scans), "a report came twice"
    return {scan["subnet"]: len(scan["results"]) for scan in scans}


def spooled(site: ForkedSite) -> dict[str, int]:
    """The number of waiting hosts of each subnet."""
    return {str(report.network): len(report.rows) for report in waiting(site.folder / "state")}


def uploading(site: ForkedSite) -> str:
    """The subnet of the first upload; a signal may come while nmap still writes the hosts of the other subnet."""
    scan = json.loads(site.server.requests[0].body)["scan"]
    return str(scan["subnet"])


def is_delivered(site: ForkedSite) -> bool:
    """Whether an upload has ended."""
    return bool(site.scan_server.reports) and not list((site.folder / "state" / "spool").glob("*.json"))


def check_what_is_left(site: ForkedSite) -> None:
    """No process and no temporary file is left, and the cache is complete."""
    assert runs.wait_for(lambda: runs.processes(site) == []), runs.processes(site)
    assert runs.leftovers(site) == []
    cache = site.folder / "cache" / "phpipam.json"
    if cache.exists():
        json.loads(cache.read_text())


def check_the_next_run(site: ForkedSite) -> None:
    site.scan_server.reports.clear()
    site.scan_server.instead = None
    site.environment["PATH"] = site.environment["PATH"].removeprefix(f"{site.folder}/bin:")
    done = site.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert spooled(site) == {}


@every_signal
def test_a_signal_during_a_scan_delivers_finished_results(site: ForkedSite, number: signal.Signals) -> None:
    reached = runs.slow_nmap(site, "127.0.21", "touch REACHED; sleep 300")
    agent = runs.start(site)
    assert runs.wait_for(lambda: reached.exists() and is_delivered(site))
    agent.send_signal(number)

    assert runs.end(agent) == (128 + number, [f"phpipam-scan-agent: error: ended by {number.name}"])
    check_what_is_left(site)
    assert received(site) | spooled(site) == {"127.0.20.0/24": 254}
    check_the_next_run(site)


def test_a_signal_during_a_scan_keeps_the_hosts_found(site: ForkedSite) -> None:
    reached = runs.slow_nmap(site, "127.0.21", HALF)
    site.phpipam.subnets = site.phpipam.subnets[1:]
    agent = runs.start(site)
    assert runs.wait_for(reached.exists)
    agent.terminate()

    status, said = runs.end(agent)
    assert status == 143
    assert said[-1] == "phpipam-scan-agent: error: ended by SIGTERM"
    check_what_is_left(site)
    assert site.scan_server.reports == []
    assert spooled(site) == {"127.0.21.0/24": 99}
    check_the_next_run(site)


def test_a_signal_during_an_upload_keeps_the_report(site: ForkedSite) -> None:
    gate = runs.Gate(site.scan_server.answer, lambda request: True)
    site.server._answer = gate
    agent = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.terminate()

    status, said = runs.end(agent)
    assert status == 143
    assert said[-1] == "phpipam-scan-agent: error: ended by SIGTERM"
    check_what_is_left(site)
    kept = spooled(site)
    assert kept[uploading(site)] == 254
    assert any(f"reports kept for the next run: {len(kept)}" in line for line in said)
    gate.opened.set()
    site.server._answer = site.scan_server.answer
    check_the_next_run(site)


def test_a_signal_during_a_request_to_phpipam_keeps_nothing(site: ForkedSite) -> None:
    gate = runs.Gate(site.phpipam.answer, lambda request: request.path.endswith("/subnets/11/addresses/"))
    site.api._answer = gate
    agent = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.terminate()

    assert runs.end(agent) == (143, ["phpipam-scan-agent: error: ended by SIGTERM"])
    gate.opened.set()
    check_what_is_left(site)
    assert spooled(site) == received(site) == {}
    check_the_next_run(site)


def test_a_signal_ends_the_pause_between_two_tries(site: ForkedSite) -> None:
    site.scan_server.instead = Answer(503, b"", {"Retry-After": "25"})
    agent = runs.start(site, retries=4)
    assert runs.wait_for(lambda: bool(site.server.requests))
    agent.terminate()

    status, said = runs.end(agent)
    assert (status, said[-1]) == (143, "phpipam-scan-agent: error: ended by SIGTERM")
    assert len(site.server.requests) == 1
    assert spooled(site)[uploading(site)] == 254
    check_what_is_left(site)
    check_the_next_run(site)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; the agent gets one for SIGALRM with its first signal."""
    with suppress(FileNotFoundError):
        (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return bool(int(caught, 16) >> (number - 1) & 1)
    return False


def test_further_signals_change_nothing(site: ForkedSite) -> None:
    reached = runs.slow_nmap(site, "127.0.21", "touch REACHED; sleep 300")
    agent = runs.start(site)
    assert runs.wait_for(lambda: reached.exists() and is_delivered(site))
    agent.send_signal(signal.SIGHUP)
    # The kernel may deliver a second signal earlier, by another thread.
    assert runs.wait_for(lambda: agent.poll() is not None or catches(agent.pid, signal.SIGALRM))
    while agent.poll() is None:
        for number in SIGNALS:
            agent.send_signal(number)

    assert runs.end(agent) == (129, ["phpipam-scan-agent: error: ended by SIGHUP"])
    check_what_is_left(site)
    assert received(site) | spooled(site) == {"127.0.20.0/24": 254}


def with_nohup(site: Site) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["nohup", *site.command()],
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_nohup_blocks_sighup_only(site: ForkedSite, number: signal.Signals) -> None:
    gate = runs.Gate(site.scan_server.answer, lambda request: True)
    site.server._answer = gate
    agent = with_nohup(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.send_signal(signal.SIGHUP)
    gate.opened.set()
    status, said = runs.end(agent)
    assert (status, [line for line in said if "nohup" not in line]) == (0, [])
    assert received(site) == {"127.0.20.0/24": 254, "127.0.21.0/24": 254}

    gate = runs.Gate(site.scan_server.answer, lambda request: True)
    site.server._answer = gate
    agent = with_nohup(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.send_signal(number)
    assert runs.end(agent)[0] == 128 + number
    gate.opened.set()


def test_a_signal_during_a_dry_run_keeps_nothing(site: ForkedSite) -> None:
    reached = runs.slow_nmap(site, "127.0.21", HALF)
    agent = runs.start(site, "--dry-run")
    assert runs.wait_for(reached.exists)
    agent.terminate()

    assert runs.end(agent)[0] == 143
    check_what_is_left(site)
    assert spooled(site) == {}
    assert site.server.requests == []


def test_ctrl_c_while_the_program_loads_makes_no_traceback(site: ForkedSite, tmp_path: Path) -> None:
    loading = tmp_path / "modules" / "loading"
    loading.parent.mkdir()
    (loading.parent / "yaml.py").write_text(f"open({str(loading)!r}, 'w'); import time; time.sleep(300)\n")
    slow = site.environment | {"PYTHONPATH": str(loading.parent)}
    with subprocess.Popen(site.command(), env=slow, stderr=subprocess.PIPE, text=True) as agent:
        assert runs.wait_for(loading.exists)
        agent.send_signal(signal.SIGINT)
        _, said = agent.communicate(timeout=runs.LONGEST)
    assert (agent.returncode, said) == (-signal.SIGINT, "")  # the shell's exit code 130


COMPUTING = """
import sys, time
from phpipam_scan_agent.errors import Interrupted
from phpipam_scan_agent.system import signals
signals.GRACE, signals.LAST_RESORT = 0.3, 0.6
signals.install()
print(flush=True)
try:
    while True:
        pass
except Interrupted as error:
    print(error, flush=True)
    if sys.argv[1] == "for ever":
        while True:
            pass
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("clean_up", ["short", "for ever"])
def test_a_signal_ends_a_computation_and_an_endless_clean_up(clean_up: str) -> None:
    command = [sys.executable, "-c", COMPUTING, clean_up]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        said, _ = process.communicate(timeout=runs.LONGEST)

    assert (process.returncode, said) == (143, "ended by SIGTERM\n")
