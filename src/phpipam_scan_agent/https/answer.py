"""A complete HTTP answer, of limited size."""

from email.utils import parsedate_to_datetime
from typing import NamedTuple

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader


class TooLargeAnswer(Exception):  # noqa: N818 (the server's fault and not the program's)
    """The answer has more bytes than the limit."""


class Answer(NamedTuple):
    """A complete answer that is no redirect."""

    status: int
    content_type: str
    body: bytes

    marked_end: bool = True
    """Whether the headers state the body's length or chunks; without them a truncated answer seems complete."""

    date: float | None = None
    """The server's time of the answer, from its `Date` header, in seconds since the epoch."""

    server: str = ""
    """The `Server` header: the program that answered."""

    retry_after: float | None = None
    """Seconds until the next request, from the `Retry-After` header."""


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
    """Given a Retry-After header, seconds or a date, return its seconds; None if it is missing or not valid."""
    try:
        return None if text is None else Retry().parse_retry_after(text)
    except (InvalidHeader, ValueError, OverflowError):
        return None
