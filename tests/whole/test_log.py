"""Logs of the installed command: as JSON, in the journal, and rotated during a run."""

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from forked import ForkedSite
from stand_ins.https import Answer, Request
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site


@pytest.fixture(autouse=True)
def two_subnets(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]


def in_the_middle(site: Site, do: Callable[[], object]) -> None:
    """Call `do` during the run, at the first request for addresses."""
    site.settings["phpipam_connections"] = 1
    answer = site.phpipam.answer

    def and_do(request: Request) -> Answer:
        if request.path.endswith("/10/addresses/"):
            do()
        return answer(request)

    site.api._answer = and_do


# JSON


def as_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a log, one for each line, with times in UTC."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:3] == ["time", "level", "event"]
        when = datetime.fromisoformat(line["time"])
        assert when.utcoffset() == timedelta(0)
        assert abs(datetime.now(timezone.utc) - when) < timedelta(minutes=5)
    return lines


def test_each_line_is_a_json_object_with_its_subnet(site: Site) -> None:
    done = site.run("-v", "--log-format", "json", TZ="America/St_Johns")
    lines = as_objects(done.stderr)
    about = [line for line in lines if "subnet" in line]

    assert (done.returncode, done.stdout) == (0, "")
    assert {line["level"] for line in lines} <= {"info", "warning"}
    for network in ("127.0.20.0/30", "127.0.21.0/30"):
        (up,) = (line for line in about if line["subnet"] == network and "hosts up" in line["event"])
        (sent,) = (line for line in about if line["subnet"] == network and "uploaded" in line["event"])
        assert up["hosts"] == sent["hosts"] == 2
        assert 0 <= up["seconds"] < 60
        assert isinstance(sent["bytes"], int)


def test_the_log_file_has_the_same_format(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    done = site.run("-q", "--log-format", "json", "--log-file", str(log))
    steps = as_objects(log.read_text())

    assert done.stderr == ""
    assert sum(line["event"].startswith("asking phpIPAM for ") for line in steps) >= 4
    assert sorted(line["subnet"] for line in steps if "bytes" in line) == ["127.0.20.0/30", "127.0.21.0/30"]


def test_a_failure_is_a_json_object(site: Site) -> None:
    site.phpipam.token = "another"
    (line,) = as_objects(site.run("--log-format", "json").stderr)

    assert line["level"] == "error"
    assert "Unauthorized; check client_token" in line["event"]


def test_each_configuration_error_is_a_json_object(site: Site) -> None:
    site.settings |= {"http_port": 0, "api_url": "ipam"}
    lines = as_objects(site.run("--log-format", "json").stderr)

    assert [line["event"].split(": ")[1] for line in lines] == ["api_url", "http_port"]


def test_text_lines_of_a_log_file_have_a_time_with_utc_offset(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    site.run("--log-file", str(log), TZ="America/St_Johns")
    lines = log.read_text().splitlines()

    assert lines
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-0[23]:30 (INFO|WARNING)  *\S", line)


# The journal


def with_journal_stream(site: ForkedSite, tmp_path: Path, stream: str, *options: str) -> list[str]:
    """The stderr of a run with a failed subnet, in a file instead of the journal."""
    site.phpipam.subnets[1]["mask"] = ""
    with (tmp_path / "journal").open("w+") as journal:
        found = os.fstat(journal.fileno())
        environment = {"JOURNAL_STREAM": stream.format(found.st_dev, found.st_ino)}
        site.start(*options, stderr=Path(journal.name), environment=environment).wait()
        return journal.read().splitlines()


def test_priorities_reach_the_journal(site: ForkedSite, tmp_path: Path) -> None:
    lines = with_journal_stream(site, tmp_path, "{}:{}", "-v")

    assert {line[:3] for line in lines} >= {"<6>", "<3>"}
    assert {line[:3] for line in lines} <= {"<6>", "<4>", "<3>"}
    assert any(line.startswith("<6>asking phpIPAM for subnets/") for line in lines)
    assert any(line.startswith("<3>subnet 127.0.21.0/: is not a network") for line in lines)


@pytest.mark.parametrize("stream", ["{}:1", "", "{}:{}0"])
def test_another_stderr_than_the_journals_gets_no_priorities(
    site: ForkedSite, tmp_path: Path, stream: str
) -> None:
    (line,) = with_journal_stream(site, tmp_path, stream, "-q")

    assert line.startswith("phpipam-scan-agent: error: subnet 127.0.21.0/: is not a network")


# Rotation


def test_after_rotation_during_a_run_a_new_file_is_used(site: Site, tmp_path: Path) -> None:
    log, old = tmp_path / "agent.log", tmp_path / "agent.log.1"
    in_the_middle(site, lambda: log.rename(old))
    before = os.umask(0)
    try:
        done = site.run("-q", "--log-file", str(log))
    finally:
        os.umask(before)

    assert (done.returncode, done.stderr) == (0, "")
    assert "asking phpIPAM for subnets/10/addresses/" in old.read_text()
    assert "report uploaded" not in old.read_text()
    assert log.read_text().count("report uploaded") == 2
    assert "asking phpIPAM for subnets/10/addresses/" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_file_created_by_logrotate_keeps_its_mode(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"

    def rotate() -> None:
        log.rename(tmp_path / "agent.log.1")
        log.touch()
        log.chmod(0o640)

    in_the_middle(site, rotate)
    site.run("--log-file", str(log))

    assert log.read_text().count("report uploaded") == 2
    assert log.stat().st_mode & 0o777 == 0o640


def test_a_truncated_log_is_continued(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    in_the_middle(site, lambda: os.truncate(log, 0))
    site.run("--log-file", str(log))

    assert b"\0" not in log.read_bytes()
    assert log.read_text().count("report uploaded") == 2


def test_a_log_that_cannot_be_reopened_is_one_warning(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "agent.log"
    log.parent.mkdir()
    in_the_middle(site, lambda: shutil.rmtree(log.parent))
    done = site.run("--log-file", str(log))

    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"phpipam-scan-agent: warning: log file {log} cannot be written: ")
    assert len(site.scan_server.reports) == 2
