"""Answers: JSON at any status, with the name of this server and the reason of a refusal."""

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.requests import Request
from starlette.responses import JSONResponse

log = logging.getLogger(__name__)

Headers = Mapping[str, str] | None

SERVER = "phpipam-scan-server"
"""The name in each answer, by which agents distinguish it from a proxy's."""

MAX_ERROR = 300
"""Maximum characters of an error's text."""

COLLIDED = frozenset((1020, 1205, 1213, 1305))
"""MariaDB's errors if others, such as phpIPAM itself, changed or locked the same rows: snapshot, wait, deadlock.

A deadlock ends all savepoints: the return to one is then error 1305.
"""

ROW_ERRORS = frozenset((1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1452, 1644, 3819, 4025))
"""MariaDB's errors about a row: null, not unique, out of range, truncated, wrong value, no default, too long, no such
foreign key, refused by a trigger, refused by a check."""

DATABASE_ERRORS = {
    1044: "refuses mysql_user; check mysql_database, and run grants.sql on it",
    1045: "refuses mysql_user or mysql_password, or wants a certificate, see mysql_ssl_cert",
    1049: "has no mysql_database of that name",
    1142: "refuses a statement; run grants.sql again",
    1143: "refuses a column; run grants.sql again",
    1146: "lacks a table; check that mysql_database is phpIPAM's",
    1698: "refuses mysql_user or mysql_password",
    2003: "cannot be reached; check mysql_host and mysql_port",
    3159: "takes connections with TLS only; set mysql_ssl_ca",
}
"""By MariaDB's error number."""


class Refusal(Exception):  # noqa: N818
    """A refused request; `headers` and `more` (the fields of the body) go into the answer."""

    def __init__(self, status: int, reason: str, error: str, headers: Headers = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers
        self.body = {"error": error[:MAX_ERROR], "reason": reason, **more}


def wrong_field(field: str, why: str) -> Refusal:
    """Return the refusal of a report for one of its fields."""
    return Refusal(400, "field", f"{field}: {why}", field=field)


def answer(request: Request, status: int, body: Mapping[str, Any], headers: Headers = None) -> JSONResponse:
    """Return the answer, and add it to the fields of the log."""
    request.state.fields.update(body)
    return JSONResponse({"server": SERVER, **body}, status, headers)


async def refused(request: Request, error: Any) -> JSONResponse:
    """Answer a Refusal."""
    return answer(request, error.status, error.body, error.headers)


async def unrouted(request: Request, error: Any) -> JSONResponse:
    """Answer an HTTPException: a path or method that does not exist."""
    reason = "method" if error.status_code == 405 else "path"
    body = {"error": f"{reason}: reports go to POST /", "reason": reason}
    return answer(request, error.status_code, body, error.headers)


async def failed(request: Request, _: Exception) -> JSONResponse:
    """Answer for a fault of this program; the traceback is in the log."""
    return answer(request, 500, {"error": "the Scan Server failed; see its log", "reason": "fault"})


async def unavailable(request: Request, error: Exception) -> JSONResponse:
    """Answer for a database that cannot be used now."""
    log.error("database: %s", getattr(error, "orig", None) or error)
    if error_number(error) in COLLIDED or isinstance(error, NoConnectionError):
        body = {"error": "phpIPAM's database is busy; keep the report, and send it again", "reason": "busy"}
        return answer(request, 503, body, {"Retry-After": "5"})
    why = f"phpIPAM's database {trouble(error)}; keep the report"
    return answer(request, 503, {"error": why, "reason": "database"}, {"Retry-After": "60"})


def trouble(error: Exception) -> str:
    """Return advice for the administrator. MariaDB's message is only logged, since /health needs no token."""
    if "certificate verify failed" in str(error):
        return "has a certificate that is not of mysql_ssl_ca, or does not name mysql_host"
    return DATABASE_ERRORS.get(error_number(error), "cannot be used now")


def error_number(error: Exception) -> int:
    """Return MariaDB's error number, or 0."""
    args = error.orig.args if isinstance(error, DBAPIError) and error.orig else ()
    return args[0] if args and isinstance(args[0], int) else 0
