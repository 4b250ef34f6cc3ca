"""The configuration file → Config; every mistake is named at once, and no secret is shown."""

import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError, model_validator

ROOT_KEY = "nofusscomputing_phpipam_scan_server"
PATHS = ("sqlite_file", "tls_cert", "tls_key")


class ConfigError(Exception):
    """The configuration is wrong; the text has a line for each mistake."""


class Config(BaseModel):
    """What the file says; paths are relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mysql_host: str = ""
    """Name or address of phpIPAM's database server, or the path of its socket."""
    mysql_port: int = Field(3306, ge=1, le=65535)
    mysql_user: str = ""
    mysql_password: SecretStr = SecretStr("")
    mysql_database: str = "phpipam"
    sqlite_file: Path | None = None
    """A file instead of phpIPAM's database, to try the server without one."""
    timezone: ZoneInfo = ZoneInfo("UTC")
    """PHP's time zone where phpIPAM runs: phpIPAM keeps local times, and its database does not know whose."""
    http_host: str = ""
    http_port: int = Field(5000, ge=0, le=65535)
    """0 lets the system choose one, and the log names it."""
    auth_token: SecretStr = SecretStr("no-token-set")
    """An agent without a token sends the default, as everybody knows."""
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None

    @property
    def host(self) -> str:
        """The address to listen on: loopback, unless TLS is set or another one is asked for."""
        return self.http_host or ("0.0.0.0" if self.tls_cert else "127.0.0.1")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for key in () if self.sqlite_file else ("mysql_host", "mysql_user", "mysql_password"):
            if not getattr(self, key):
                raise ValueError(f"{key}: missing or empty")
        if self.sqlite_file and self.mysql_host:
            raise ValueError("sqlite_file: leave it out where mysql_host is set")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together; set both or none")
        if self.tls_cert:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                    self.tls_cert, self.tls_key
                )
            except OSError as error:
                raise ValueError(f"tls_cert, tls_key: cannot be used: {error}") from None
        if "auth_token" in self.model_fields_set and not self.tls_cert and not _is_loopback(self.host):
            raise ValueError(
                f"auth_token: would cross the network in the clear, as http_host is {self.host};"
                " set tls_cert and tls_key, or leave http_host out"
            )
        return self


def load(path: Path) -> Config:
    """Given the file's path, return the configuration. Raise ConfigError with every mistake in it."""
    try:
        # BaseLoader takes every value as the text that was typed: a password 0123 stays 0123.
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError):
        raise ConfigError(f"{path}: is not YAML; put values with special characters in quotes") from None
    settings = document.get(ROOT_KEY) if isinstance(document, dict) else None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: has no {ROOT_KEY}: with settings below it")
    given = {key: path.parent / value if key in PATHS else value for key, value in settings.items() if value}
    try:
        return Config.model_validate(given)
    except ValidationError as invalid:
        raise ConfigError("\n".join(f"{path}: {_problem(error)}" for error in invalid.errors())) from None


def _problem(error: Any) -> str:
    what = str(error["msg"]).removeprefix("Value error, ")
    return f"{error['loc'][0]}: {what}" if error["loc"] else what


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
