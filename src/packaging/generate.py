"""Write the generated files of this folder: the man page and the JSON Schema of the configuration.

Both are made from the argument parser and the configuration's model, and committed, so that an installation needs
hatchling only. A test fails when they are not current: then run this script again.

    python src/packaging/generate.py [FOLDER]
"""

import json
import re
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from argparse_manpage.manpage import Manpage

from phpipam_scan_agent import NAME, arguments
from phpipam_scan_agent.arguments import DEFAULT_PATH
from phpipam_scan_agent.config import ROOT_KEY, Config

HERE = Path(__file__).parent

REVISED = "2026-11-25"
"""Date of the man page's last revision; groff 1.23 asks for one."""


def main(folder: Path) -> None:
    """Write both files below `folder`."""
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def files() -> dict[str, str]:
    """Return the text of each file by its path."""
    return {
        f"man1/{NAME}.1": man_page(),
        "scan_agent.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def man_page() -> str:
    """Return the man page. It names no version, which would have to be kept in step."""
    parser = arguments.parser()
    parser.epilog = None  # the exit codes, which have a section of their own
    page = Manpage(parser)
    page.description = metadata(NAME)["Summary"]
    page.manual, page.date = "User Commands", REVISED
    page.add_section("configuration", ">", _configuration())
    page.add_section("exit status", ">", _exit_codes())
    page.parse_include(Path(__file__).with_name("man_sections.roff"))
    return re.sub(r"\n{2,}", "\n", str(page))


def schema() -> dict[str, Any]:
    """Return a JSON Schema of the configuration file as editors read it.

    It accepts more than the agent because of YAML's types: a key with a default may have no value, and a token
    may look like a number.
    """
    model = Config.model_json_schema()
    mandatory = set(model["required"])
    in_files = {key for key in mandatory if f"{key}_file" in model["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{NAME}'s configuration",
        "description": f"{DEFAULT_PATH}, or the file of --config",
        "type": "object",
        "required": [ROOT_KEY],
        "properties": {
            ROOT_KEY: {
                "type": "object",
                "required": sorted(mandatory - in_files),
                "properties": {
                    key: _setting(key in mandatory - in_files, **value)
                    for key, value in model["properties"].items()
                },
                "allOf": [{"anyOf": [_with(key), _with(f"{key}_file")]} for key in sorted(in_files)],
                "additionalProperties": False,
            }
        },
        # Roots of the same Ansible collection's other programs may share the file.
        "patternProperties": {"^nofusscomputing_": {}},
        "additionalProperties": False,
    }


def _with(key: str) -> dict[str, Any]:
    """Return the schema of settings in which a key has a value."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _setting(mandatory: bool, **model: Any) -> dict[str, Any]:
    """Return the schema of one key, given pydantic's."""
    merged = {**model, **model.get("anyOf", [{}])[0]}
    types = ["string", "number"] if merged["type"] == "string" else [merged["type"]]
    kept = ("description", "default", "minimum", "maximum")
    values = {"enum": merged["enum"] if mandatory else [*merged["enum"], None]} if "enum" in merged else {}
    return {
        "type": types if mandatory else [*types, "null"],
        **{name: merged[name] for name in kept if merged.get(name) is not None},
        **values,
    }


def _configuration() -> str:
    intro = (
        f"A YAML file; every key belongs below\n.BR {_roff(ROOT_KEY)} .\n"
        "A key without a value counts as absent; an unknown key is an error."
    )
    model = Config.model_json_schema()
    entries = []
    for key, setting in model["properties"].items():
        default = setting.get("default")
        shown = default if isinstance(default, str) else json.dumps(default)
        ending = (
            f"Mandatory, unless {_roff(key)}_file is set."
            if key in model["required"] and f"{key}_file" in model["properties"]
            else "Mandatory."
            if key in model["required"]
            else "No default."
            if default is None
            else f"Default: {_roff(shown)}."
        )
        entries.append(f".TP\n.B {_roff(key)}\n{_roff(setting['description'])}.\n{ending}")
    return "\n".join([intro, *entries])


def _exit_codes() -> str:
    codes = " ".join(arguments.EXIT_CODES.split()).removeprefix("exit codes: ")
    entries = (entry.split(maxsplit=1) for entry in re.split(r"; (?=\d)", codes))
    return "\n".join(f".TP\n.B {_roff(code)}\n{_roff(meaning)}" for code, meaning in entries)


def _roff(text: str) -> str:
    """Return text as troff writes it: a hyphen that can be copied, other characters by their number."""
    escaped = text.replace("\\", r"\(rs").replace("-", r"\-")
    escaped = re.sub(r"[^\x00-\x7f]", lambda found: rf"\[u{ord(found[0]):04X}]", escaped)
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
