"""A state folder on a file system without locks, links, modes and owners."""

import subprocess
from pathlib import Path

import pytest

from reports import waiting
from stand_ins.https import Answer
from stand_ins.phpipam import subnet
from stand_ins.site import Site

SOURCE = Path(__file__).parents[1] / "support" / "poor_file_system.c"


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in which the calls that such a file system does not support fail."""
    library = tmp_path_factory.mktemp("poor") / "poor.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def test_reports_are_kept_without_links_owners_modes_locks_and_syncing(site: Site, poor: Path) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    site.scan_server.instead = Answer(401, b"Invalid authorization token")
    for _ in range(2):
        assert site.run(LD_PRELOAD=str(poor)).returncode == 1
        assert [len(report.rows) for report in waiting(site.folder / "state")] == [2]
    site.scan_server.instead = None
    check = site.run("--check", LD_PRELOAD=str(poor))
    assert f"✓ spool folder: {site.folder}/state/spool" in check.stdout
    done = site.run(LD_PRELOAD=str(poor))
    assert done.returncode == 0, done.stderr
    assert len(site.scan_server.reports) == 2
    assert waiting(site.folder / "state") == []
