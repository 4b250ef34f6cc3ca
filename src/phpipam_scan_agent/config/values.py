"""What a setting may hold. Each check says what is wrong with a value and what to write instead. Pure."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, SecretStr

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


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("is no time zone; write it like Europe/Berlin or UTC") from None
    except KeyError:
        raise ValueError(
            "is no time zone that this machine knows; write it like Europe/Berlin, or install tzdata"
        ) from None
    return value


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


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _prom(path: Path) -> Path:
    if path.suffix != ".prom":
        raise ValueError(f"{path} does not end in .prom, which node_exporter wants")
    return path


MetricsFile = Annotated[Path, AfterValidator(_prom)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
Url = Annotated[str, AfterValidator(_url)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
Token = Annotated[SecretStr, AfterValidator(_header_value)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Code = Annotated[SecretStr, AfterValidator(_printable)]
Name = Annotated[str, AfterValidator(_app_id)]
