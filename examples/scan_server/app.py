"""The service: authorisation, limits and answers of the requests."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime, timezone
from typing import Any
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from . import database, decode, metrics, write
from .answers import Refusal, answer, failed, refused, unavailable, unrouted
from .config import Config, is_loopback
from .limits import Guesses
from .log import access
from .php_time import Zone

MAX_BODY = 1024 * 1024
"""Maximum bytes of a report."""

MAX_REPORTS = 250
"""Reports in progress, each with a body of at most 1 MiB in memory."""

LARGE = 64 * 1024
"""Bytes; a larger report takes up to 30 MB of memory and a second of CPU time."""

MAX_LARGE = 2
"""Large reports that are decoded and written at a time."""

REPORT_SECONDS = 30
"""Maximum seconds for the transfer of a report."""

CLOCK_SECONDS = 60
"""Seconds between two observations of PHP's clock."""


class Service:
    """The handlers of the requests, and their shared state."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._zone = Zone(config.timezone)
        self._guesses = Guesses()
        self._in_progress = asyncio.Semaphore(MAX_REPORTS)
        self._agents: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._large = CapacityLimiter(MAX_LARGE)
        self._checkers = CapacityLimiter(1)
        self._writers = CapacityLimiter(database.POOL)

    async def report(self, request: Request) -> Response:
        """Store a report; status 200 means that it is committed."""
        self._authorise(request)
        if self._in_progress.locked():
            raise Refusal(503, "busy", "too many reports at once; send it again later", {"Retry-After": "5"})
        async with self._in_progress:
            return await self._store(request, await _read(request))

    async def _store(self, request: Request, body: bytes) -> Response:
        code, fields = decode.code(body), request.state.fields
        self._guesses.check(fields["client"])
        # In turn, so that one agent's reports leave connections to the others'.
        turn = self._agents.setdefault(code, asyncio.Lock())
        async with turn, self._large if len(body) > LARGE else nullcontext():
            try:
                stored = await to_thread.run_sync(self._write, fields, code, body, limiter=self._writers)
            except Refusal as refusal:
                if refusal.body["reason"] == "code":
                    self._guesses.add(fields["client"], code)
                raise
        counts: dict[str, Any] = {"updated": stored.updated, "added": stored.added, "skipped": stored.skipped}
        if not stored.refused:
            return answer(request, 200, counts)
        rows = [{"field": f"scan.results.{place}", "error": why[:200]} for place, why in stored.refused]
        why = "{field}: the database refuses it: {error}".format(**rows[0])
        more: dict[str, Any] = {"field": rows[0]["field"], "rows": rows[:20], "refused": len(rows)}
        raise Refusal(400, "row", why, **more, **counts)

    def _write(self, fields: dict[str, Any], code: str, body: bytes) -> write.Stored:
        """Decode the report and write it. Its code is verified first, and `fields` of the log get its subnet."""
        self._observe(code)
        now = datetime.now(timezone.utc)
        report = decode.decode(body, now)
        fields["subnet"] = str(report.network)
        return write.store(self._engine, report, self._zone.at(now), self._config.names == "always")

    def _observe(self, code: str | None = None) -> None:
        """Verify that phpIPAM has the code, and observe PHP's clock."""
        with self._engine.connect() as connection:
            if code is not None:
                write.find_agent(connection, code)
            self._zone.observe(database.last_api_requests(connection), datetime.now(timezone.utc))

    async def health(self, request: Request) -> Response:
        """Answer whether a report could be stored with the right times."""
        await to_thread.run_sync(database.check, self._engine, limiter=self._checkers)
        if self._zone.conflict:
            raise Refusal(503, "timezone", self._zone.conflict)
        return answer(request, 200, {"health": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics, by default only to clients on loopback."""
        local = is_loopback(request.state.fields["client"]) and "x-forwarded-for" not in request.headers
        if self._config.metrics == "loopback" and not local:
            raise HTTPException(404)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Watch PHP's clock while the service runs."""
        watch = asyncio.create_task(self._watch_clock())
        yield
        watch.cancel()

    async def _watch_clock(self) -> None:
        while True:
            with suppress(SQLAlchemyError):  # reports and /health show the error
                await to_thread.run_sync(self._observe)
            await asyncio.sleep(CLOCK_SECONDS)

    def _authorise(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = self._config.auth_token.get_secret_value()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            why = "auth_token: missing or wrong; it must be the one of the Scan Server's configuration"
            raise Refusal(401, "token", why, {"WWW-Authenticate": "Bearer"})


def make_app(config: Config, engine: Engine) -> Starlette:
    """Return the service."""
    service = Service(config, engine)
    app = Starlette(
        routes=[
            Route("/", service.report, methods=["POST"]),
            Route("/health", service.health),
            Route("/metrics", service.metrics),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=access)],
        exception_handlers={
            Refusal: refused,
            HTTPException: unrouted,
            SQLAlchemyError: unavailable,
            Exception: failed,
        },
        lifespan=service.lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would contain the Host header
    return app


async def _read(request: Request) -> bytes:
    """Return the body, of at most MAX_BODY bytes. Raise Refusal 408 or 413."""
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise Refusal(413, "size", f"the report is larger than {MAX_BODY} bytes; send it in parts")
    with move_on_after(REPORT_SECONDS), suppress(ClientDisconnect):
        return await request.body()
    raise Refusal(408, "slow", f"the report did not arrive completely within {REPORT_SECONDS} seconds")
