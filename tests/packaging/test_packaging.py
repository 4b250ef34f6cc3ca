"""Sdist and wheel, and installations from the source tree. Installations without an index: test_bundle.py."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phpipam_scan_agent import NAME, VERSION

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
SHARED = [
    f"man/man1/{NAME}.1",
    f"{NAME}/examples/cron.d/{NAME}",
    f"{NAME}/examples/logrotate/{NAME}",
    f"{NAME}/examples/scan_agent.yaml",
    f"{NAME}/examples/systemd/lxc.conf",
    f"{NAME}/examples/systemd/{NAME}.service",
    f"{NAME}/examples/systemd/{NAME}.timer",
    f"{NAME}/scan_agent.schema.json",
    f"{NAME}/summary.schema.json",
]


def run(*command: str | Path, **environment: str | Path) -> str:
    """Run a command to its end and return its output."""
    done = subprocess.run(
        command,
        cwd="/",  # so that no module is imported from the source tree
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, in which builds may write."""
    copy = tmp_path_factory.mktemp("source") / NAME
    written_meanwhile = (".venv*", ".*_cache", "__pycache__", ".hypothesis")  # by tests in other processes
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", *written_meanwhile))
    return copy


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(TOOLS / "uv", "build", "--quiet", "--out-dir", folder, source)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"phpipam_scan_agent-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    return built / f"phpipam_scan_agent-{VERSION}.tar.gz"


def installed(prefix: Path) -> Iterator[str]:
    """The project's files below an installation's share/."""
    for path in (prefix / "share").rglob("*"):
        if path.is_file() and NAME in str(path):
            yield str(path.relative_to(prefix / "share"))


def test_twine_accepts_sdist_and_wheel(wheel: Path, sdist: Path) -> None:
    assert run(TOOLS / "twine", "check", "--strict", sdist, wheel).count("PASSED") == 2


def test_the_wheel_contains_the_package_and_its_shared_data(wheel: Path) -> None:
    data = f"phpipam_scan_agent-{VERSION}.data/data/share/"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert sorted(name.removeprefix(data) for name in names if name.startswith(data)) == SHARED
    assert "phpipam_scan_agent/py.typed" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {
        "phpipam_scan_agent",
        f"phpipam_scan_agent-{VERSION}.data",
        f"phpipam_scan_agent-{VERSION}.dist-info",
    }


def test_the_sdist_contains_the_tests_and_their_data(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        tops = {"/".join(Path(name).parts[1:2]) for name in archive.getnames()}
    assert tops >= {"LICENSE", "README.md", "pyproject.toml", "src", "tests", "examples"}
    assert not any(top.startswith(".venv") for top in tops)


def test_uv_installs_the_source_tree(source: Path, tmp_path: Path) -> None:
    folders = {"UV_TOOL_DIR": tmp_path / "tools", "UV_TOOL_BIN_DIR": tmp_path / "bin"}
    run(TOOLS / "uv", "tool", "install", "--quiet", "--python", sys.executable, source, **folders)

    assert run(tmp_path / "bin" / NAME, "--version") == f"{NAME} {VERSION}\n"
    assert sorted(installed(tmp_path / "tools" / NAME)) == SHARED


def test_pipx_installs_the_source_tree_and_its_man_page(source: Path, tmp_path: Path) -> None:
    folders = {"PIPX_HOME": tmp_path, "PIPX_BIN_DIR": tmp_path / "bin", "PIPX_MAN_DIR": tmp_path / "man"}
    run(TOOLS / "pipx", "install", "--quiet", "--python", sys.executable, source, **folders)

    assert run(tmp_path / "bin" / NAME, "--version") == f"{NAME} {VERSION}\n"
    assert (tmp_path / "man" / "man1" / f"{NAME}.1").is_file()


def test_the_version_is_in_one_place_and_the_newest_of_the_changes() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("src", "examples", "tests", "README.md", "pyproject.toml")
        for path in [ROOT / folder, *(ROOT / folder).rglob("*")]
        if path.suffix != ".svg"
        and "__pycache__" not in path.parts
        and path.is_file()
        and NAME in (text := path.read_text("utf-8"))
        if re.search(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])", text)
    ]
    assert sorted(found) == ["README.md", "src/phpipam_scan_agent/__init__.py"]
    changes = (ROOT / "README.md").read_text("utf-8").split("\nChanges:\n")[1]
    assert re.findall(r"^- ([\d.]+): ", changes, re.MULTILINE)[0] == VERSION
