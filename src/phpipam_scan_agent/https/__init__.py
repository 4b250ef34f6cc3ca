"""One careful HTTP client for phpIPAM and the Scan Server: verified TLS, no redirects, one plain error."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import Retry
from urllib3.exceptions import MaxRetryError, ProtocolError

from .. import NAME, VERSION
from ..errors import TransportError
from ..system import signals
from . import retry
from .reasons import reason
from .tls import Identity, TrustingTheMachine

__all__ = ["Answer", "Client", "Identity"]

ANONYMOUS = Identity()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that is no redirect."""

    status: int
    content_type: str
    body: bytes

    marked_end: bool = True
    """Whether the server said how long it is; one cut off in its headers looks whole otherwise."""

    date: float | None = None
    """The server's clock when it answered, in seconds since the epoch, if it said so."""


class Client:
    """A session with one peer.

    `peer` names it in messages and `setting` the variable that leads to it, `auth` puts the secret into a
    request's headers and nowhere else, `limit` is the largest answer in bytes that is read, and `identity` says
    whom to trust and who we are.
    """

    def __init__(
        self, peer: str, setting: str, auth: AuthBase, limit: int, identity: Identity = ANONYMOUS
    ) -> None:
        self._peer = peer
        self._setting = setting
        self._limit = limit
        self._session = _Session()
        # With an auth of its own the session never looks into .netrc, which would replace the token.
        self._session.auth = auth
        self._session.headers["User-Agent"] = f"{NAME}/{VERSION}"
        self._session.mount("https://", TrustingTheMachine(identity, max_retries=retry.Retries()))
        self._session.mount("http://", HTTPAdapter(max_retries=retry.Retries()))

    def send(self, method: str, url: str, **arguments: Any) -> Answer:
        """Return the answer, whatever its status. Raise TransportError where no whole one came."""
        place = without_query(url)
        try:
            with signals.interruptible(), retry.within(retry.WHOLE):
                return self._patiently(method, url, place, arguments)
        except (requests.RequestException, OSError, ValueError, retry.TooSlow) as error:
            raise TransportError(f"{self._peer} at {place}: {reason(error)}") from None

    def _patiently(self, method: str, url: str, place: str, arguments: dict[str, Any]) -> Answer:
        """Send once more where an answer is cut off or an empty 500, as often as urllib3 would the rest."""
        retries: Retry = retry.Retries()
        while True:
            cut_off: Exception | None = None
            try:
                answer = self._once(method, url, place, arguments)
                if answer.status != 500 or answer.body:
                    return answer
            except requests.exceptions.ChunkedEncodingError as error:  # requests' word for cut off
                cut_off = error
            try:
                retries = retries.increment(method, url, error=ProtocolError())
            except (MaxRetryError, ProtocolError):
                if cut_off:
                    raise cut_off from None
                return answer
            retries.sleep()

    def _once(self, method: str, url: str, place: str, arguments: dict[str, Any]) -> Answer:
        usual: dict[str, Any] = {
            "timeout": (retry.CONNECT, retry.READ),
            "allow_redirects": False,
            "stream": True,
        }
        with self._session.request(method, url, **usual, **arguments) as response:
            return self._answer(response, place)

    def close(self) -> None:
        """End the session's connections."""
        self._session.close()

    def _answer(self, response: requests.Response, place: str) -> Answer:
        if 300 <= response.status_code < 400:
            raise self._redirected(place, response)
        headers = response.headers
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        return Answer(
            status=response.status_code,
            content_type=headers.get("Content-Type", ""),
            body=self._read(response, place),
            marked_end=chunked or headers.get("Content-Length", "").isdigit(),
            date=_date(headers.get("Date")),
        )

    def _read(self, response: requests.Response, place: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > self._limit:
                raise TransportError(f"{self._peer} at {place}: the answer has over {self._limit:,} bytes")
        return bytes(body)

    def _redirected(self, place: str, response: requests.Response) -> TransportError:
        # requests would carry the token to the other host and turn a POST into a GET that ends in 200.
        target = without_query(response.headers.get("Location") or "an unnamed place")[:200]
        return TransportError(
            f"{self._peer} at {place} redirects to {target} (HTTP {response.status_code}); redirects are not"
            f" followed: check {self._setting}"
        )


class _Session(requests.Session):
    """A session to which a redirect is an answer; requests' own reads all of it first, however large."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def without_query(url: str) -> str:
    """Given a URL, return it without what may hold a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
