import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src" / "phpipam_scan_agent").rglob("*.py"))


def names(path: Path) -> str:
    return path.name


def test_modules_are_found() -> None:
    assert {"main.py", "models.py"} <= set(map(names, MODULES))


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_no_module_has_more_than_300_lines(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_every_module_has_a_docstring(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


def test_the_import_contract_holds() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run((program, "--no-cache"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken." in done.stdout
