"""The Ansible collection's Scan Server: the reports that it accepts, and its refusals."""

import json
from typing import Any

from .https import Answer, Request

MAX_BODY = 1024 * 1024
"""Maximum bytes of a request, as of the real server."""


class ScanServer:
    """Accepts reports and keeps them; `token` is the required token, or None."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.reports: list[dict[str, Any]] = []
        self.instead: Answer | None = None
        """The answer to every report, if not None."""

    def answer(self, request: Request) -> Answer:
        """Return the Scan Server's answer."""
        if request.method != "POST":
            return Answer(405, b"405: Method Not Allowed")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token != (self.token or "no-token-set"):
            return Answer(401, b"Invalid authorization token")
        if len(request.body) > MAX_BODY:
            return Answer(413, f"Maximum request body size {MAX_BODY} exceeded.".encode())
        if self.instead:
            return self.instead
        try:
            self.reports.append(json.loads(request.body))
        except ValueError:
            return Answer(400, b"Invalid JSON payload")
        return Answer(200)
