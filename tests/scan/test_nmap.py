import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executables import fake
from phpipam_scan_agent.errors import UsageError
from phpipam_scan_agent.scan.nmap import OLDEST, find_nmap

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")

NOBODY = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
AMBIENT = ("--inh-caps", "+net_raw", "--ambient-caps", "+net_raw")
"""As a systemd unit gives it with AmbientCapabilities=CAP_NET_RAW."""

ASK = """
import subprocess, sys
from phpipam_scan_agent.scan.nmap import may_open_raw_sockets
# A SYN scan needs raw sockets even on loopback, where nmap knows without them who is up.
scan = [sys.argv[1], "--privileged", "-sS", "-Pn", "-n", "-p", "9", "127.0.3.4"]
done = subprocess.run(scan, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
may, can = may_open_raw_sockets(sys.argv[1]), done.returncode == 0
print("may" if may else "may not", "and", "can" if can else "cannot")
"""


@pytest.fixture
def copy() -> Iterator[Path]:
    """A copy of nmap that every user may run, for its own capabilities."""
    nmap = shutil.which("nmap")
    assert nmap
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copy(nmap, folder))


def ask(nmap: Path, *rights: str) -> str:
    """Whether this nmap, run with these rights, may open raw sockets by the agent's rule, and whether it can."""
    done = subprocess.run(
        ["setpriv", *rights, sys.executable, "-c", ASK, str(nmap)], capture_output=True, text=True, cwd="/"
    )
    assert done.stderr == ""
    return done.stdout.strip()


@needs_root
def test_root_may_open_raw_sockets(copy: Path) -> None:
    assert ask(copy) == "may and can"


@needs_root
def test_root_without_the_capability_may_not(copy: Path) -> None:
    """As in a container that drops it."""
    assert ask(copy, "--bounding-set=-net_raw") == "may not and cannot"


@needs_root
def test_an_unprivileged_user_may_not(copy: Path) -> None:
    assert ask(copy, *NOBODY) == "may not and cannot"


@needs_root
@pytest.mark.parametrize("more", [(), ("--no-new-privs",)], ids=["", "no new privileges"])
def test_an_unprivileged_user_with_the_ambient_capability_may(copy: Path, more: tuple[str, ...]) -> None:
    assert ask(copy, *NOBODY, *AMBIENT, *more) == "may and can"


@needs_root
def test_a_capability_that_is_only_inheritable_does_not_count(copy: Path) -> None:
    assert ask(copy, *NOBODY, "--inh-caps", "+net_raw") == "may not and cannot"


@needs_root
def test_an_ambient_capability_of_another_kind_does_not_count(copy: Path) -> None:
    other = ("--inh-caps", "+net_admin", "--ambient-caps", "+net_admin")
    assert ask(copy, *NOBODY, *other) == "may not and cannot"


@needs_root
@pytest.mark.parametrize(
    ("capability", "more", "answer"),
    [
        ("cap_net_raw+ep", (), "may and can"),
        ("cap_net_raw,cap_net_admin,cap_net_bind_service+eip", (), "may and can"),
        ("cap_net_admin+ep", (), "may not and cannot"),
        ("cap_net_raw+ep", ("--no-new-privs",), "may not and cannot"),
    ],
)
def test_nmaps_own_capability_counts_unless_no_new_privileges_are_given(
    copy: Path, capability: str, more: tuple[str, ...], answer: str
) -> None:
    subprocess.run(["setcap", capability, str(copy)], check=True)
    assert ask(copy, *NOBODY, *more) == answer


# The machine's nmap


def test_the_real_nmap_is_found() -> None:
    found = find_nmap()
    assert found.path == shutil.which("nmap")
    assert found.version >= OLDEST
    assert found.raw == (os.geteuid() == 0)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Nmap version 7.80 ( https://nmap.org )", (7, 80)),
        ("Nmap version 7.94SVN ( https://nmap.org )", (7, 94)),
        ("Nmap version 7.95+dfsg ( http://nmap.org )", (7, 95)),
        ("Nmap version 10.0 ( https://nmap.org )", (10, 0)),
    ],
)
def test_versions_are_read_in_nmaps_format(said: str, version: tuple[int, int], path: Path) -> None:
    fake(path, f"echo\necho '{said}'")
    assert find_nmap().version == version


def test_a_missing_nmap_is_named_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="nmap is not installed, or not on PATH; install it"):
        find_nmap()


@pytest.mark.parametrize("version", ["7.79", "7.60", "6.99"])
def test_an_old_nmap_is_named(version: str, path: Path) -> None:
    nmap = fake(path, f"echo 'Nmap version {version} ( https://nmap.org )'")
    with pytest.raises(UsageError) as refused:
        find_nmap()
    assert str(refused.value) == f"{nmap} is nmap {version}; 7.80 or later is needed: upgrade it"


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 127",
        "echo something else",
        "kill -9 $$",
        "printf 'Nmap version seven ( https://nmap.org )'",
    ],
)
def test_an_nmap_that_does_not_work_is_named_in_one_line(script: str, path: Path) -> None:
    nmap = fake(path, script)
    with pytest.raises(UsageError) as refused:
        find_nmap()
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{nmap} is no working nmap")


def test_a_file_that_is_no_program_is_named_in_one_line(path: Path) -> None:
    nmap = fake(path, "")
    nmap.write_bytes(b"\x7fELF, but no more")
    with pytest.raises(UsageError) as refused:
        find_nmap()
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{nmap} is no working nmap")
