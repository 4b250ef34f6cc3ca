"""Types of the configuration's values. A check raises ValueError with mistake and correction, without the value."""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from ..system import files

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks, and surrogates, which UTF-8 cannot encode."""

LONGEST_SHOWN = 15
"""Maximum length of a word that is shown unmasked; phpIPAM's codes and tokens have 32 characters."""


def looks_secret(text: str) -> bool:
    """Return whether a text may be a secret in the wrong setting: a long word, and no path in an existing folder."""
    if len(text) <= LONGEST_SHOWN or any(character.isspace() for character in text):
        return False
    try:
        return not (text.startswith("/") and Path(text).parent.is_dir())
    except (OSError, ValueError):
        return True


def _without_control_characters(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("has control characters or line breaks; write it on one line, in quotes")
    return value


def _header_value(secret: SecretStr) -> SecretStr:
    value = _without_control_characters(secret.get_secret_value())
    if not value.isascii() or value != value.strip():
        raise ValueError(
            "has characters that an HTTP header cannot carry; copy it again, without blanks around"
        )
    return secret


def _printable(secret: SecretStr) -> SecretStr:
    _without_control_characters(secret.get_secret_value())
    return secret


def _app_id(value: str) -> str:
    if "/" in value:
        raise ValueError("has a slash in it; write the App id only")
    return _without_control_characters(value)


def _time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo  # takes a while to load

    try:
        ZoneInfo(value)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("is not a time zone; write it like Europe/Berlin or UTC") from None
    except KeyError:
        raise ValueError(
            "is not a time zone that this machine knows; write it like Europe/Berlin, or install tzdata"
        ) from None
    return value


def _url(value: str) -> str:
    """Given a URL, return it without a slash at its end. Raise ValueError if it is not valid."""
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("has blanks or control characters in it")
    if not value.lower().startswith(("https://", "http://")):
        raise ValueError("has no protocol; write https:// before it")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("is not a URL; write it like https://ipam.example.org") from None
    if not parts.hostname:
        raise ValueError("has no host name")
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError("has a host name with a part that is empty or longer than 63 characters") from None
    if "@" in parts.netloc:
        raise ValueError("has a user name or password in it; leave them out, they are not used")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment; leave out the part from '?' or '#' on")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None
    return value.rstrip("/")


def _api_url(url: str) -> str:
    if not url.lower().startswith("https://"):
        raise ValueError("begins with http://; use https, since the App code is sent with each request")
    return url


def _server_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.port is not None:
        raise ValueError("has a port in it; leave it out and set http_port")
    if parts.path:
        raise ValueError("has a path; the Scan Server listens at /, leave the path out")
    return url


def _path(path: Path) -> Path:
    _without_control_characters(str(path))
    return path


def _readable(path: Path) -> Path:
    try:
        os.close(files.open_regular(path, os.O_RDONLY, follow_symlinks=True))
        return path
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def _prom(path: Path) -> Path:
    if path.suffix != ".prom":
        raise ValueError("does not end in .prom, as node_exporter requires")
    return path


FilePath = Annotated[Path, AfterValidator(_path)]
MetricsFile = Annotated[FilePath, AfterValidator(_prom)]
ReadableFile = Annotated[FilePath, AfterValidator(_readable)]
Url = Annotated[str, AfterValidator(_url)]
ApiUrl = Annotated[Url, AfterValidator(_api_url)]
ServerUrl = Annotated[Url, AfterValidator(_server_url)]
Token = Annotated[SecretStr, AfterValidator(_header_value)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Code = Annotated[SecretStr, AfterValidator(_printable)]
Name = Annotated[str, AfterValidator(_app_id)]
