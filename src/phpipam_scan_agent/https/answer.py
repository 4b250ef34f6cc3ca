"""A whole HTTP answer, of bounded size."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader


class TooLargeAnswer(Exception):  # noqa: N818 (the server's fault and not the program's)
    """The answer has more bytes than are read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that is no redirect."""

    status: int
    content_type: str
    body: bytes

    marked_end: bool = True
    """Whether the server said how long it is; one cut off in its headers looks whole otherwise."""

    date: float | None = None
    """The server's clock when it answered, in seconds since the epoch, if it said so."""

    server: str = ""
    """The program that answered, by its `Server` header."""

    retry_after: float | None = None
    """Seconds that the server asks for before the next request, if it does."""


def read(response: requests.Response, limit: int) -> Answer:
    """Read an answer to its end. Raise TooLargeAnswer if its body has more bytes than `limit`."""
    headers = response.headers
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > limit:
            raise TooLargeAnswer
    chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
    return Answer(
        status=response.status_code,
        content_type=headers.get("Content-Type", ""),
        body=bytes(body),
        marked_end=chunked or headers.get("Content-Length", "").isdigit(),
        date=_date(headers.get("Date")),
        server=headers.get("Server", ""),
        retry_after=_retry_after(headers.get("Retry-After")),
    )


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _retry_after(text: str | None) -> float | None:
    """Given a Retry-After header, seconds or a date, return its seconds; None if it is missing or neither."""
    try:
        return None if text is None else Retry().parse_retry_after(text)
    except (InvalidHeader, ValueError, OverflowError):
        return None
