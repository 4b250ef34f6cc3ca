"""The README agrees with the program: options, variables, exit codes, paths, messages, links."""

import ast
import os
import re
from pathlib import Path

import pytest

from phpipam_scan_agent import arguments
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.system import folders

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "phpipam_scan_agent"
README = (ROOT / "README.md").read_text(encoding="utf-8")
READMES = ["README.md", "src/README.md", "tests/bench/README.md", "examples/scan_server/README.md"]


def section(title: str) -> str:
    """The text of one section."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables in a text."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def message_parts() -> list[str]:
    """The program's texts; `…` stands for a formatted value."""
    parts = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts.append(
                    "".join(
                        str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values
                    )
                )
    return parts


def test_the_options_are_those_of_the_program() -> None:
    options = {option for action in arguments.parser()._actions for option in action.option_strings}
    documented = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", section("Running it")))

    assert {option for option in options if option.startswith("--")} - documented == {"--verbose", "--quiet"}
    assert documented - options - {"-p", "-m", "-vv"} == set()


def test_the_exit_codes_are_those_of_the_program() -> None:
    documented = re.findall(r"^\| (\d+(?:\+n)?) \|", section("Running it"), re.MULTILINE)

    assert documented == re.findall(r"\d+(?:\+n)?(?= )", arguments.EXIT_CODES)


def test_the_variables_and_their_defaults_are_those_of_the_program() -> None:
    documented = {
        key: default.strip("`")
        for names, default, _ in rows(section("Configuration"))[1:]
        for key in re.findall(r"`(\w+)`", names)
    }
    known = {}
    for key, field in Config.model_fields.items():
        none = "the machine's" if key == "timezone" else "none"
        default = "mandatory" if field.is_required() else none if field.default is None else field.default
        known[key] = str(default).lower() if isinstance(default, bool) else str(default)

    assert documented == known


def test_the_paths_are_those_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for variable in ("CACHE_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)

    documented = [cells[0].strip("`") for cells in rows(section("Running it")) if cells[0].startswith("`/")]
    spool = folders.spool()
    assert documented == [
        str(path) for path in (arguments.DEFAULT_PATH, folders.cache(), spool, spool / "refused")
    ]


def test_the_messages_are_those_of_the_program() -> None:
    cells = [row[0] for row in rows(section("Faults"))]
    quoted = [message for cell in cells for message in re.findall(r"`([^`]+ [^`]+)`", cell)]
    parts = message_parts()

    assert len(quoted) > 15
    # A message is composed of several texts: status, text and advice, or name and verb.
    pieces = [
        piece.strip()
        for message in quoted
        for piece in re.split(r"…|; |: |HTTP \d+|SIGTERM|/login/", message)
    ]
    assert [piece for piece in pieces if not any(piece in part for part in parts)] == []


def commands(text: str) -> list[str]:
    """The lines of the console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_the_scan_servers_readme_has_the_same_commands_for_its_set_up() -> None:
    server = (ROOT / "examples" / "scan_server" / "README.md").read_text(encoding="utf-8")
    install = server.split("\n## Install\n")[1].split("\n## ")[0]
    step = section("Set-up in four steps").split("\n### ")[1]

    assert commands(step) == commands(install.replace("scan.example.org", "ipam.example.org"))


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_to_files_and_headings(readme: str) -> None:
    path = ROOT / readme
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }

    assert links
    for link in links:
        file, _, heading = link.partition("#")
        assert (path.parent / file).exists(), link
        assert file or heading in headings, link


def test_the_layout_names_modules_and_folders_of_the_package() -> None:
    text = (ROOT / "src" / "README.md").read_text(encoding="utf-8")
    tree = re.findall(r"^  (\S+)  ", text, re.MULTILINE)

    assert {name.rstrip("/") for name in tree} >= {
        path.name for path in PACKAGE.iterdir() if path.name != "py.typed" and not path.name.startswith("__")
    }
    named = re.findall(r"`(\w+/\w+\.py|\w+\.py)`", text)
    assert [name for name in named if not (PACKAGE / name).exists()] == []
