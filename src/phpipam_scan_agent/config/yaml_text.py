"""A YAML file → its values as they were typed: a token `0123` stays `0123`; the schema gives types."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

_NULL = ("", "~", "null", "Null", "NULL")
"""How YAML writes, without quotes, that a key has no value."""


class _Loader(yaml.BaseLoader):
    """Makes nothing but text, lists, mappings, and None for a key without a value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: ARG002
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key in found:
                what = f"{key} is there twice; keep one"
                raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
            plain = isinstance(value_node, yaml.ScalarNode) and value_node.style is None
            nothing = plain and value_node.value in _NULL
            found[key] = None if nothing else self.construct_object(value_node, deep=True)
        return found


def read(path: Path) -> Any:
    """Given the file's path, return what it holds. Raise ConfigError that says where it is no YAML."""
    try:
        return yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 (it makes nothing but text)
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(path, [_problem(error)]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(path, [_unreadable(path, error)]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(path, ["is not YAML text in UTF-8; write it again with an editor"]) from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    # A quote that is never closed is noticed at the end of the file, but the mistake is where it opens.
    unclosed = "quoted scalar" in (error.context or "")
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    # YAML quotes what it stumbles over, which may be a token (`client_token: *abc`); one character is none.
    harmless_or_not = r"'(\\?.|<[a-z ]+>)'|'[^']*'"
    what = re.sub(harmless_or_not, lambda said: said[0] if said[1] else "'…'", error.problem or "not YAML")
    what = what.replace(r"character '\t'", "a tab")
    advice = "" if isinstance(error, yaml.constructor.ConstructorError) else "; put special values in quotes"
    return f"{where}{what}{advice}"


def _unreadable(path: Path, error: yaml.reader.ReaderError) -> str:
    if isinstance(error.character, int) and error.character <= 0x10FFFF and error.encoding == "unicode":
        line = path.read_text("utf-8", "replace")[: error.position].count("\n") + 1
        return f"line {line}: has the control character {error.character:#04x}; take it out"
    return "is not YAML text in UTF-8; write it again with an editor"
