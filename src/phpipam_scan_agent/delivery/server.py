"""Upload reports to the Scan Server."""

import json
import logging

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from ..config import Config
from ..errors import BadReportError, ServerError, TooLargeError, TransportError, UnavailableError
from ..https import Answer, Client, Identity
from ..models import Report
from ..system.redact import excerpt

log = logging.getLogger(__name__)

NO_TOKEN = "no-token-set"  # noqa: S105 (the server's own default, for everybody to know)

MAX_ANSWER = 64 * 1024
"""Bytes; the server's answers are empty or one line."""

MAX_BODY = 1_000_000
"""Bytes of a request; the server refuses more than 1 MiB."""

OVERLOADED = frozenset((429, 500, 502, 503, 504))
"""What is worth another try, by this run or the next; 500 only where it comes without a reason."""

ADVICE = {
    400: "the report is not what it expects; check that it is a Scan Server",
    401: "check auth_token: it must be the one of the server's configuration",
    403: "check in phpIPAM that the subnet is this agent's, and scanagent_code",
    200: "check http_server and http_port: no Scan Server answers there",
    404: "check http_server and http_port: no Scan Server answers there",
    405: "check http_server and http_port: no Scan Server answers there",
    413: "raise the body size that the server or the proxy in front of it accepts",
}

KINDS: dict[int, type[ServerError]] = {
    400: BadReportError,
    403: BadReportError,
    422: BadReportError,
    401: UnavailableError,
    404: UnavailableError,
    405: UnavailableError,
    413: TooLargeError,
}


class ScanServer:
    """The Scan Server as one agent sees it. It says 200 for taken into its queue."""

    def __init__(self, config: Config) -> None:
        self._url = f"{config.http_server}:{config.http_port}/"
        self._code = json.dumps(config.scanagent_code.get_secret_value())
        token = config.auth_token or SecretStr(NO_TOKEN)
        identity = Identity(config.ca_file, config.client_cert, config.client_key)
        self._client = Client("Scan Server", "http_server", _Bearer(token), MAX_ANSWER, identity)

    def close(self) -> None:
        """End the session."""
        self._client.close()

    @property
    def room(self) -> int:
        """Bytes that a report may have."""
        return MAX_BODY - len(self._body(""))

    def upload(self, report: Report) -> None:
        """Send one report. Raise ServerError if the server has not taken it; its class says what to do then."""
        body = self._body(report.scan)
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._client.send("POST", self._url, data=body, headers=headers)
        except TransportError as error:
            raise UnavailableError(str(error)) from None
        if answer.status == 200 and not answer.marked_end:
            raise UnavailableError(f"Scan Server at {self._url}: the answer was cut off; check the network")
        if answer.status != 200:
            raise self._refusal(answer)
        about = {"subnet": str(report.network), "hosts": report.hosts, "bytes": len(body)}
        log.info("subnet %s: report uploaded (%d bytes)", report.network, len(body), extra={"about": about})

    def try_token(self) -> str:
        """Ask whether the server takes the token, by a body that it cannot store; return what it shows.

        It answers 401 before it reads a body, and 400 to one that is not JSON. Raise ServerError if it does not
        take the token.
        """
        try:
            answer = self._client.send(
                "POST", self._url, data=b"?", headers={"Content-Type": "application/json"}
            )
        except TransportError as error:
            raise UnavailableError(str(error)) from None
        if answer.status != 400 or "html" in answer.content_type:
            raise self._refusal(answer)
        return f"{self._url} takes the token"

    def _body(self, scan: str) -> bytes:
        return f'{{"code": {self._code}, "scan": {scan}}}'.encode()

    def _refusal(self, answer: Answer) -> ServerError:
        said = excerpt(answer.body.decode("utf-8", "replace"), 200)
        advice = ADVICE.get(answer.status, "see the server's own log")
        words = f"HTTP {answer.status}{': ' if said else ''}{said}; {advice}"
        overloaded = answer.status in OVERLOADED and not (answer.status == 500 and answer.body)
        kind = UnavailableError if overloaded else KINDS.get(answer.status, ServerError)
        return kind(f"Scan Server at {self._url} answers {words}")


class _Bearer(AuthBase):
    """Sends the token; the only place where it is opened."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request
