"""The HTTP client for phpIPAM and the Scan Server: verified TLS, no redirects, errors in plain words."""

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
from ..errors import TransportError
from ..system import signals
from ..system.redact import excerpt
from . import answer, retry
from .answer import Answer
from .deadline import BoundedAdapter, Deadline, TooSlow
from .limits import Limits
from .reasons import InTheClearError, error_class, reason
from .tls import Identity, TrustingAdapter

__all__ = ["Answer", "Client", "Identity", "Limits"]

ANONYMOUS = Identity()

LIMITS = Limits()


class Client:
    """A session with one peer, for any number of threads.

    `peer` is its name in messages and `setting` the variable of its address. `auth` adds the secret to a request's
    headers. `limit` is the maximum size of an answer in bytes, `identity` the trust and the certificate of the
    connections, and `limits` the number of retries and the time of a request.
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
        # With an `auth` the session ignores .netrc, which would replace the token.
        self._session.auth = auth
        self._session.headers["User-Agent"] = f"{NAME}/{VERSION}"
        self._session.mount("https://", TrustingAdapter(identity))
        self._session.mount("http://", BoundedAdapter())

    def send(self, method: str, url: str, **arguments: Any) -> Answer:
        """Return the answer of any status. Raise TransportError without a complete answer."""
        shown = without_query(url)
        try:
            with signals.interruptible(), self._deadline() as deadline:
                return self._with_retries(partial(self._once, method, url, arguments), deadline)
        except answer.TooLargeAnswer:
            raise TransportError(
                f"{self._peer} at {shown}: the answer has over {self._limit:,} bytes"
            ) from None
        except (requests.RequestException, OSError, ValueError, TooSlow) as error:
            kind = error_class(error)
            raise kind(f"{self._peer} at {shown}: {reason(error, self._limits)}") from None

    def close(self) -> None:
        """End the session's connections, and the requests of other threads."""
        with self._lock:
            self._closed = True
            for deadline in self._in_progress:
                deadline.cancel()
        self._session.close()

    @contextmanager
    def _deadline(self) -> Iterator[Deadline]:
        """Give a request its deadline; `close` ends it at once."""
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

    def _with_retries(self, once: partial[Answer], deadline: Deadline) -> Answer:
        """Send a request, with retries, until its answer or its failure is final."""
        retries = 0
        while True:
            requested = None
            try:
                came: Answer = once()
                most = retry.retries_after_answer(came, self._limits)
                if most:
                    # An overloaded server often ends the connection a moment later, which would fail the retry.
                    self._session.close()
                if retries >= most:
                    return came
                requested = came.retry_after
            except requests.RequestException as error:
                if retries >= retry.retries_after_failure(error, self._limits):
                    raise
            deadline.sleep(retry.pause(retries, requested, self._limits))
            retries += 1

    def _once(self, method: str, url: str, arguments: dict[str, Any]) -> Answer:
        timeout = (self._limits.connect, self._limits.read)
        usual: dict[str, Any] = {"timeout": timeout, "allow_redirects": False, "stream": True}
        with self._session.request(method, url, **usual, **arguments) as response:
            if 300 <= response.status_code < 400:
                # requests would send the token to the other host and turn a POST into a GET.
                target = excerpt(without_query(response.headers.get("Location") or "an unnamed address"), 200)
                raise TransportError(
                    f"{self._peer} at {without_query(url)} redirects to {target} (HTTP {response.status_code});"
                    f" redirects are not followed: check {self._setting}"
                )
            return answer.read(response, self._limit)


class _Session(requests.Session):
    """A session that returns redirects; the inherited method reads the whole redirect first, of any size."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[tuple[str, str], Any] = {}

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None

    def merge_environment_settings(self, url: Any, *args: Any) -> Any:
        """Return requests' settings with the environment's proxy, but without a proxy for loopback addresses.

        Raise InTheClearError for plain http to another machine through a proxy.
        """
        peer = urlsplit(url)[:2]
        if peer in self._settings:  # reading the environment takes an eighth of a request's CPU time
            return self._settings[peer]
        settings = super().merge_environment_settings(url, *args)
        if _is_loopback(url):
            settings["proxies"] = {}
        elif url.lower().startswith("http:") and select_proxy(url, settings["proxies"]):
            raise InTheClearError
        self._settings[peer] = settings
        return settings


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def without_query(url: str) -> str:
    """Given a URL, return it without the parts that may contain a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
