"""What the READMEs promise exists in the program."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "src/README.md", "tests/bench/README.md", "examples/scan_server/README.md"]


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_to_files(readme: str) -> None:
    path = ROOT / readme
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text())

    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_layout_names_modules_and_folders_of_the_package() -> None:
    text = (ROOT / "src" / "README.md").read_text()
    package = ROOT / "src" / "phpipam_scan_agent"
    tree = re.findall(r"^  (\S+)  ", text, re.MULTILINE)

    assert {name.rstrip("/") for name in tree} >= {
        path.name for path in package.iterdir() if path.name != "py.typed" and not path.name.startswith("__")
    }
    named = re.findall(r"`(\w+/\w+\.py|\w+\.py)`", text)
    assert [name for name in named if not (package / name).exists()] == []
