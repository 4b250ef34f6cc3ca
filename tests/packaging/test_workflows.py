"""GitHub's workflows, which cannot run here: two linters check them."""

import subprocess
import sys
from pathlib import Path

import yaml

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"
BIN = Path(sys.executable).parent


def test_actionlint_accepts_the_workflows() -> None:
    files = sorted(WORKFLOWS.glob("*.yml"))
    done = subprocess.run([BIN / "actionlint", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_zizmor_accepts_the_workflows() -> None:
    command = [str(BIN / "zizmor"), "--offline", "--quiet", str(WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_supported_python_is_tested() -> None:
    tests = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())
    (versions,) = (
        job["strategy"]["matrix"]["python"] for name, job in tests["jobs"].items() if name == "python"
    )
    project = (WORKFLOWS.parents[1] / "pyproject.toml").read_text()
    promised = [version for version in versions if f"Python :: {version}" in project]
    assert promised == ["3.10", "3.11", "3.12", "3.13"]
