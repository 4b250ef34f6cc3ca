"""The service: who may send, what is read, what is answered."""

import hmac
import logging
from collections.abc import Mapping
from datetime import datetime

import anyio
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import database
from .config import Config
from .decode import decode
from .log import AccessLog
from .write import store

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
"""Bytes that are read of a report."""

PATIENCE = 30
"""Seconds that a report may take to come."""


def make_app(config: Config, engine: Engine) -> Starlette:
    """Return the service, which says 200 to a report when it is stored, and not before."""
    token = config.auth_token.get_secret_value().encode()

    async def report(request: Request) -> Response:
        _authorise(request, token)
        body = await _read(request)
        report = await run_in_threadpool(decode, body, datetime.now(config.timezone))
        request.state.fields["subnet"] = str(report.network)
        stored = (await run_in_threadpool(store, engine, report))._asdict()
        request.state.fields.update(stored)
        return JSONResponse(stored)

    async def health(_: Request) -> Response:
        await run_in_threadpool(database.check, engine)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[Route("/", report, methods=["POST"]), Route("/health", health)],
        middleware=[Middleware(AccessLog)],
        exception_handlers={HTTPException: _refused, SQLAlchemyError: _unavailable},
    )


def _authorise(request: Request, token: bytes) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token):
        why = "auth_token: missing or wrong; it must be the one of the Scan Server's configuration"
        raise HTTPException(401, why, {"WWW-Authenticate": "Bearer"})


async def _read(request: Request) -> bytes:
    """Return the body; no more of it is read than a report may have."""
    too_large = HTTPException(413, f"the report is larger than {MAX_BODY} bytes; send it in parts")
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise too_large
    body = bytearray()
    with anyio.move_on_after(PATIENCE):
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise too_large
        except ClientDisconnect:
            raise HTTPException(400, "the connection ended before the report") from None
        return bytes(body)
    raise HTTPException(408, f"the report took longer than {PATIENCE} seconds to come")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.error("database: %s", getattr(error, "orig", None) or error)
    why = "the database cannot be used now; keep the report, and see the Scan Server's log"
    return _answer(request, 503, why, {"Retry-After": "60"})


def _answer(request: Request, status: int, why: str, headers: Mapping[str, str] | None) -> Response:
    request.state.fields["error"] = why = why[:300]
    return JSONResponse({"error": why}, status, headers)
