"""The configuration file: one schema for types, defaults and help; every mistake named at once."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from .errors import ConfigError

DEFAULT_PATH = Path("/etc/phpipam/scan_agent.yaml")
ROOT_KEY = "nofusscomputing_phpipam_scan_agent"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _without_control_characters(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("has control characters or line breaks; write it on one line, in quotes")
    return value


def _header_value(secret: SecretStr) -> SecretStr:
    value = _without_control_characters(secret.get_secret_value())
    if not value.isascii() or value != value.strip():
        raise ValueError("has characters that no HTTP header can carry; copy it again, without blanks around")
    return secret


def _printable(secret: SecretStr) -> SecretStr:
    _without_control_characters(secret.get_secret_value())
    return secret


def _app_id(value: str) -> str:
    if "/" in value:
        raise ValueError("has a slash in it; write the App id alone")
    return _without_control_characters(value)


def _url(value: str) -> str:
    """Given a URL, return it without a slash at its end. Raise ValueError with what to write instead."""
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("has blanks or control characters in it")
    if not value.lower().startswith(("https://", "http://")):
        raise ValueError("has no protocol; write https:// in front")
    parts = urlsplit(value)
    if not parts.hostname:
        raise ValueError("names no host")
    if "@" in parts.netloc:
        raise ValueError("has a user name or password in it; leave them out, nothing here uses them")
    if parts.query or parts.fragment:
        raise ValueError("goes on after the path; leave out everything from '?' or '#'")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is no number from 0 to 65535") from None
    return value.rstrip("/")


def _server_url(value: str) -> str:
    url = _url(value)
    parts = urlsplit(url)
    if parts.port is not None:
        raise ValueError("has a port in it; leave it out and set http_port")
    if parts.path:
        raise ValueError("has a path; the Scan Server listens at /, leave the path out")
    return url


Url = Annotated[str, AfterValidator(_url)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
Token = Annotated[SecretStr, AfterValidator(_header_value)]
Code = Annotated[SecretStr, AfterValidator(_printable)]
Name = Annotated[str, AfterValidator(_app_id)]


class Config(BaseModel):
    """What the configuration file says. Secrets are SecretStr, so that no repr shows them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_url: Url = Field(description="phpIPAM's URL with protocol")
    http_port: int = Field(5000, ge=1, le=65535, description="the Scan Server's port")
    http_server: ServerUrl = Field(
        "http://127.0.0.1", validate_default=True, description="the Scan Server's URL with protocol"
    )
    auth_token: Token | None = Field(None, description="the Scan Server's token")
    parallel_scans: int = Field(32, ge=1, le=256, description="nmap processes at a time, at most")
    max_rate: int = Field(2000, ge=1, le=1_000_000, description="packets a second, at most, in the whole run")
    scan_timeout: int = Field(
        900, ge=1, description="seconds for a scan beyond those that its packets take at their rate"
    )
    ipv6: bool = Field(
        False, description="whether IPv6 subnets are scanned; the usual Scan Server drops them"
    )
    cache_expire_time: int = Field(
        1800, ge=0, description="seconds that phpIPAM's answers are kept; 0 never keeps them"
    )
    epoch_time_offset: int = Field(0, description="seconds added to the machine's clock; may be negative")
    client_token: Token = Field(description="App code, in phpIPAM: Administration → API → edit")
    client_name: Name = Field(description="App id, in phpIPAM: Administration → API → edit")
    scanagent_code: Code = Field(description="Code, in phpIPAM: Administration → Scan agents → edit")

    @field_validator("auth_token")
    @classmethod
    def _never_in_the_clear(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        server = info.data.get("http_server", "https://")
        if token is not None and not server.lower().startswith("https://"):
            raise ValueError(f"is set, but http_server is {server}: a token is sent over https only")
        return token

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be seen in output."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))


class _Loader(yaml.BaseLoader):
    """Reads every value as the text that was typed: a token `0123` stays `0123`; the schema gives types."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


_NULL = ("", "~", "null", "Null", "NULL")
"""How YAML writes that a key has no value."""


def load(path: Path) -> Config:
    """Given the file's path, return the configuration. Raise ConfigError with every mistake in it."""
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 (it makes nothing but text)
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(path, [_yaml_problem(error)]) from None
    except (yaml.YAMLError, UnicodeError, RecursionError):
        raise ConfigError(path, ["is not YAML text in UTF-8; write it again with an editor"]) from None
    if not isinstance(document, dict) or ROOT_KEY not in document:
        raise ConfigError(path, [f"has no {ROOT_KEY}: at its top; every setting belongs below that key"])
    settings = {} if document[ROOT_KEY] in _NULL else document[ROOT_KEY]
    if not isinstance(settings, dict):
        raise ConfigError(path, [f"{ROOT_KEY}: must hold settings, one `key: value` a line"])
    # Roots of the same collection's other programs may share the file.
    foreign = [key for key in document if not str(key).startswith("nofusscomputing_")]
    return _checked(path, settings, [f"{key}: belongs below {ROOT_KEY}; indent it" for key in foreign])


def _checked(path: Path, settings: dict[Any, Any], problems: list[str]) -> Config:
    given = {str(key): value for key, value in settings.items() if value not in _NULL}
    try:
        config = Config.model_validate(given)
    except ValidationError as invalid:
        problems += [_problem(error, given) for error in invalid.errors(include_url=False)]
    if problems:
        raise ConfigError(path, problems)
    return config


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    # YAML quotes what it stumbles over, which may be a token (`client_token: *abc`).
    what = re.sub(r" ?'[^']{2,}'.*", "", error.problem or "not YAML")
    return f"{where}{what}; put values with special characters in quotes"


def _problem(error: Any, given: dict[str, Any]) -> str:
    key = str(error["loc"][0])
    kind = error["type"]
    if kind == "missing":
        return f"{key}: missing or empty; set it to {Config.model_fields[key].description}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, Config.model_fields, n=1, cutoff=0)
        return f"{key}: unknown key; did you mean {near[0]}?"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}"
    shown = "" if _is_secret(key) else f", not {str(given[key])[:60]!r}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _is_secret(key: str) -> bool:
    return "SecretStr" in str(Config.model_fields[key].annotation)
