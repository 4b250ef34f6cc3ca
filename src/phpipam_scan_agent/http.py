"""One careful HTTP client for phpIPAM and the Scan Server: verified TLS, no redirects, one plain error."""

import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import truststore
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from . import NAME, VERSION
from .errors import TransportError

PATIENCE = (10, 60)
"""Seconds for a connection, and between two pieces of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that is no redirect."""

    status: int
    content_type: str
    body: bytes


class Client:
    """A session with one peer.

    `peer` names it in messages and `setting` the variable that leads to it, `auth` puts the secret into a
    request's headers and nowhere else, and `limit` is the largest answer in bytes that is read.
    """

    def __init__(self, peer: str, setting: str, auth: AuthBase, limit: int) -> None:
        self._peer = peer
        self._setting = setting
        self._limit = limit
        self._session = requests.Session()
        # With an auth of its own the session never looks into .netrc, which would replace the token.
        self._session.auth = auth
        self._session.headers["User-Agent"] = f"{NAME}/{VERSION}"
        self._session.mount("https://", _TrustingTheMachine())

    def send(self, method: str, url: str, **arguments: Any) -> Answer:
        """Return the answer, whatever its status. Raise TransportError where no whole one came."""
        place = without_query(url)
        try:
            with self._session.request(
                method,
                url,
                timeout=PATIENCE,
                allow_redirects=False,
                stream=True,
                **arguments,
            ) as response:
                if 300 <= response.status_code < 400:
                    raise self._redirected(place, response)
                body = self._read(response, place)
                return Answer(response.status_code, response.headers.get("Content-Type", ""), body)
        except (requests.RequestException, OSError, ValueError) as error:
            raise TransportError(f"{self._peer} at {place}: {_reason(error)}") from None

    def close(self) -> None:
        """End the session's connections."""
        self._session.close()

    def _read(self, response: requests.Response, place: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > self._limit:
                raise TransportError(f"{self._peer} at {place}: the answer has over {self._limit:,} bytes")
        return bytes(body)

    def _redirected(self, place: str, response: requests.Response) -> TransportError:
        # requests would carry the token to the other host and turn a POST into a GET that ends in 200.
        target = without_query(response.headers.get("Location", "an unnamed place"))
        return TransportError(
            f"{self._peer} at {place} redirects to {target} (HTTP {response.status_code}); redirects are not"
            f" followed: check {self._setting}"
        )


class _TrustingTheMachine(HTTPAdapter):
    """Verifies TLS against the machine's trusted certificates.

    requests alone brings a bundle of its own and knows nothing of `update-ca-certificates`. SSL_CERT_FILE
    is OpenSSL's and works here too; REQUESTS_CA_BUNDLE reaches the context through requests itself.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_context(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        contexts = {"ssl_context": _context(), "proxy_ssl_context": _context()}
        return super().proxy_manager_for(proxy, **contexts, **kwargs)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        # The inherited one would add requests' own bundle to what the machine trusts.
        conn.cert_reqs = "CERT_REQUIRED"


def _context() -> ssl.SSLContext:
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def without_query(url: str) -> str:
    """Given a URL, return it without what may hold a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _reason(error: BaseException) -> str:
    """Given what requests raised, return the cause in plain words; requests' own text holds the whole URL."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, FileNotFoundError) or "no certificate or crl found" in str(cause):
            return "the trusted certificates cannot be read; check SSL_CERT_FILE and REQUESTS_CA_BUNDLE"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy does not pass it on ({_innermost(causes)}); check https_proxy and no_proxy"
    if isinstance(error, requests.exceptions.SSLError):
        return f"TLS fails ({_innermost(causes)}); check that the port speaks https"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {PATIENCE[0]} s; check address, port and firewalls"
    if isinstance(error, requests.exceptions.Timeout) or any(isinstance(c, TimeoutError) for c in causes):
        return f"no answer within {PATIENCE[1]} s; check that it is not overloaded"
    return f"{_innermost(causes)}; check that it runs, the URL and the network"


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message.rstrip(".") or "not verified"
    if "match" in why or "not valid for" in why:
        advice = "use the name that the certificate was made for"
    elif "expired" in why or "not yet valid" in why:
        advice = "renew it, or check this machine's clock"
    else:
        advice = "add its CA with update-ca-certificates, or name the CA's file in SSL_CERT_FILE"
    return f"its certificate is not trusted ({why}); {advice}"


def _causes(error: BaseException) -> Any:
    """Walk inwards through what requests and urllib3 wrapped around a failure."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]


def _innermost(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return re.sub(r"^\[.*?\] | \(_ssl.*\)$", "", cause.strerror)
    kind = type(causes[-1]).__name__
    return {"IncompleteRead": "the answer was cut off"}.get(kind, kind)
