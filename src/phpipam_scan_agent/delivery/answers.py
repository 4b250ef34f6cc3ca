"""An HTTP answer → no error if a Scan Server has taken the report, else the error that decides about it. Pure.

There are two Scan Servers. This project's answers JSON with its name at every status. The collection's accepts with
an empty 200 and refuses with one line of text. Any other answer, as of a proxy, a portal or on the wrong port, is
neither an acceptance nor a refusal.
"""

import json
from typing import Any

from ..errors import (
    BadReportError,
    NotAssignedError,
    ServerError,
    TooLargeError,
    UnavailableError,
)
from ..https import Answer
from ..system.redact import excerpt

SERVER = "phpipam-scan-server"
"""The name in every answer of this project's server."""

REASONS: dict[str, tuple[type[ServerError], str]] = {
    "json": (BadReportError, "the report was damaged in transit; see the server's log"),
    "field": (BadReportError, "the server does not accept this value; update the server or the agent"),
    "row": (BadReportError, "phpIPAM's database refuses these rows, the others are stored"),
    "subnet": (
        NotAssignedError,
        "check in phpIPAM that the subnet is this agent's; the next run asks phpIPAM again",
    ),
    "token": (UnavailableError, "check auth_token: it must be the one of the server's configuration"),
    "code": (UnavailableError, "check scanagent_code, and in phpIPAM the scan agent's Code"),
    "path": (UnavailableError, "check http_server and http_port"),
    "method": (UnavailableError, "check http_server and http_port"),
    "slow": (ServerError, "check the network"),
    "size": (TooLargeError, "raise the body size that the server accepts"),
    "guesses": (UnavailableError, "check scanagent_code"),
    "database": (UnavailableError, "see the server's log"),
    "busy": (UnavailableError, "the server is overloaded"),
    "timezone": (UnavailableError, "set the server's timezone"),
}
"""The `reason` of a refusal by this project's server → the error's class, and what to check."""

COLLECTION = {
    400: ("Invalid JSON payload", "the report was damaged in transit"),
    401: ("", "check auth_token: it must be the one of the server's configuration"),
}
"""The status of a refusal by the collection's server → the start of its text, and what to check."""


def is_of_this_project(answer: Answer) -> bool:
    """Return whether the answer is of this project's Scan Server."""
    return _own_json(answer) is not None


def check(url: str, answer: Answer) -> None:
    """Return if the Scan Server has taken a report. Raise ServerError, whose class decides about the report."""
    own = _own_json(answer)
    if answer.status == 200 and (own or not answer.body):
        if not answer.marked_end:
            raise UnavailableError(f"Scan Server at {url}: the answer was cut off; check the network")
        return
    if not own:
        raise _other(url, answer)
    kind, advice = REASONS.get(str(own.get("reason")), (ServerError, "see the server's log"))
    why = excerpt(str(own.get("error")), 200)
    raise kind(f"Scan Server at {url} answers HTTP {answer.status}: {why}; {advice}")


def check_refused_json(url: str, answer: Answer) -> None:
    """Return if a Scan Server has accepted the token and refused a body that is not JSON. Raise ServerError."""
    own = _own_json(answer)
    if answer.status == 400 and own and own.get("reason") == "json":
        return
    if answer.status == 400 and _line(answer).startswith(COLLECTION[400][0]):
        return
    if answer.status == 200:
        raise _not_a_scan_server(url, answer)
    check(url, answer)


def _own_json(answer: Answer) -> dict[str, Any] | None:
    """Return the JSON of this project's server; None for any other answer."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("server") == SERVER else None


def _other(url: str, answer: Answer) -> ServerError:
    """Return the error for an answer of the collection's server, or for an answer of no Scan Server."""
    line = _line(answer)
    if answer.status == 413:  # of the server or of a proxy: smaller parts may pass
        return TooLargeError(f"{_where(url, answer)}; raise the body size that the server or a proxy accepts")
    if answer.status == 500 and not answer.body:
        return UnavailableError(f"{_where(url, answer)}; see the server's log")
    if answer.status == 500 and line:
        return ServerError(f"{_where(url, answer)}; see the server's log")
    if answer.status in (429, 502, 503, 504):
        return UnavailableError(
            f"{_where(url, answer)}; see the log of the server or of the proxy in front of it"
        )
    if line and answer.status in COLLECTION:
        begins, advice = COLLECTION[answer.status]
        if line.startswith(begins):
            return UnavailableError(f"{_where(url, answer)}; {advice}")
    return _not_a_scan_server(url, answer)


def _not_a_scan_server(url: str, answer: Answer) -> UnavailableError:
    server = f" (Server: {excerpt(answer.server, 40)})" if answer.server else ""
    text = excerpt(answer.body.decode("utf-8", "replace"), 80)
    shown = f" {text!r}" if text else ""
    return UnavailableError(
        f"no Scan Server answers at {url}: HTTP {answer.status}{shown}{server};"
        " check http_server, http_port and any proxy"
    )


def _where(url: str, answer: Answer) -> str:
    text = excerpt(answer.body.decode("utf-8", "replace"), 100)
    return f"Scan Server at {url} answers HTTP {answer.status}{': ' if text else ''}{text}"


def _line(answer: Answer) -> str:
    """Return the text of an answer of one line of plain text; empty for any other answer."""
    text = answer.body.decode("utf-8", "replace").strip()
    plain = "html" not in answer.content_type and not text.startswith(("<", "{", "["))
    return text if plain and len(text.splitlines()) == 1 else ""
