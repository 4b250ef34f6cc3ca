"""The configuration file: one schema for types, defaults and help; every mistake named at once."""

import difflib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..errors import ConfigError
from . import yaml_text
from .values import Code, MetricsFile, Name, ReadableFile, ServerUrl, TimeZone, Token, Url

DEFAULT_PATH = Path("/etc/phpipam/scan_agent.yaml")
ROOT_KEY = "nofusscomputing_phpipam_scan_agent"


SECRETS = ("client_token", "auth_token", "scanagent_code")
"""What may stand in a file of its own."""


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
    names: Literal["missing", "always", "never"] = Field(
        "missing",
        description="which addresses get a name from DNS: those without one in phpIPAM, all, or none",
    )
    name_form: Literal["short", "full"] = Field(
        "short", description="a name's form: its first label, or the whole name"
    )
    cache_expire_time: int = Field(
        1800, ge=0, le=10**9, description="seconds that phpIPAM's answers are kept; 0 never keeps them"
    )
    cache_stale_if_error: int = Field(
        0, ge=0, le=10**9, description="seconds past their time that they are used while phpIPAM is away"
    )
    spool_max_age: int = Field(
        7 * 86400, ge=0, le=10**9, description="seconds that a report waits for the Scan Server"
    )
    spool_max_size: int = Field(100 * 2**20, ge=0, description="bytes of all the reports that wait")
    timezone: TimeZone | None = Field(
        None, description="IANA name of the zone of the times reported, the machine's if not set"
    )
    epoch_time_offset: int = Field(
        0, ge=-(10**9), le=10**9, description="seconds added to the machine's clock; may be negative"
    )
    ca_file: ReadableFile | None = Field(
        None, description="PEM file of a CA to trust beside those that the machine trusts"
    )
    client_cert: ReadableFile | None = Field(
        None, description="PEM file of a certificate to show to the Scan Server"
    )
    client_key: ReadableFile | None = Field(
        None, description="PEM file of its key, if client_cert does not hold that too"
    )
    metrics_file: MetricsFile | None = Field(
        None,
        description="file for the textfile collector of Prometheus' node_exporter; its name ends in .prom",
    )
    client_token_file: Path | None = Field(None, description="file that holds client_token")
    auth_token_file: Path | None = Field(None, description="file that holds auth_token")
    scanagent_code_file: Path | None = Field(None, description="file that holds scanagent_code")
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

    @model_validator(mode="after")
    def _a_key_has_a_certificate(self) -> "Config":
        if self.client_key and not self.client_cert:
            raise PydanticCustomError("client_key", "is set, but client_cert is not")
        return self

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
    given |= _files(path, given)
    given |= _secrets_of_files(given, problems)
    try:
        config = Config.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        problems += [
            _problem(error, given) for error in errors if not error["loc"] or error["loc"][0] not in several
        ]
    if problems:
        raise ConfigError(path, problems)
    return config


def _files(path: Path, given: dict[str, str]) -> dict[str, str]:
    """Return the files named, whole: a relative one is a credential of systemd's or lies beside the configuration."""
    credentials = Path(os.environ.get("CREDENTIALS_DIRECTORY") or path.parent)
    return {
        key: str((path.parent if key == "metrics_file" else credentials) / given[key])
        for key in (
            *(f"{secret}_file" for secret in SECRETS),
            "ca_file",
            "client_cert",
            "client_key",
            "metrics_file",
        )
        if key in given
    }


def _secrets_of_files(given: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Return the secrets that stand in files of their own; a mistake is added to the problems."""
    found = {}
    for key in SECRETS:
        if file := given.get(f"{key}_file"):
            found[key] = "unread"  # so that it is not missing as well
            try:
                found[key] = Path(file).read_text("utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
                problems.append(f"{key}_file: {file} cannot be read: {why}")
            if not found[key]:
                problems.append(f"{key}_file: {file} is empty")
            if key in given:
                problems.append(f"{key}_file: {key} is set as well; keep one")
    return found


def _problem(error: Any, given: dict[str, Any]) -> str:
    key = str(error["loc"][0]) if error["loc"] else error["type"]
    if error["type"] == "missing":
        return f"{key}: missing or empty; set it to {Config.model_fields[key].description}"
    if not error["loc"]:
        return f"{key}: {error['msg']}"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    shown = "" if _is_secret(key) else f", not {str(given[key])[:60]!r}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _is_secret(key: str) -> bool:
    return "SecretStr" in str(Config.model_fields[key].annotation)
