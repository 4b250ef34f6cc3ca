"""The configuration file → Config: one schema for types, defaults and help; all mistakes are reported at once."""

from pathlib import Path
from typing import Any, Literal, get_args

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
from ..system import files, folders
from . import yaml_text
from .values import (
    ApiUrl,
    Code,
    FilePath,
    MetricsFile,
    Name,
    ReadableFile,
    ServerUrl,
    TimeZone,
    Token,
    looks_secret,
)
from .yaml_text import Key

ROOT_KEY = "nofusscomputing_phpipam_scan_agent"

SECRETS = ("client_token", "auth_token", "scanagent_code")
"""Keys whose value may be in a separate file."""

APP_CODE_LENGTH = 32
"""Length of an App code in characters; a client_name of this length may be an App code in the wrong setting."""

PATHS = (*(f"{secret}_file" for secret in SECRETS), "ca_file", "client_cert", "client_key", "metrics_file")
"""Keys whose value is a path."""

MAX_SECRET = 64 * 1024
"""Maximum size of a secret's file in bytes."""


class Config(BaseModel):
    """A valid configuration. Secrets are SecretStr, so that no repr shows them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_url: ApiUrl = Field(description="phpIPAM's URL, which begins with https://")
    http_port: int = Field(5000, ge=1, le=65535, description="the Scan Server's port")
    http_server: ServerUrl = Field(
        "http://127.0.0.1", validate_default=True, description="the Scan Server's URL with protocol"
    )
    auth_token: Token | None = Field(None, description="the Scan Server's token")
    phpipam_connections: int = Field(
        4, ge=1, le=32, description="maximum number of connections to phpIPAM at a time"
    )
    parallel_scans: int = Field(32, ge=1, le=256, description="maximum number of nmap processes at a time")
    max_rate: int = Field(
        2000, ge=1, le=1_000_000, description="maximum rate of the whole run in packets a second"
    )
    scan_timeout: int = Field(
        900,
        ge=1,
        le=10**6,
        description="extra seconds a scan may take, on top of the time its packets need at the chosen rate",
    )
    ipv6: bool = Field(
        False, description="scan IPv6 subnets too; the collection's Scan Server drops their reports"
    )
    scan_parents: bool = Field(
        False, description="also scan the addresses of a parent subnet outside its nested subnets"
    )
    names: Literal["missing", "always", "never"] = Field(
        "missing",
        description="which addresses get a name from DNS: addresses without one in phpIPAM, all, or none",
    )
    name_form: Literal["short", "full"] = Field(
        "short", description="a name's form: its first label, or the whole name"
    )
    cache_expire_time: int = Field(
        1800, ge=0, le=10**9, description="seconds that phpIPAM's answers are cached; 0 asks in every run"
    )
    cache_stale_if_error: int = Field(
        0,
        ge=0,
        le=10**9,
        description="seconds that expired answers may still be used while phpIPAM is unreachable",
    )
    spool_max_age: int = Field(
        7 * 86400, ge=0, le=10**9, description="seconds that a report is kept for the Scan Server"
    )
    spool_max_size: int = Field(100 * 2**20, ge=0, description="maximum size of all kept reports in bytes")
    timezone: TimeZone | None = Field(
        None, description="IANA name of the time zone of the reports; the machine's time zone if not set"
    )
    epoch_time_offset: int = Field(
        0, ge=-(10**9), le=10**9, description="seconds added to the machine's clock; may be negative"
    )
    ca_file: ReadableFile | None = Field(
        None, description="PEM file of a CA to trust in addition to the machine's"
    )
    client_cert: ReadableFile | None = Field(
        None, description="PEM file of a client certificate for the Scan Server"
    )
    client_key: ReadableFile | None = Field(
        None, description="PEM file of its private key, if client_cert does not contain it"
    )
    metrics_file: MetricsFile | None = Field(
        None,
        description="file for the textfile collector of Prometheus' node_exporter; its name ends in .prom",
    )
    client_token_file: FilePath | None = Field(None, description="file that contains client_token")
    auth_token_file: FilePath | None = Field(None, description="file that contains auth_token")
    scanagent_code_file: FilePath | None = Field(None, description="file that contains scanagent_code")
    client_token: Token = Field(description="App code, in phpIPAM: Administration → API → edit")
    client_name: Name = Field(description="App id, in phpIPAM: Administration → API → edit")
    scanagent_code: Code = Field(description="Code, in phpIPAM: Administration → Scan agents → edit")

    @field_validator("auth_token")
    @classmethod
    def _token_requires_https(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        server = info.data.get("http_server", "https://")
        if token is not None and not server.lower().startswith("https://"):
            raise ValueError(
                "is set, but http_server does not begin with https://; a token is sent over https only"
            )
        return token

    @model_validator(mode="after")
    def _client_key_requires_client_cert(self) -> "Config":
        if self.client_key and not self.client_cert:
            raise PydanticCustomError("client_key", "is set, but client_cert is not")
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not appear in output."""
        found = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        if len(self.client_name) == APP_CODE_LENGTH:
            found.append(self.client_name)
        return tuple(found)


