"""The files installed beside the program: the man page and the schema of the configuration."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import configs
from phpipam_scan_agent import NAME, arguments, config
from phpipam_scan_agent.config import ROOT_KEY, Config
from phpipam_scan_agent.errors import ConfigError

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "src" / "packaging"
EXAMPLE = ROOT / "examples" / "scan_agent.yaml"
MAN_PAGE = PACKAGING / "man1" / f"{NAME}.1"
SCHEMA = PACKAGING / "scan_agent.schema.json"
OPTIONS = [flag for action in arguments.parser()._actions for flag in action.option_strings]
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=UTF8, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_the_generated_files_are_current(tmp_path: Path) -> None:
    output(sys.executable, PACKAGING / "generate.py", tmp_path)
    for file in (MAN_PAGE, SCHEMA):
        written = tmp_path / file.relative_to(PACKAGING)
        assert file.read_text("utf-8") == written.read_text("utf-8"), "run python src/packaging/generate.py"


# The man page


def shown_man_page() -> str:
    """The page on a wide terminal, without the overstrikes of bold letters."""
    done = subprocess.run(
        ["man", "--warnings", "--local-file", MAN_PAGE],
        capture_output=True,
        text=True,
        env={**UTF8, "MANWIDTH": "200", "MANPAGER": "cat"},
        check=True,
    )
    assert done.stderr == ""
    return re.sub(".\b", "", done.stdout)


def test_groff_accepts_the_man_page() -> None:
    assert output("groff", "-ww", "-rCHECKSTYLE=3", "-Kutf8", "-man", "-Tutf8", "-z", MAN_PAGE) == ""


def test_apropos_finds_the_man_page() -> None:
    assert f'"{NAME} - ' in output("lexgrog", MAN_PAGE)


def test_the_man_page_has_every_option_key_default_and_exit_code() -> None:
    page = shown_man_page()
    options = [flag for flag in OPTIONS if flag not in ("-h", "--help")]
    assert [flag for flag in options if not re.search(rf"^ +.*{flag}\b", page, re.MULTILINE)] == []
    for key, field in Config.model_fields.items():
        entry = re.search(rf"^ +{key}(\n| ).*$", page, re.MULTILINE)
        assert entry, key
        assert (field.description or "").split(";")[0] in page
    assert "Default: 1800." in page
    codes = re.findall(r"\d+(?:\+n)?(?= )", arguments.EXIT_CODES)
    assert {"0", "1", "2", "128+n"} <= set(codes)
    assert [code for code in codes if not re.search(rf"^ +{re.escape(code)} +\w", page, re.MULTILINE)] == []


def test_the_man_page_has_every_variable_that_the_agent_reads() -> None:
    read = re.compile(r"""(?:environ\.get|environ\[|getenv|_given)\W*["']([A-Z_]+)["']""")
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    variables = {name for source in sources for name in read.findall(source)}
    assert "ANSIBLE_LOG_PATH" in variables
    assert variables - set(re.findall(r"[A-Z_]+", shown_man_page().upper())) == set()


# The schema


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    document = json.loads((SCHEMA).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def complaints(schema: Draft202012Validator, document: Any) -> list[str]:
    return sorted(f"{error.json_path}: {error.message}" for error in schema.iter_errors(document))


def test_the_example_lacks_only_the_mandatory_values(schema: Draft202012Validator) -> None:
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert [said.partition(":")[0] for said in complaints(schema, example)] == [
        f"$.{ROOT_KEY}.api_url",
        f"$.{ROOT_KEY}.client_name",
        f"$.{ROOT_KEY}",  # client_token or its file
        f"$.{ROOT_KEY}",  # scanagent_code or its file
    ]

    example[ROOT_KEY] |= configs.MANDATORY
    assert complaints(schema, example) == []
    keys = re.findall(r"^  (?:# )?(\w+):", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert Config.model_fields.keys() - set(keys) == set()


def test_the_example_names_the_schema_to_editors() -> None:
    named = re.search(r"^# yaml-language-server: \$schema=(\S+)$", EXAMPLE.read_text(), re.MULTILINE)
    assert named
    assert (EXAMPLE.parent / named[1]).resolve() == SCHEMA


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"api_ulr": "https://phpipam.example"}, "'api_ulr' was unexpected"),
        ({"http_port": 0}, "0 is less than the minimum of 1"),
        ({"http_port": "https"}, "'https' is not of type 'integer', 'null'"),
        ({"ipv6": 1}, "1 is not of type 'boolean', 'null'"),
        ({"client_name": None}, "None is not of type 'string', 'number'"),
        ({"client_token": None}, "is not valid under any of the given schemas"),
        ({"http_server": ["a"]}, "['a'] is not of type 'string', 'number', 'null'"),
    ],
)
def test_an_editor_shows_what_the_agent_refuses(
    schema: Draft202012Validator, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    document = {ROOT_KEY: {**configs.MANDATORY, **changes}}
    assert len(complaints(schema, document)) == 1
    assert said in complaints(schema, document)[0]
    if changes != {"ipv6": 1}:  # which the agent takes for true
        with pytest.raises(ConfigError):
            config.load(configs.write(tmp_path, yaml.safe_dump(document)))


@pytest.mark.parametrize(
    "changes", [{}, {"client_token": 815}, {"auth_token": None}, {"cache_expire_time": 0}]
)
def test_an_editor_accepts_what_the_agent_accepts(
    schema: Draft202012Validator, tmp_path: Path, changes: dict[str, Any]
) -> None:
    document = {ROOT_KEY: {**configs.MANDATORY, **changes}, "nofusscomputing_phpipam_other": {"any": "thing"}}
    (tmp_path / "secret").write_text("app-code\n")
    assert complaints(schema, document) == []
    config.load(configs.write(tmp_path, yaml.safe_dump(document)))


def test_the_schema_has_default_and_description_of_each_key(schema: Draft202012Validator) -> None:
    known = schema.schema["properties"][ROOT_KEY]["properties"]  # type: ignore[index]
    assert list(known) == list(Config.model_fields)
    assert known["http_port"]["default"] == 5000
    assert all(setting["description"] for setting in known.values())


def test_an_editor_shows_settings_outside_the_root(schema: Draft202012Validator) -> None:
    (said,) = complaints(schema, {ROOT_KEY: configs.MANDATORY, "http_port": 5000})
    assert said.startswith("$: 'http_port' does not match")
