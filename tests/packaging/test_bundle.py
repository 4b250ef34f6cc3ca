"""Installation without an index, from the bundle, and a run on the oldest and the newest Python of the machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from phpipam_scan_agent import NAME, VERSION
from stand_ins.phpipam import subnet
from stand_ins.site import Site

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}


def found() -> dict[str, Path]:
    """The machine's oldest and newest supported interpreters by version; each needs a download of its wheels."""
    pythons = {"{}.{}".format(*sys.version_info): Path(sys.executable).resolve()}
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for version in SUPPORTED:
        for path in (folder / f"python{version}" for folder in folders):
            # pyenv has a shim also for a version that is not installed.
            if version not in pythons and path.exists() and not call(path, "-c", "import ssl").returncode:
                pythons[version] = path
    versions = [version for version in SUPPORTED if version in pythons]
    return {version: pythons[version] for version in (versions[0], versions[-1])}


def call(*command: str | Path, **environment: str | Path) -> "subprocess.CompletedProcess[str]":
    variables = {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        command, cwd="/", env=os.environ | variables, capture_output=True, text=True, check=False
    )


def run(*command: str | Path, **environment: str | Path) -> str:
    done = call(*command, **environment)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


PYTHONS = found()
*_, NEWEST = PYTHONS.values()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's folder, for these interpreters, with verified checksums."""
    folder = tmp_path_factory.mktemp("bundle")
    path = f"{UV.parent}{os.pathsep}{os.environ['PATH']}"
    run(ROOT / "src" / "packaging" / "bundle.sh", folder, *PYTHONS, PATH=path, UV_PYTHON=NEWEST)
    run("sh", "-c", f"cd {folder} && sha256sum --check --strict SHA256SUMS")
    return folder


@pytest.fixture(scope="module")
def pyz(bundle: Path) -> Path:
    (path,) = bundle.glob("*.pyz")
    assert path.name == f"{NAME}-{VERSION}-{os.uname().machine}.pyz"
    return path


def reports(site: Site, *program: str | Path, **environment: str) -> Sequence[str]:
    """The reported subnets of a run of this program, which must succeed."""
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    done = subprocess.run(
        [*program, *site.command()[1:]],
        cwd="/",
        env=site.environment | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [report["scan"]["subnet"] for report in site.scan_server.reports]


@pytest.mark.parametrize("version", PYTHONS)
def test_wheels_without_an_index_run_on_each_python(version: str, bundle: Path, site: Site) -> None:
    folder = site.folder / "installed"
    run(UV, "venv", "--quiet", "--python", PYTHONS[version], folder)
    command = (UV, "pip", "install", "--quiet", "--python", folder, "--no-index", "--require-hashes")
    run(*command, "--find-links", bundle / "wheels", "-r", bundle / "wheels" / "requirements.txt", **OFFLINE)

    assert run(folder / "bin" / "python", "-c", "import sys; print('{}.{}'.format(*sys.version_info))") == (
        f"{version}\n"
    )
    assert reports(site, folder / "bin" / NAME) == ["127.0.20.0/30"]


def test_the_installer_refuses_a_wheel_with_another_hash(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle / "wheels", tmp_path / "wheels")
    (wheel,) = copy.glob("rich-*.whl")
    with wheel.open("ab") as file:
        file.write(b"\0")
    run(UV, "venv", "--quiet", "--python", NEWEST, tmp_path / "installed")
    pip = (sys.executable, "-m", "pip", "--python", tmp_path / "installed" / "bin" / "python")
    arguments = ("install", "--no-index", "--require-hashes", "--find-links", copy, "--no-deps")
    done = call(*pip, *arguments, "-r", copy / "requirements.txt")

    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_pip_installs_the_wheels_with_man_page_and_schema(bundle: Path, tmp_path: Path) -> None:
    run(UV, "venv", "--quiet", "--allow-existing", "--python", NEWEST, tmp_path)
    pip = (sys.executable, "-m", "pip", "--python", tmp_path / "bin" / "python")
    command = (*pip, "install", "--quiet", "--no-compile", "--no-index", "--require-hashes")
    run(*command, "--find-links", bundle / "wheels", "-r", bundle / "wheels" / "requirements.txt", **OFFLINE)

    assert run(tmp_path / "bin" / NAME, "--version") == f"{NAME} {VERSION}\n"
    assert run(tmp_path / "bin" / "python", "-m", "phpipam_scan_agent", "--version") == f"{NAME} {VERSION}\n"
    assert run("man", "--where", NAME, MANPATH=tmp_path / "share" / "man").strip().endswith(f"/man1/{NAME}.1")
    assert (tmp_path / "share" / NAME / "scan_agent.schema.json").is_file()


def test_the_pyz_runs_and_creates_a_virtual_environment(pyz: Path, site: Site) -> None:
    pex = {"PEX_ROOT": str(site.folder / "pex")}
    assert reports(site, NEWEST, pyz, **pex) == ["127.0.20.0/30"]

    folder = site.folder / "installed"
    run(NEWEST, pyz, "venv", folder, PEX_TOOLS="1", **pex, **OFFLINE)
    shutil.rmtree(site.folder / "pex")
    pyz.rename(pyz.with_name("away"))
    assert reports(site, folder / "bin" / NAME) == 2 * ["127.0.20.0/30"]
    assert (folder / "share" / "man" / "man1" / f"{NAME}.1").is_file()
    assert (folder / "share" / NAME / "scan_agent.schema.json").is_file()
    assert (folder / "share" / NAME / "examples" / "systemd" / f"{NAME}.service").is_file()
