"""The configuration file: one schema for types, defaults and help; every mistake named at once."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

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

from . import yaml_text
from .errors import ConfigError

DEFAULT_PATH = Path("/etc/phpipam/scan_agent.yaml")
ROOT_KEY = "nofusscomputing_phpipam_scan_agent"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks, and the halves of characters that no UTF-8 can carry."""


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
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("is no URL; write it like https://ipam.example.org") from None
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
        1800, ge=0, le=10**9, description="seconds that phpIPAM's answers are kept; 0 never keeps them"
    )
    epoch_time_offset: int = Field(
        0, ge=-(10**9), le=10**9, description="seconds added to the machine's clock; may be negative"
    )
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


def load(path: Path) -> Config:
    """Given the file's path, return the configuration. Raise ConfigError with every mistake in it."""
    document = yaml_text.read(path)
    if not isinstance(document, dict) or ROOT_KEY not in document:
        raise ConfigError(path, [f"has no {ROOT_KEY}: at its top; every setting belongs below that key"])
    settings = document[ROOT_KEY] or {}
    if not isinstance(settings, dict):
        raise ConfigError(path, [f"{ROOT_KEY}: must hold settings, one `key: value` a line"])
    # Roots of the same collection's other programs may share the file.
    problems = [
        f"{key}: belongs below {ROOT_KEY}; indent it"
        for key in document
        if not key.startswith("nofusscomputing_")
    ]
    unknown = [key for key in settings if key not in Config.model_fields]
    for key in unknown:
        near = difflib.get_close_matches(key, Config.model_fields, n=1, cutoff=0)
        problems.append(f"{key}: unknown key; did you mean {near[0]}?")
    return _checked(path, {key: value for key, value in settings.items() if key not in unknown}, problems)


def _checked(path: Path, settings: dict[str, Any], problems: list[str]) -> Config:
    several = [key for key, value in settings.items() if isinstance(value, (dict, list))]
    problems += [f"{key}: holds several values; it takes one" for key in several]
    given = {key: value for key, value in settings.items() if value and key not in several}
    try:
        config = Config.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        problems += [_problem(error, given) for error in errors if error["loc"][0] not in several]
    if problems:
        raise ConfigError(path, problems)
    return config


def _problem(error: Any, given: dict[str, Any]) -> str:
    key = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{key}: missing or empty; set it to {Config.model_fields[key].description}"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    shown = "" if _is_secret(key) else f", not {str(given[key])[:60]!r}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _is_secret(key: str) -> bool:
    return "SecretStr" in str(Config.model_fields[key].annotation)
