"""One JSON object a line: the service's messages, and each request with its answer. No secret gets here."""

import json
import logging
import time
from datetime import datetime, timezone

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics

log = logging.getLogger(__package__)

MAX_TEXT = 100
"""Characters of a request's method and path in the log."""


class JsonLines(logging.Formatter):
    """Formats a record with the `fields` that it carries."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "fields", {}))


class AccessLog:
    """Logs and counts each request with what the service has put into `request.state.fields`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.monotonic()
        client = (scope["client"] or "?")[0]
        fields = {
            "client": client,
            "method": scope["method"][:MAX_TEXT],
            "path": scope["path"][:MAX_TEXT],
            "status": 500,
        }
        scope.setdefault("state", {})["fields"] = fields

        async def noting_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields["status"] = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        finally:
            fields["seconds"] = round(time.monotonic() - started, 3)
            log.info("request", extra={"fields": fields})
            metrics.count(fields)
