"""Upload reports to the Scan Server."""

import hashlib
import json
import logging

from pydantic import SecretStr
from requests import PreparedRequest

from .. import VERSION
from ..config import Config
from ..errors import ConnectionLostError, TooLargeError, TransportError, UnavailableError
from ..https import Answer, Client, Identity, Limits
from ..models import Report
from . import answers, wire

log = logging.getLogger(__name__)

NO_TOKEN = "no-token-set"  # noqa: S105 (the collection's public default)

MAX_ANSWER = 64 * 1024
"""Maximum size of an answer in bytes; the server's answers are empty or one line."""

MAX_BODY = 1_000_000
"""Maximum size of a request's body in bytes; the server refuses more than 1 MiB."""

LARGE = 64 * 1024
"""Size of a request's body in bytes above which a lost connection may mean that a proxy refuses the size: it answers
413 and closes, and the client's end of TLS sees only the end of the connection."""


class ScanServer:
    """The Scan Server as one agent sees it, for any number of threads. Its 200 means that the report is queued."""

    def __init__(self, config: Config, limits: Limits | None = None) -> None:
        self._url = f"{config.http_server}:{config.http_port}/"
        self._code = config.scanagent_code
        self._token = config.auth_token or SecretStr(NO_TOKEN)
        self._settings = json.dumps(config.model_dump(mode="json", exclude={"scanagent_code", "auth_token"}))
        identity = Identity(config.ca_file, config.client_cert, config.client_key)
        self._client = Client("Scan Server", "http_server", self._authorize, MAX_ANSWER, identity, limits)

    def close(self) -> None:
        """End the session, and the uploads of other threads."""
        self._client.close()

    def fingerprint(self, salt: str) -> str:
        """Return a text that changes with the configuration and the agent's version.

        It is salted and slow to compute, so that it reveals no secret.
        """
        secrets = (self._code.get_secret_value(), self._token.get_secret_value())
        content = json.dumps((VERSION, self._settings, *secrets)).encode()
        return hashlib.scrypt(content, salt=salt.encode(), n=4096, r=8, p=1).hex()

    def upload(self, report: Report) -> None:
        """Upload one report. Raise ServerError if the server has not taken it; its class decides about the report."""
        for body in wire.bodies(report, self._code.get_secret_value(), MAX_BODY):
            answers.check(self._url, self._post(body))
            about = {"subnet": str(report.network), "hosts": len(report.rows), "bytes": len(body)}
            log.info(
                "subnet %s: report uploaded (%d bytes)", report.network, len(body), extra={"about": about}
            )

    def try_token(self) -> str:
        """Verify, without a report, that a report could be stored; return a description.

        Requests `/health`, which this project's server has, and posts a body that no server can store: the answer is
        401 before the body is read, or 400 because it is not JSON. Raise ServerError for any other answer,
        TransportError without an answer.
        """
        health = self._client.send("GET", f"{self._url}health")
        if answers.is_of_this_project(health):
            answers.check(self._url, health)
        answers.check_refused_json(self._url, self._post(b"?"))
        stores = (
            "and could store a report" if answers.is_of_this_project(health) else "(the collection's server)"
        )
        return f"{self._url} takes the token {stores}"

    def _post(self, body: bytes) -> Answer:
        try:
            return self._client.send(
                "POST", self._url, data=body, headers={"Content-Type": "application/json"}
            )
        except TransportError as error:
            too_large = len(body) > LARGE and isinstance(error, ConnectionLostError)
            kind = TooLargeError if too_large else UnavailableError
            raise kind(str(error)) from error

    def _authorize(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request
