"""The metrics file, for node_exporter's textfile collector and for alert rules."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import runs
from forked import ForkedSite
from phpipam_scan_agent import VERSION
from phpipam_scan_agent.models import Outcome, Summary
from phpipam_scan_agent.output import metrics
from stand_ins.https import Answer
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site

PREFIX = "phpipam_scan_agent_"

Figures = dict[str, float]


SCANNED = {
    f"info {VERSION}": 1,
    "subnet_hosts_up 10 127.0.20.0/30": 2,
    "subnet_hosts_new 10 127.0.20.0/30": 1,
    "subnet_hosts_back 10 127.0.20.0/30": 1,
    "subnet_macs_changed 10 127.0.20.0/30": 0,
    "subnet_hosts_missing 10 127.0.20.0/30": 0,
}


@pytest.fixture(autouse=True)
def metrics_file(site: Site) -> Path:
    """A folder like the collector's."""
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30", discoverSubnet=0)]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]
    path = site.folder / "collector" / "agent.prom"
    path.parent.mkdir()
    site.settings["metrics_file"] = str(path)
    return path


def figures(path: Path) -> Figures:
    """Each sample as Prometheus reads it, under its name without the prefix and its labels' values."""
    found = {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            assert sample.name.startswith(PREFIX)
            labels = [sample.labels[name] for name in sorted(sample.labels)]
            found[" ".join([sample.name.removeprefix(PREFIX), *labels])] = sample.value
    return found


def of_the_run(found: Figures) -> Figures:
    """The samples that do not depend on the machine's speed and clock."""
    return {
        name: value
        for name, value in found.items()
        if not name.endswith(("_timestamp_seconds", "_duration_seconds", "cache_age_seconds"))
        and "scan_seconds" not in name
    }


def test_a_run_without_a_failure(site: Site, metrics_file: Path) -> None:
    began = time.time()
    done = site.run("-q")
    ended = time.time()
    found = figures(metrics_file)

    assert (done.returncode, done.stderr) == (0, "")
    assert of_the_run(found) == {
        "last_run_success": 1,
        "last_run_exit_code": 0,
        "spool_reports": 0,
        "spool_bytes": 0,
        **SCANNED,
        "subnet_uploaded 10 127.0.20.0/30": 1,
        "subnet_waiting 10 127.0.20.0/30": 0,
    }
    assert began <= found["last_success_timestamp_seconds"] == found["last_run_timestamp_seconds"] <= ended
    assert 0 < found["last_run_duration_seconds"] < ended - began
    assert 0 <= found["cache_age_seconds"] < ended - began
    assert 0 <= found["subnet_scan_seconds 10 127.0.20.0/30"] < ended - began


def test_reports_that_wait(site: Site, metrics_file: Path) -> None:
    site.scan_server.token = "another"
    done = site.run()
    (report,) = (site.folder / "state" / "spool").glob("*.json")

    assert done.returncode == 1
    assert of_the_run(figures(metrics_file)) == {
        "last_run_success": 0,
        "last_run_exit_code": 1,
        "spool_reports": 1,
        "spool_bytes": report.stat().st_size,
        **SCANNED,
        "subnet_uploaded 10 127.0.20.0/30": 0,
        "subnet_waiting 10 127.0.20.0/30": 1,
    }


def test_a_run_that_ends_before_the_first_scan(site: Site, metrics_file: Path) -> None:
    site.phpipam.token = "another"
    done = site.run()

    assert done.returncode == 1
    assert of_the_run(figures(metrics_file)) == {
        "last_run_success": 0,
        "last_run_exit_code": 1,
        "spool_reports": 0,
        "spool_bytes": 0,
        f"info {VERSION}": 1,
    }
    assert figures(metrics_file)["last_success_timestamp_seconds"] == 0


def test_a_machine_without_nmap(site: Site, metrics_file: Path) -> None:
    done = runs.without("nmap", site)

    assert done.returncode == 2
    assert "nmap is not installed" in done.stderr
    assert site.api.requests == site.server.requests == []
    assert figures(metrics_file)["last_run_exit_code"] == 2


def test_a_user_without_a_home_gets_one_line(site: Site) -> None:
    """Without a home there is no state folder whose reports could be counted."""
    program = (
        "import os, sys; os.geteuid = lambda: 61234; os.path.expanduser = lambda path: path;"
        "from phpipam_scan_agent.__main__ import main; sys.exit(main())"
    )
    del site.environment["HOME"], site.environment["STATE_DIRECTORY"]
    done = subprocess.run(
        [sys.executable, "-c", program, *site.command()[1:]],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    problem = "the user has no home for a state folder; set HOME or STATE_DIRECTORY"
    assert (done.returncode, done.stderr) == (2, f"phpipam-scan-agent: error: {problem}\n")


def test_the_last_success_is_kept_while_runs_fail(site: Site, metrics_file: Path) -> None:
    site.run()
    before = figures(metrics_file)
    site.phpipam.instead["*"] = Answer(500, b"down")
    site.forget()
    runs = [site.run("--refresh").returncode for _ in range(2)]
    failed = figures(metrics_file)
    site.phpipam.instead.clear()
    site.run()
    again = figures(metrics_file)

    assert runs == [1, 1]
    success, run = "last_success_timestamp_seconds", "last_run_timestamp_seconds"
    assert failed[success] == before[success] < failed[run] < again[run] == again[success]


def test_a_success_in_the_future_counts_as_of_now(tmp_path: Path) -> None:
    path = tmp_path / "agent.prom"
    for exit_code, ended in ((0, 2e9), (1, 1e9), (1, 1e9 + 900)):
        metrics.write(path, Summary(), exit_code, began=ended - 1, ended=ended, spool=(0, 0))

    assert figures(path)["last_success_timestamp_seconds"] == 1e9


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no metrics at all\n",
        b'phpipam_scan_agent_last_success_timestamp_seconds{a="\n',
        b"phpipam_scan_agent_last_success_timestamp_seconds\n",
        b"# TYPE phpipam_scan_agent_last_success_timestamp_seconds gauge\n",
        b"# TYPE\n#  HELP\n{} 1\n",
        b"phpipam_scan_agent_last_success_timestamp_seconds never\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.prom"
    path.write_bytes(content)
    metrics.write(path, Summary(), exit_code=1, began=1e9 - 1, ended=1e9, spool=(0, 0))

    assert figures(path)["last_run_timestamp_seconds"] == 1e9
    assert figures(path)["last_success_timestamp_seconds"] == 0


def test_subnets_with_the_same_network_differ_in_their_ids(site: Site, metrics_file: Path) -> None:
    site.phpipam.subnets.append(subnet(12, "127.0.20.0/30", vrfId=7))
    site.run()
    found = figures(metrics_file)

    assert found["subnet_hosts_up 10 127.0.20.0/30"] == found["subnet_hosts_up 12 127.0.20.0/30"] == 2


def test_the_file_is_world_readable_with_any_umask(site: Site, metrics_file: Path) -> None:
    before = os.umask(0o077)
    try:
        site.run()
    finally:
        os.umask(before)

    assert metrics_file.stat().st_mode & 0o777 == 0o644


def test_the_file_is_replaced_atomically(site: Site, metrics_file: Path) -> None:
    site.run()
    with metrics_file.open() as old:
        site.run()
        kept = old.read()

    assert os.path.samefile(metrics_file, metrics_file.parent / "agent.prom")
    assert kept.endswith("\n")
    assert kept != metrics_file.read_text(), "the old file was not written into, a new one took its place"
    assert list(metrics_file.parent.iterdir()) == [metrics_file]


@pytest.mark.parametrize("place", ["nowhere/agent.prom", "ca.pem/agent.prom"])
def test_a_file_that_cannot_be_written_is_a_warning(site: Site, place: str) -> None:
    path = site.folder / place
    site.settings["metrics_file"] = str(path)
    done = site.run()

    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "raw sockets" not in line]
    assert line.startswith(f"phpipam-scan-agent: warning: metrics_file: {path} cannot be written: ")
    assert len(site.scan_server.reports) == 1


def test_a_locked_out_run_does_not_change_the_file(site: Site, metrics_file: Path) -> None:
    site.run()
    before = metrics_file.read_text()
    with (site.folder / "cache" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = site.run()

    assert done.returncode == 75
    assert metrics_file.read_text() == before


@pytest.mark.parametrize("options", [("--check",), ("--help",)])
def test_other_commands_do_not_change_the_file(
    site: Site, metrics_file: Path, options: tuple[str, ...]
) -> None:
    assert site.run(*options).returncode == 0
    assert not metrics_file.exists()


def test_a_dry_run_does_not_count_as_success(site: Site, metrics_file: Path) -> None:
    site.run("--dry-run")

    assert not metrics_file.exists() or figures(metrics_file)["last_success_timestamp_seconds"] == 0


def test_secrets_in_phpipams_rows_are_masked(site: Site, metrics_file: Path) -> None:
    rows = [subnet(id_, "127.0.23.0/30") | {"subnet": secret} for id_, secret in enumerate(site.secrets, 13)]
    site.phpipam.subnets += rows
    site.run()
    text = metrics_file.read_text()

    assert text.count('="***/30"') == 8 * len(rows)
    assert [secret for secret in site.secrets if secret in text] == []


@pytest.mark.parametrize(
    ("said", "shown"), [('a"b\\c\nd', 'a"b\\c\\nd'), ("\ud800", "\\ud800"), ("büro\x00", "büro\\x00")]
)
def test_special_characters_of_phpipam_are_escaped(tmp_path: Path, said: str, shown: str) -> None:
    path = tmp_path / "agent.prom"
    summary = Summary((Outcome(said, 13, error="is not a network"),))
    metrics.write(path, summary, exit_code=1, began=1e9 - 1, ended=1e9, spool=(0, 0))

    assert f"subnet_hosts_up 13 {shown}" in figures(path)


def test_a_run_that_is_ended_by_a_signal(site: ForkedSite, metrics_file: Path) -> None:
    gate = runs.Gate(site.phpipam.answer, lambda request: request.path.endswith("/addresses/"))
    site.api._answer = gate
    agent = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.terminate()
    status, said = runs.end(agent)
    gate.opened.set()

    assert said == ["phpipam-scan-agent: error: ended by SIGTERM"]
    assert status == figures(metrics_file)["last_run_exit_code"] == 128 + signal.SIGTERM


def test_the_json_summary_has_the_same_duration(site: Site, metrics_file: Path) -> None:
    (row,) = [row for row in json.loads(site.run("--format", "json").stdout)["subnets"] if row["up"]]

    assert row["seconds"] == pytest.approx(
        figures(metrics_file)["subnet_scan_seconds 10 127.0.20.0/30"], abs=0.001
    )
