"""SIGKILL at many moments of a run, and parallel runs."""

import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

import runs
from forked import ForkedSite
from leftovers import half_written
from phpipam_scan_agent.delivery import UPLOADS
from phpipam_scan_agent.delivery.spool_file import decode
from phpipam_scan_agent.models import Report
from reports import waiting
from stand_ins.https import Answer
from stand_ins.phpipam import address, subnet

KILLS = 30
SEED = 20261124
NETWORKS = [f"127.0.{n}.0/24" for n in range(20, 23)]
HOSTS = 254


def reports_of(site: ForkedSite) -> list[Report]:
    return waiting(site.folder / "state")


def told(report: Report) -> set[tuple[str, str, int | None]]:
    return {(str(row.ip), row.seen.strftime("%Y-%m-%d %H:%M:%S"), row.id) for row in report.rows}


def heard(site: ForkedSite, since: int) -> list[set[tuple[str, str, int | None]]]:
    """The rows of each report that the server received."""
    scans = [each["scan"] for each in site.scan_server.reports[since:]]
    return [{(row["ip"], row["lastSeen"], row.get("id")) for row in scan["results"]} for scan in scans]


def check_files(site: ForkedSite) -> None:
    """Temporary files are hidden; files with a final name are complete."""
    for path in (site.folder / "state").rglob("*.json"):
        if not path.name.startswith("."):
            decode(path.read_bytes())
            assert path.stat().st_mode & 0o777 == 0o600
    cache = site.folder / "cache" / "phpipam.json"
    if cache.exists():
        assert json.loads(cache.read_text())["answers"]


def killed(site: ForkedSite, seconds: float) -> float:
    """Run the agent without the cache, kill it after `seconds`, and return its duration."""
    began = time.monotonic()
    agent = runs.start(site, "--refresh")
    try:
        agent.wait(seconds)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()
    return time.monotonic() - began


def check_truth(site: ForkedSite) -> None:
    """Every report is complete, and repeated reports of a scan are equal."""
    known: dict[tuple[str, str, int], dict[str, Any]] = {}
    for each in site.scan_server.reports:
        scan = each["scan"]
        assert len({row["ip"] for row in scan["results"]}) == len(scan["results"]) == HOSTS
        (seen,) = {row["lastSeen"] for row in scan["results"]}
        (id_,) = (row["id"] for row in scan["results"] if "id" in row)
        assert known.setdefault((scan["subnet"], seen, id_), scan) == scan


def test_sigkill_at_any_moment_loses_no_report_and_damages_no_file(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10 + n, network) for n, network in enumerate(NETWORKS)]
    site.settings["max_rate"] = 20_000
    chance = random.Random(SEED)
    seen: Counter[str] = Counter()
    whole = 0.0  # duration of a run that is not killed, under the present load
    for turn in range(KILLS + 1):
        # phpIPAM has other ids in each turn, which distinguish the reports of the turns.
        site.phpipam.addresses = [
            address(1000 * (turn + 1) + n, 10 + n, network.replace("0/24", "1"))
            for n, network in enumerate(NETWORKS)
        ]
        away = chance.random() < 0.5
        site.scan_server.instead = Answer(503) if away else None
        before = len(site.scan_server.reports)
        if turn == 0:
            whole = killed(site, runs.LONGEST)
        else:
            killed(site, whole * chance.uniform(0.1, 1.1))

        check_files(site)
        assert runs.wait_for(lambda: runs.processes(site) == []), runs.processes(site)
        left = reports_of(site)
        sent = heard(site, before)
        seen["spooled"] += bool(left)
        seen["sent"] += bool(sent)
        seen["half written"] += bool(runs.leftovers(site))
        repeated = [report for report in left if told(report) in sent]
        assert len(repeated) <= UPLOADS, (
            "only a kill between the server's 200 and the removal repeats a report"
        )
        seen["repeated"] += len(repeated)

        site.scan_server.instead = None
        before = len(site.scan_server.reports)
        done = site.run("--subnet", NETWORKS[0])
        assert (done.returncode, done.stderr) == (0, "")
        delivered = heard(site, before)
        for report in left:
            if str(report.network) != NETWORKS[0]:  # its report may have been sent merged with a new one
                assert told(report) in delivered, "what waited is sent whole"
        assert len(delivered) <= len(left) + 1
        assert reports_of(site) == []
        assert runs.leftovers(site) == []
    check_truth(site)
    # Some moments were before the first report, some after it.
    assert 0 < seen["spooled"] < KILLS
    assert 0 < seen["sent"] < KILLS


def test_temporary_files_of_a_killed_run_are_removed(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    for folder, name in (("state/spool", "000000000007.json"), ("cache", "phpipam.json")):
        (site.folder / folder).mkdir(parents=True)
        half_written(site.folder / folder / name)
    assert site.run().returncode == 0
    assert runs.leftovers(site) == []


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux")
def test_sigkill_of_the_agent_ends_nmap(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/24")]
    runs.slow_nmap(site, "127.0.20", "exec sleep 300")
    agent = runs.start(site)
    assert runs.wait_for(lambda: any("sleep 300" in command for command in runs.processes(site)))
    agent.kill()
    agent.communicate()
    assert runs.wait_for(lambda: runs.processes(site) == []), runs.processes(site)


def test_a_report_stays_in_the_spool_during_its_upload(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    gate = runs.Gate(site.scan_server.answer, lambda request: True)
    site.server._answer = gate
    agent = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.kill()
    agent.wait()
    gate.opened.set()
    assert [str(report.network) for report in reports_of(site)] == ["127.0.20.0/30"]


def test_the_second_of_two_parallel_runs_ends(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    gate = runs.Gate(site.scan_server.answer, lambda request: True)
    site.server._answer = gate
    first = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    second = site.run()
    gate.opened.set()

    assert second.returncode == 75
    assert f"pid {first.pid}; this run ends" in second.stderr
    assert runs.end(first) == (0, [])
    assert len(site.scan_server.reports) == 1
    assert site.run().returncode == 0


def test_parallel_runs_send_no_report_twice(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/24")]
    agents = [runs.start(site) for _ in range(5)]
    ends = sorted(runs.end(agent)[0] for agent in agents)
    assert set(ends) <= {0, 75}
    assert len(site.scan_server.reports) == ends.count(0) > 0
    assert reports_of(site) == []


def test_of_runs_that_share_a_spool_one_works_whatever_their_cache_folders(site: ForkedSite) -> None:
    """Runs with different cache folders have different locks, but may share the state folder."""
    site.phpipam.subnets = [subnet(10 + n, network) for n, network in enumerate(NETWORKS)]
    site.scan_server.instead = Answer(503)
    agents = []
    for n in range(3):
        site.environment["CACHE_DIRECTORY"] = str(site.folder / f"cache{n}")
        agents.append(runs.start(site))
    ends = [runs.end(agent)[0] for agent in agents]
    assert set(ends) <= {1, 75}
    assert 1 in ends
    assert sorted(str(report.network) for report in reports_of(site)) == NETWORKS
    assert os.listdir(site.folder / "state") == ["spool"]
