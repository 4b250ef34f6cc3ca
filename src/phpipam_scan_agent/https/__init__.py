"""One careful HTTP client for phpIPAM and the Scan Server: verified TLS, no redirects, one plain error."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import select_proxy

from .. import NAME, VERSION
from ..errors import ConnectionLostError, TransportError, UnreachableError
from ..system import signals
from ..system.redact import excerpt
from . import answer, retry
from .answer import Answer
from .deadline import BoundedAdapter, Deadline, TooSlow
from .limits import Limits
from .reasons import InTheClearError, is_lost, is_unreachable, reason
from .tls import Identity, TrustingAdapter

__all__ = ["Answer", "Client", "Identity", "Limits"]

ANONYMOUS = Identity()

LIMITS = Limits()


class Client:
    """A session with one peer, for any number of threads.

    `peer` names it in messages and `setting` the variable that leads to it, `auth` puts the secret into a
    request's headers and nowhere else, `limit` is the largest answer in bytes that is read, `identity` is the
    trust and the certificate of its connections, and `limits` says how often a request is tried and for how long.
    """

    def __init__(
        self,
        peer: str,
        setting: str,
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest],
        limit: int,
        identity: Identity = ANONYMOUS,
        limits: Limits | None = None,
    ) -> None:
        self._peer = peer
        self._setting = setting
        self._limit = limit
        self._limits = limits or LIMITS
        self._lock = threading.Lock()
        self._in_progress: set[Deadline] = set()
        self._closed = False
        self._session = _Session()
        # With an auth of its own the session never looks into .netrc, which would replace the token.
        self._session.auth = auth
        self._session.headers["User-Agent"] = f"{NAME}/{VERSION}"
        self._session.mount("https://", TrustingAdapter(identity))
        self._session.mount("http://", BoundedAdapter())

    def send(self, method: str, url: str, **arguments: Any) -> Answer:
        """Return the answer, whatever its status. Raise TransportError where no whole one came."""
        place = without_query(url)
        try:
            with signals.interruptible(), self._deadline() as deadline:
                return self._persistently(partial(self._once, method, url, arguments), deadline)
        except _Redirected as redirect:
            raise TransportError(f"{self._peer} at {place} {redirect}: check {self._setting}") from None
        except answer.TooLargeAnswer:
            raise TransportError(
                f"{self._peer} at {place}: the answer has over {self._limit:,} bytes"
            ) from None
        except (requests.RequestException, OSError, ValueError, TooSlow) as error:
            kind = (
                UnreachableError
                if is_unreachable(error)
                else ConnectionLostError
                if is_lost(error)
                else TransportError
            )
            raise kind(f"{self._peer} at {place}: {reason(error, self._limits)}") from None

    def close(self) -> None:
        """End the session's connections, and the requests that other threads wait for."""
        with self._lock:
            self._closed = True
            for deadline in self._in_progress:
                deadline.cancel()
        self._session.close()

    @contextmanager
    def _deadline(self) -> Iterator[Deadline]:
        """Give a request its deadline, which `close` makes now."""
        deadline = Deadline(self._limits.whole)
        with self._lock:
            if self._closed:
                raise TooSlow
            self._in_progress.add(deadline)
        try:
            with deadline.applied():
                yield deadline
        finally:
            with self._lock:
                self._in_progress.discard(deadline)

    def _persistently(self, once: partial[Answer], deadline: Deadline) -> Answer:
        """Send a request until its answer or its failure is final."""
        retries = 0
        while True:
            wanted = None
            try:
                came: Answer = once()
                if retries >= retry.after_answer(came, self._limits):
                    return came
                wanted = came.retry_after
            except requests.RequestException as error:
                if retries >= retry.after_failure(error, self._limits):
                    raise
            deadline.sleep(retry.pause(retries, wanted, self._limits))
            retries += 1

    def _once(self, method: str, url: str, arguments: dict[str, Any]) -> Answer:
        timeout = (self._limits.connect, self._limits.read)
        usual: dict[str, Any] = {"timeout": timeout, "allow_redirects": False, "stream": True}
        with self._session.request(method, url, **usual, **arguments) as response:
            if 300 <= response.status_code < 400:
                raise _Redirected(response)
            came = answer.read(response, self._limit)
            if retry.after_answer(came, self._limits):
                # A server in trouble often ends the connection a moment later, at which the next try would fail.
                self._session.close()
            return came


class _Redirected(Exception):  # noqa: N818 (an answer that is not followed)
    """The answer is a redirect: requests would carry the token to the other host and turn a POST into a GET."""

    def __init__(self, response: requests.Response) -> None:
        target = excerpt(without_query(response.headers.get("Location") or "an unnamed place"), 200)
        super().__init__(f"redirects to {target} (HTTP {response.status_code}); redirects are not followed")


class _Session(requests.Session):
    """A session that returns redirects; requests' own reads all of a redirect first, however large."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None

    def merge_environment_settings(self, url: Any, *args: Any) -> Any:
        """Return the settings for a request, with a proxy of the environment only where it may see the request.

        Raise InTheClearError for plain http to another machine through a proxy. Loopback needs no proxy.
        """
        settings = super().merge_environment_settings(url, *args)
        if _is_loopback(url):
            settings["proxies"] = {}
        elif url.lower().startswith("http:") and select_proxy(url, settings["proxies"]):
            raise InTheClearError
        return settings


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def without_query(url: str) -> str:
    """Given a URL, return it without what may hold a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
