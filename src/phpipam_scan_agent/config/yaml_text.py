"""A YAML file → its values as typed: a token `0123` stays `0123`; the schema converts values to types."""

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..system import folders, signals

MAX_SIZE = 1024 * 1024
"""Maximum size of the file in bytes."""

_NULL = ("", "~", "null", "Null", "NULL")
"""YAML's spellings, without quotes, of a key without a value."""

_NOT_TEXT = "is not YAML text in UTF-8; write it again with an editor"


class Key(str):
    """A key as typed, and its line in the file."""

    line: int


class _Loader(yaml.BaseLoader):
    """Makes only text, lists, mappings, and None for a key without a value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: ARG002
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            text = self.construct_object(key_node, deep=True)
            if not isinstance(text, str):
                raise yaml.constructor.ConstructorError(None, None, "a key is not text", key_node.start_mark)
            if text in found:
                which = text if re.fullmatch("[a-z]+(_[a-z]+)*", text) else "a key"  # no secret has this form
                problem = f"{which} occurs twice; keep one"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = Key(text)
            key.line = key_node.start_mark.line + 1
            plain = isinstance(value_node, yaml.ScalarNode) and value_node.style is None
            empty = plain and value_node.value in _NULL
            found[key] = None if empty else self.construct_object(value_node, deep=True)
        return found


def read(path: Path) -> Any:
    """Given the file's path, return its document. Raise ConfigError with the line and column of an error."""
    shown = folders.path_to_show(path)
    content = b""
    try:
        with signals.interruptible():
            with path.open("rb") as file:
                content = file.read(MAX_SIZE + 1)
            if len(content) > MAX_SIZE:
                raise ConfigError(
                    shown, [f"has more than {MAX_SIZE:,} bytes; check that it is the configuration"]
                )
            return yaml.load(content, Loader=_Loader)  # noqa: S506 (_Loader makes no objects)
    except OSError as error:
        raise ConfigError(shown, [f"cannot be read: {error.strerror}{_without_credentials(error)}"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(shown, [_problem(error, content.decode("utf-8", "replace").splitlines())]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(shown, [_unreadable(content, error)]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(shown, [_NOT_TEXT]) from None


def _without_credentials(error: OSError) -> str:
    """Return advice for a systemd unit without credentials, if that is the cause: LXC containers disable them."""
    in_unit = "INVOCATION_ID" in os.environ and "STATE_DIRECTORY" in os.environ
    if in_unit and isinstance(error, PermissionError) and folders.credentials() is None:
        return "; LoadCredential= has no effect here, as in LXC containers: add examples/systemd/lxc.conf to the unit"
    return ""


def _problem(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    # YAML reports a missing closing quote or colon at the end of the next line or of the file.
    early = "quoted scalar" in (error.context or "") or "simple key" in (error.context or "")
    mark = (error.context_mark if early else None) or error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    # The message quotes the text at the error, which may be a token (`client_token: *abc`), unless one character.
    harmless_or_not = r"'(\\?.|<[a-z ]+>)'|'[^']*'"
    what = re.sub(harmless_or_not, lambda found: found[0] if found[1] else "'…'", error.problem or "not YAML")
    what = what.replace(r"character '\t'", "a tab")
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"{where}{what}"
    return (
        f"{where}{what}; {_advice(what, lines[: mark.line + 1] if mark else [], mark.column if mark else 0)}"
    )


def _advice(problem: str, lines: list[str], column: int) -> str:
    """Given a problem, the lines up to the error and its column, return advice."""
    if "a tab" in problem:
        return "use spaces instead of the tab"
    if "expected ':'" in problem:
        return "write a colon and a blank between key and value"
    if "<block end>" in problem:
        return "indent all settings by the same number of spaces, without a dash"
    if "mapping values" in problem and not re.search(r":\s", lines[-1][:column]):
        above = [number for number, line in enumerate(lines[:-1], 1) if re.match(r"\s*[^\s#]", line)]
        if above and not re.search(r":(\s|$)", lines[above[-1] - 1]):
            return f"write a colon and a blank after the key in line {above[-1]}"
        return "indent it as the settings around it"
    return "put special values in quotes"


def _unreadable(content: bytes, error: yaml.reader.ReaderError) -> str:
    if isinstance(error.character, int) and error.character <= 0x10FFFF and error.encoding == "unicode":
        line = content.decode("utf-8", "replace")[: error.position].count("\n") + 1
        return f"line {line}: has the control character {error.character:#04x}; remove it"
    return _NOT_TEXT
