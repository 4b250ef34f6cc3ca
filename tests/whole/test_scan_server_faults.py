"""Runs with faults of the Scan Server and of the disk: each report is sent, kept or named."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import request_limits
from forked import ForkedSite
from reports import files_below
from stand_ins.https import Answer, as_json
from stand_ins.phpipam import subnet
from stand_ins.site import Site

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")


def run_agent(site: Site, before: str) -> "subprocess.CompletedProcess[str]":
    """Run the agent in a mount namespace, after a shell command there."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh", *request_limits.command(site)],
        env=request_limits.environment(site),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def two(site: ForkedSite) -> ForkedSite:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    return site


def spooled(site: Site) -> list[Path]:
    return sorted((site.folder / "state" / "spool").glob("*.json"))


def sent(site: Site) -> list[str]:
    return sorted(each["scan"]["subnet"] for each in site.scan_server.reports)


def test_reports_survive_a_server_outage_and_are_sent_by_the_next_run(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    done = two.run_once("--format", "json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "reports kept for the next run: 2, with 4 hosts of 127.0.2" in line
    assert "HTTP 503" in line
    summary = json.loads(done.stdout)
    assert [(row["uploaded"], row["waiting"]) for row in summary["subnets"]] == [(False, True)] * 2
    assert len(spooled(two)) == 2
    assert len(two.server.requests) == 1

    two.scan_server.instead = None
    done = two.run_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(two) == ["127.0.20.0/30"] * 2 + ["127.0.21.0/30"] * 2
    assert spooled(two) == []


def test_a_wrong_token_is_named_and_loses_no_report(two: ForkedSite) -> None:
    right = two.settings["auth_token"]
    two.settings["auth_token"] = "another-token-altogether"
    done = two.run_once()
    assert done.returncode == 1
    assert "HTTP 401: Invalid authorization token; check auth_token" in done.stderr
    assert "another-token-altogether" not in done.stderr
    assert len(spooled(two)) == 2

    two.settings["auth_token"] = right
    assert two.run_once().returncode == 0
    assert len(sent(two)) == 4


def test_a_refused_report_is_named_once_and_the_next_run_succeeds(two: ForkedSite) -> None:
    accept = two.scan_server.answer
    body = {"server": "phpipam-scan-server", "error": "no", "reason": "field", "field": "scan"}
    refusal = as_json(400, body)
    two.server._answer = lambda request: refusal if b'"127.0.20.0/30"' in request.body else accept(request)
    done = two.run_once()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: error: subnet 127.0.20.0/30: Scan Server at ")
    assert sent(two) == ["127.0.21.0/30"]

    two.server._answer = accept
    done = two.run_once()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_dry_run_leaves_waiting_reports(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    two.scan_server.instead = None
    two.settings |= {"spool_max_age": 1, "epoch_time_offset": 86400}
    asked, before = len(two.server.requests), files_below(two.folder / "state")
    done = two.run_once("--dry-run")
    assert done.returncode == 0
    assert len(two.server.requests) == asked
    assert files_below(two.folder / "state") == before


FULL = """
mkdir -p "$STATE_DIRECTORY"
mount -t tmpfs -o mode=700,size=4k,nr_inodes=3 none "$STATE_DIRECTORY"
head -c 4096 /dev/zero > "$STATE_DIRECTORY/full"
"""
READ_ONLY = """
mkdir -p "$STATE_DIRECTORY"
mount --bind "$STATE_DIRECTORY" "$STATE_DIRECTORY"
mount -o remount,bind,ro "$STATE_DIRECTORY"
"""


@as_root
@pytest.mark.parametrize("disk", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_report_that_cannot_be_stored_is_still_sent(two: ForkedSite, disk: str) -> None:
    done = run_agent(two, before=disk)
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(two) == ["127.0.20.0/30", "127.0.21.0/30"]


@as_root
@pytest.mark.parametrize(
    ("disk", "why"),
    [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_report_that_can_be_neither_stored_nor_sent_is_named(two: ForkedSite, disk: str, why: str) -> None:
    two.scan_server.instead = Answer(503, b"busy")
    done = run_agent(two, before=disk)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for network in ("127.0.20.0/30", "127.0.21.0/30"):
        (line,) = [
            line for line in lines if line.startswith(f"phpipam-scan-agent: error: subnet {network}: ")
        ]
        assert (
            f"could be neither kept nor sent: {two.folder}/state/spool cannot keep the report ({why}); "
            in line
        )
        assert "HTTP 503: busy" in line
    assert len(two.server.requests) == 1, "a server that takes nothing is not asked for each report"


@as_root
def test_reports_in_a_read_only_spool_are_sent_once_per_run(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    assert len(spooled(two)) == 2
    two.scan_server.instead = None
    two.server.requests.clear()
    done = run_agent(two, before=READ_ONLY)
    assert len(two.server.requests) == 4
    assert "cannot be removed (Read-only file system); the next run sends it again" in done.stderr
    assert len(spooled(two)) == 2

    assert two.run_once().returncode == 0
    assert spooled(two) == []


@as_root
def test_a_full_cache_folder_costs_time_and_no_report(two: ForkedSite) -> None:
    full = FULL.replace("STATE", "CACHE")
    done = run_agent(two, before=full)
    assert done.returncode == 0
    assert "No space left on device); every run asks phpIPAM" in done.stderr
    assert len(sent(two)) == 2


def test_dropped_reports_are_counted(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    two.settings["spool_max_size"] = spooled(two)[0].stat().st_size * 3 // 2
    done = two.run_once()
    assert done.returncode == 1
    assert done.stderr.count("1 of the oldest reports with 2 hosts are dropped, see spool_max_age and") > 1
    assert len(spooled(two)) == 1


def test_a_report_larger_than_the_spool_is_sent_or_named(two: ForkedSite) -> None:
    two.settings["spool_max_size"] = 1
    assert two.run_once().returncode == 0
    assert len(sent(two)) == 2
    two.scan_server.instead = Answer(503)
    done = two.run_once("--format", "json")
    assert done.returncode == 1
    assert [row["uploaded"] for row in json.loads(done.stdout)["subnets"]] == [False, False]


def test_a_report_that_waits_too_long_is_dropped_and_counted(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    two.scan_server.instead = None
    two.settings["epoch_time_offset"] = 8 * 86400
    done = two.run_once()
    assert "2 of the oldest reports with 4 hosts are dropped, see spool_max_age" in done.stderr
    assert len(sent(two)) == 2
