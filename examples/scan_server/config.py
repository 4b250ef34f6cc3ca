"""The configuration file → Config, or all mistakes at once, without secrets."""

import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError, model_validator

ROOT_KEY = "nofusscomputing_phpipam_scan_server"
PATHS = ("sqlite_file", "tls_cert", "tls_key", "mysql_ssl_ca", "mysql_ssl_cert", "mysql_ssl_key")
NO_TOKEN = "no-token-set"
SAMPLE = "CHANGE-ME"
"""The sample file's placeholder for secrets."""


class ConfigError(Exception):
    """The configuration is wrong; the text has a line for each mistake."""


class Config(BaseModel):
    """A valid configuration; paths are relative to its file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mysql_host: str = ""
    """Name or address of phpIPAM's database server, or the path of its socket."""
    mysql_port: int = Field(3306, ge=1, le=65535)
    mysql_user: str = ""
    mysql_password: SecretStr = SecretStr("")
    mysql_database: str = "phpipam"
    mysql_ssl_ca: FilePath | None = None
    """With it, the database's certificate is verified, which must name mysql_host."""
    mysql_ssl_cert: FilePath | None = None
    mysql_ssl_key: FilePath | None = None
    sqlite_file: Path | None = None
    """A file instead of phpIPAM's database, to try the server without one."""
    timezone: ZoneInfo | None = None
    """PHP's time zone where phpIPAM runs; without it, the offset is observed."""
    names: Literal["missing", "always"] = "missing"
    """Whether a host name is stored only if phpIPAM has none, or replaces the name in phpIPAM."""
    metrics: Literal["loopback", "everyone"] = "loopback"
    http_host: str = ""
    http_port: int = Field(5000, ge=0, le=65535)
    """With 0 the system chooses a port, which is in the log."""
    auth_token: SecretStr = SecretStr(NO_TOKEN)
    """An agent without a token sends this public default."""
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None

    @property
    def host(self) -> str:
        """The address to listen on: `http_host`, else all addresses with TLS, else loopback."""
        return self.http_host or ("0.0.0.0" if self.tls_cert else "127.0.0.1")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for key in () if self.sqlite_file else ("mysql_host", "mysql_user", "mysql_password"):
            if not getattr(self, key):
                raise ValueError(f"{key}: missing or empty")
        if self.sqlite_file and self.mysql_host:
            raise ValueError("sqlite_file: leave it out if mysql_host is set")
        for key in ("mysql_password", "auth_token"):
            if getattr(self, key).get_secret_value().startswith(SAMPLE):
                raise ValueError(f"{key}: is still the sample's; change it")
        self.tls("tls")
        self.tls("mysql_ssl", self.mysql_ssl_ca)
        if self.mysql_ssl_cert and not self.mysql_ssl_ca:
            raise ValueError("mysql_ssl_ca: is needed with mysql_ssl_cert")
        if not is_loopback(self.host):
            if self.auth_token.get_secret_value() == NO_TOKEN:
                raise ValueError(f"auth_token: is needed, as http_host is {self.host}")
            why = f"auth_token: would cross the network unencrypted, as http_host is {self.host}"
            if not self.tls_cert:
                raise ValueError(f"{why}; set tls_cert and tls_key, or leave http_host out")
        return self

    def tls(self, prefix: str, authority: Path | None = None) -> ssl.SSLContext:
        """Return the TLS context with the certificate and key of `prefix`. Raise ValueError if a file is wrong."""
        cert, key = getattr(self, f"{prefix}_cert"), getattr(self, f"{prefix}_key")
        if bool(cert) != bool(key):
            raise ValueError(f"{prefix}_cert and {prefix}_key belong together; set both or none")
        try:
            context = ssl.create_default_context(cafile=authority)
            if cert:
                context.load_cert_chain(cert, key, str)  # an empty passphrase: OpenSSL would ask for one
        except OSError as error:
            names = f"{prefix}_ca, " if authority else ""
            raise ValueError(f"{names}{prefix}_cert, {prefix}_key: cannot be used: {error}") from None
        return context


class _Loader(yaml.BaseLoader):
    """Keeps each value as typed: a password 0123 stays 0123. Each key may occur once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(f"line {node.start_mark.line + 1}: {key} occurs more than once")
        return super().construct_mapping(node, deep)


def load(path: Path) -> Config:
    """Given the file's path, return the configuration. Raise ConfigError with every mistake in it."""
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError):
        raise ConfigError(f"{path}: is not YAML; put values with special characters in quotes") from None
    settings = document.get(ROOT_KEY) if isinstance(document, dict) else None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: has no {ROOT_KEY}: with settings below it")
    given = {key: _value(path, key, value) for key, value in settings.items() if value}
    try:
        return Config.model_validate(given)
    except ValidationError as invalid:
        raise ConfigError("\n".join(f"{path}: {_problem(error)}" for error in invalid.errors())) from None


def _value(path: Path, key: str, value: object) -> object:
    """Make a path relative to the file."""
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key}: must be a single value")
    if "\0" in value:
        raise ConfigError(f"{path}: {key}: must not have NUL characters")
    return path.parent / value if key in PATHS else value


def _problem(error: Any) -> str:
    what = str(error["msg"]).removeprefix("Value error, ")
    return f"{error['loc'][0]}: {what}" if error["loc"] else what


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