def load(path: Path) -> Config:
    """Given the file's path, return the configuration. Raise ConfigError with all mistakes."""
    path = folders.path_to_read(path)
    document = yaml_text.read(path)
    if not isinstance(document, dict) or ROOT_KEY not in document:
        problem = f"has no {ROOT_KEY}: at its top; every setting belongs below that key"
        raise ConfigError(folders.path_to_show(path), [problem])
    settings = document[ROOT_KEY] or {}
    if not isinstance(settings, dict):
        raise ConfigError(
            folders.path_to_show(path), [f"{ROOT_KEY}: must hold settings, one `key: value` a line"]
        )
    # Roots of the same collection's other programs may share the file.
    outside = [key for key in document if not key.startswith("nofusscomputing_")]
    problems = [f"{_shown_key(key, settings)}: belongs below {ROOT_KEY}; indent it" for key in outside]
    unknown = [key for key in settings if key not in Config.model_fields]
    for key in unknown:
        (near,) = _close_to(key, cutoff=0)
        problems.append(f"{_shown_key(key, settings)}: unknown key; did you mean {near}?")
    return _checked(path, {key: value for key, value in settings.items() if key not in unknown}, problems)


def _checked(path: Path, settings: dict[Key, Any], problems: list[str]) -> Config:
    several = [key for key, value in settings.items() if isinstance(value, (dict, list))]
    problems += [f"{key}: has several values; it takes one" for key in several]
    typed = {key: value for key, value in settings.items() if value and key not in several}
    given = typed | _paths(path, typed)
    given |= _secrets_in_files(typed, given, problems)
    try:
        config = Config.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        problems += [
            _problem(error, typed, given)
            for error in errors
            if not error["loc"] or error["loc"][0] not in several
        ]
    if problems:
        raise ConfigError(folders.path_to_show(path), problems)
    return config


def _paths(path: Path, typed: dict[Key, str]) -> dict[str, str]:
    """Return the paths in the configuration; a relative path is below systemd's credentials or the configuration."""
    credentials = folders.credentials() or path.parent
    return {
        key: str((path.parent if key == "metrics_file" else credentials) / typed[Key(key)])
        for key in PATHS
        if key in typed
    }


def _secrets_in_files(typed: dict[Key, str], given: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Return the secrets that are in separate files; add each mistake to the problems."""
    found = {}
    for key in SECRETS:
        if file := given.get(f"{key}_file"):
            about = _about(f"{key}_file", typed, given)
            found[key] = "unread"  # or the key would be reported as missing, too
            try:
                content = files.read(Path(file), MAX_SECRET, follow_symlinks=True).decode()
                found[key] = content.removesuffix("\n").removesuffix("\r")
            except (OSError, ValueError) as error:  # ValueError: a NUL character in the path, or not UTF-8
                why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
                problems.append(f"{about} cannot be read: {why}")
            if not found[key]:
                problems.append(f"{about} is empty")
            if key in typed:
                problems.append(f"{key}_file: {key} is set as well; keep one")
    return found


def _shown_key(key: Key, settings: dict[Key, Any]) -> str:
    """Return a key that is not valid; only its line if it may be a secret."""
    secret = key in _values_of_secrets(settings) or (looks_secret(key) and not _close_to(key))
    return f"line {key.line}" if secret else key


def _close_to(key: str, cutoff: float = 0.6) -> list[str]:
    """Return the valid key that is most similar to a key, in a list; an empty list if none is similar."""
    import difflib  # takes a moment to load

    return difflib.get_close_matches(key[:100], Config.model_fields, 1, cutoff)


def _problem(error: Any, typed: dict[Key, str], given: dict[str, str]) -> str:
    key = str(error["loc"][0]) if error["loc"] else error["type"]
    if error["type"] == "missing":
        return f"{key}: missing or empty; set it to {Config.model_fields[key].description}"
    if not error["loc"]:
        return f"{key}: {error['msg']}"
    if error["type"] == "value_error":
        # The path is shown, since the message is about the file.
        start = _about(key, typed, given) if key in PATHS else f"{key}:"
        return f"{start} {error['ctx']['error']}"
    if _is_hidden(given[key], typed):
        return f"{_with_line(key, typed)}: must be {_range(key)}"
    return f"{key}: must be {_range(key)}, not {given[key]!r}"


def _about(key: str, typed: dict[Key, str], given: dict[str, str]) -> str:
    """Return the start of a message about a file: key and path, or key and line if the path may be a secret."""
    if _is_hidden(typed[Key(key)], typed):
        return f"{_with_line(key, typed)}: the file"
    return f"{key}: {folders.path_to_show(Path(given[key]))}"


def _with_line(key: str, typed: dict[Key, str]) -> str:
    (line,) = (each.line for each in typed if each == key)
    return f"{key} (line {line})"


def _is_hidden(value: str, typed: dict[Key, Any]) -> bool:
    """Return whether a message must not contain a value, which may be a secret in the wrong setting."""
    return looks_secret(value) or value in _values_of_secrets(typed)


def _values_of_secrets(settings: dict[Key, Any]) -> list[Any]:
    return [value for key, value in settings.items() if key in SECRETS]


def _range(key: str) -> str:
    """Return the valid values of a number, a switch or a choice, in words."""
    field = Config.model_fields[key]
    if field.annotation is bool:
        return "true or false"
    if choices := [repr(choice) for choice in get_args(field.annotation)]:
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    least = next(bound.ge for bound in field.metadata if hasattr(bound, "ge"))
    most = [bound.le for bound in field.metadata if hasattr(bound, "le")]
    return f"a whole number from {least} to {most[0]}" if most else f"a whole number of at least {least}"
