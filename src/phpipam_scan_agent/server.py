"""Upload reports to the Scan Server."""

import json
import logging

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from .config import Config
from .errors import ServerError, TransportError
from .http import Answer, Client
from .masking import quoted
from .models import Report

log = logging.getLogger(__name__)

NO_TOKEN = "no-token-set"  # noqa: S105 (the server's own default, for everybody to know)

MAX_ANSWER = 64 * 1024
"""Bytes; the server's answers are empty or one line."""

ADVICE = {
    400: "the report is not what it expects; check that it is a Scan Server",
    401: "check auth_token: it must be the one of the server's configuration",
    404: "check http_server and http_port: no Scan Server answers there",
    405: "check http_server and http_port: no Scan Server answers there",
    413: "raise the body size that the server or the proxy in front of it accepts",
}


class ScanServer:
    """The Scan Server as one agent sees it. It says 200 for taken into its queue."""

    def __init__(self, config: Config) -> None:
        self._url = f"{config.http_server}:{config.http_port}/"
        self._code = config.scanagent_code
        self._client = Client(
            "Scan Server", "http_server", _Bearer(config.auth_token or SecretStr(NO_TOKEN)), MAX_ANSWER
        )

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def upload(self, report: Report) -> None:
        """Send one report. Raise TransportError or ServerError if the server has not taken it."""
        code = json.dumps(self._code.get_secret_value())
        body = f'{{"code": {code}, "scan": {report.scan}}}'.encode()
        headers = {"Content-Type": "application/json"}
        answer = self._client.send("POST", self._url, data=body, headers=headers)
        if answer.status == 200 and not answer.marked_end:
            raise TransportError(f"Scan Server at {self._url}: the answer was cut off; check the network")
        if answer.status != 200:
            raise ServerError(f"Scan Server at {self._url} refuses the report with {_refusal(answer)}")
        log.info("subnet %s: report uploaded (%d bytes)", report.network, len(body))


class _Bearer(AuthBase):
    """Sends the token; the only place where it is opened."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


def _refusal(answer: Answer) -> str:
    said = quoted(answer.body.decode("utf-8", "replace"), 200)
    advice = ADVICE.get(answer.status, "see the server's own log")
    return f"HTTP {answer.status}{': ' if said else ''}{said}; {advice}"
