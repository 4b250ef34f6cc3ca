"""One run at a time for a cache folder. The other run is a real process, since the kernel keeps the lock."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from phpipam_scan_agent.errors import LockedError
from phpipam_scan_agent.system import lock
from stand_ins.phpipam import subnet
from stand_ins.site import Site

HOLD = """
import subprocess, sys
from pathlib import Path
from phpipam_scan_agent.system import lock
with lock.held(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
    child.wait()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "lock"


@contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process with the lock and a child, until its end or the end of the block."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        child = int(process.stdout.readline())
        yield process
        process.stdin.close()
        if process.wait() < 0:
            os.kill(child, signal.SIGKILL)


def is_free(path: Path) -> bool:
    try:
        with lock.held(path):
            return True
    except LockedError:
        return False


def test_a_second_run_ends_with_pid_and_start_of_the_first(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    path = site.folder / "cache" / "lock"
    before = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    with holder(path) as other:
        done = site.run()
    after = datetime.now(timezone.utc).replace(tzinfo=None)

    assert (done.returncode, done.stdout) == (75, "")
    (line,) = done.stderr.splitlines()
    said = re.fullmatch(
        r"phpipam-scan-agent: error: another run is in progress since ([\d-]+ [\d:]+), pid (\d+); this run ends",
        line,
    )
    assert said, line
    assert int(said[2]) == other.pid
    assert before <= datetime.fromisoformat(said[1]) <= after
    assert site.api.connections == site.server.connections == 0
    assert site.run().returncode == 0


def test_an_unlocked_lock_file_is_taken(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"pid": 1, "since": 1790000000.0}')
    assert is_free(path)


def test_the_lock_is_released_after_the_run(path: Path) -> None:
    with holder(path):
        assert not is_free(path)
    assert is_free(path)
    assert is_free(path)


def test_sigkill_of_the_run_releases_the_lock_though_a_child_lives(path: Path) -> None:
    with holder(path) as other:
        other.kill()
        other.wait()
        assert is_free(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\0",
        b"[1]",
        b"{}",
        b'{"pid": 1}',
        b'{"pid": null, "since": 1}',
        b'{"pid": 1, "since": 1e400}',
        b'{"pid": 1, "since": -1e15}',
        b'{"pid": "x", "since": "yesterday"}',
        b"[" * 100_000,
    ],
    ids=lambda content: str(content[:30]),
)
def test_a_damaged_lock_file_still_locks(content: bytes, path: Path) -> None:
    with holder(path):
        path.write_bytes(content)
        with pytest.raises(LockedError) as refused, lock.held(path):
            pass
        assert str(refused.value) == "another run is in progress; this run ends"
    assert is_free(path)


def test_the_lock_file_contains_pid_and_start_only(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("x" * 1000)
    with holder(path) as other:
        said = path.read_text()
    assert re.fullmatch(rf'{{"pid": {other.pid}, "since": [\d.]+}}', said)


def test_a_new_lock_file_is_private_to_its_owner(path: Path) -> None:
    assert is_free(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_unwritable_folder_is_a_warning(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    (site.folder / "file").touch()
    done = site.run(CACHE_DIRECTORY=str(site.folder / "file" / "cache"))

    assert done.returncode == 0
    assert f"warning: {site.folder}/file/cache/lock cannot be opened (" in done.stderr
    assert "a second run could start at the same time" in done.stderr
    assert len(site.scan_server.reports) == 1


def test_two_cache_folders_are_two_locks(tmp_path: Path) -> None:
    with holder(tmp_path / "one" / "lock"):
        assert is_free(tmp_path / "two" / "lock")
