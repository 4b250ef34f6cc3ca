"""One JSON object a line: the service's messages, and each request with its answer. No secret is logged."""

import json
import logging
import time
from datetime import datetime, timezone

from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from . import metrics

log = logging.getLogger(__package__)

MAX_TEXT = 100
"""Maximum characters of a request's method and path in the log."""


class JsonLines(logging.Formatter):
    """Formats a record with the `fields` that it carries."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "fields", {}))


async def access(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Log and count a request with the fields that the service has put into `request.state.fields`."""
    started = time.monotonic()
    client = request.client.host if request.client else "?"
    method, path = request.method[:MAX_TEXT], request.scope["path"][:MAX_TEXT]
    request.state.fields = fields = {"client": client, "method": method, "path": path, "status": 500}
    try:
        response = await call_next(request)
        fields["status"] = response.status_code
        return response
    finally:
        fields["seconds"] = round(time.monotonic() - started, 3)
        log.info("request", extra={"fields": fields})
        metrics.count(fields)
