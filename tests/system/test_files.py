"""Only regular files are read, up to a limit, and files are replaced atomically."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leftovers import half_written
from phpipam_scan_agent.system import files
from stand_ins.phpipam import subnet
from stand_ins.site import Site


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert files.read(tmp_path / "file", 100) == b"x" * 100
    with pytest.raises(OSError, match="it has more than 99 bytes"):
        files.read(tmp_path / "file", 99)


def test_a_special_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "symlink").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo", tmp_path / "symlink", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
            files.read(path, 100)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cache/lock", "lock cannot be opened (it is not a regular file); a second run could start"),
        (
            "cache/phpipam.json",
            "phpipam.json cannot be read (it is not a regular file); asking phpIPAM again",
        ),
        ("state/spool/000000000001.json", "000000000001.json cannot be read (it is not a regular file)"),
        ("agent.log", "agent.log cannot be written: No such device or address"),
        ("agent.prom", ""),
    ],
)
def test_a_fifo_instead_of_a_file_is_at_most_one_line(name: str, said: str, site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    site.settings["metrics_file"] = str(site.folder / "agent.prom")
    for folder in ("cache", "state", "state/spool"):
        (site.folder / folder).mkdir(mode=0o700)
    os.mkfifo(site.folder / name)
    done = site.run(ANSIBLE_LOG_PATH=str(site.folder / "agent.log"))

    assert len(done.stderr.splitlines()) == bool(said), done.stderr
    assert said in done.stderr
    assert (site.folder / "agent.prom").is_file() == (name != "agent.log")


def test_a_symlink_instead_of_the_metrics_file_is_replaced(site: Site) -> None:
    target = site.folder / "target"
    target.touch(mode=0o600)
    (site.folder / "agent.prom").symlink_to(target)
    site.settings["metrics_file"] = str(site.folder / "agent.prom")
    site.run("-q")

    assert "last_run_exit_code" in (site.folder / "agent.prom").read_text()
    assert not (site.folder / "agent.prom").is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("", 0o600)


def test_a_cache_file_is_read_up_to_a_limit(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    (site.folder / "cache").mkdir(mode=0o700)
    with (site.folder / "cache" / "phpipam.json").open("wb") as cache:
        cache.truncate(1 << 40)
    done = site.run()

    assert done.returncode == 0
    assert (
        "phpipam.json cannot be read (it has more than 67,108,864 bytes); asking phpIPAM again" in done.stderr
    )


def test_a_temporary_file_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    half_written(tmp_path / "1.json")
    files.clean(tmp_path / "*.json")
    assert os.listdir(tmp_path) == []


def test_a_temporary_file_with_the_own_pid_is_removed(tmp_path: Path) -> None:
    half_written(tmp_path / "1.json", os.getpid())
    files.clean(tmp_path / "*.json")
    assert os.listdir(tmp_path) == []


def test_a_temporary_file_of_a_living_process_stays(tmp_path: Path) -> None:
    kept = half_written(tmp_path / "1.json", os.getppid())
    half_written(tmp_path / "2.json")
    files.clean(tmp_path / "*.json")
    assert os.listdir(tmp_path) == [kept.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a pid namespace")
def test_temporary_files_of_an_earlier_run_with_pid_1_are_removed(tmp_path: Path) -> None:
    clean = "import sys; from pathlib import Path; from phpipam_scan_agent.system import files"
    clean += "; files.clean(Path(sys.argv[1]))"
    half_written(tmp_path / "1.json", 1)
    subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", clean, str(tmp_path / "1.json")],
        check=True,
    )
    assert os.listdir(tmp_path) == []
