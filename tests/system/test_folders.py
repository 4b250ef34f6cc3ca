import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from phpipam_scan_agent.errors import UsageError
from phpipam_scan_agent.system import folders
from stand_ins.phpipam import subnet
from stand_ins.site import Site


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_folder_from_systemd_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/elsewhere")
    assert folders.cache() == Path("/var/cache/elsewhere")


def test_the_first_of_several_folders_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/first:/var/cache/second")
    assert folders.cache() == Path("/var/cache/first")


@pytest.mark.parametrize("given", [None, ""])
def test_without_systemd_root_and_users_have_different_folders(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("CACHE_DIRECTORY", given)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folders.cache() == Path("/var/cache/phpipam-scan-agent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folders.cache() == Path("/home/somebody/.cache/phpipam-scan-agent")


@pytest.fixture(params=[0o000, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_a_private_folder_and_its_missing_parents_have_mode_0700_whatever_the_umask(tmp_path: Path) -> None:
    folders.private(tmp_path / "state" / "spool")
    assert mode(tmp_path / "state") == mode(tmp_path / "state" / "spool") == 0o700


@pytest.mark.parametrize("found", [0o755, 0o750, 0o705])
def test_an_own_folder_that_others_may_only_read_becomes_private(found: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(found)
    folders.private(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("found", [0o777, 0o775, 0o1777, 0o707])
def test_a_folder_with_files_that_others_may_write_is_refused_each_time(found: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(found)
    for _ in range(2):
        with pytest.raises(UsageError, match=rf"mode {found:04o}.*chmod 700 {tmp_path}$"):
            folders.private(tmp_path)


def test_an_empty_folder_that_others_may_write_becomes_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    folders.private(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    with pytest.raises(UsageError) as error:
        folders.private(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} belongs to the user with id 1234, but the agent runs with id 0;"
        " run it as that user, or set CACHE_DIRECTORY and STATE_DIRECTORY to other folders"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_symlink_of_another_user_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (tmp_path / "state").symlink_to(target)
    os.lchown(tmp_path / "state", 1234, 1234)
    with pytest.raises(UsageError, match="is a symlink of the user with id 1234"):
        folders.private(tmp_path / "state")
    assert mode(target) == 0o755


def test_a_symlink_of_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("private")
    assert folders.private(tmp_path / "state") == tmp_path / "private"


def test_a_file_instead_of_a_folder_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(NotADirectoryError):
        folders.private(tmp_path / "state")


@pytest.mark.usefixtures("umask")
def test_a_run_under_any_umask_leaves_only_private_folders(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    site.scan_server.instead = None
    assert site.run("-q").returncode == 0
    made = [site.folder / "cache", site.folder / "state", site.folder / "state" / "spool"]
    assert [oct(mode(folder)) for folder in made] == ["0o700"] * 3


@pytest.mark.parametrize("name", ["cache", "state", "state/spool", "state/spool/refused"])
def test_a_run_refuses_a_folder_that_others_may_have_written(name: str, site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    folder = site.folder / name
    folder.mkdir(parents=True)
    for parent in folder.parents[: name.count("/") + 1]:
        parent.chmod(0o700)
    (folder / "000000000001.json").write_text("{}")
    folder.chmod(0o777)
    done = site.run("-q")

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"phpipam-scan-agent: error: {folder} may be written by other users (mode 0777), so its files cannot be"
        f" trusted; check or remove them, then: chmod 700 {folder}"
    ]
    assert site.api.requests == site.server.requests == []
    check = "cache folder" if name == "cache" else "spool folder"
    assert f"✗ {check}: {folder} may be written by other users" in site.run("--check").stdout


@pytest.mark.parametrize("kind", ["cache", "state"])
def test_a_user_without_a_home_needs_none_under_systemd(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like systemd's dynamic users from Debian 13 on."""
    monkeypatch.setattr(os, "geteuid", lambda: 61234)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
    monkeypatch.delenv(f"{kind.upper()}_DIRECTORY", raising=False)
    with pytest.raises(UsageError, match=f"set HOME or {kind.upper()}_DIRECTORY"):
        getattr(folders, kind)()
    monkeypatch.setenv(f"{kind.upper()}_DIRECTORY", "/var/lib/x")
    assert getattr(folders, kind)() == Path("/var/lib/x")
