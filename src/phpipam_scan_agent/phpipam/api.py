"""Ask phpIPAM each question once: by the cache, over HTTPS, or by what it said long ago while it is away."""

import logging
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from ..config import Config
from ..errors import PhpIpamAwayError, ScanAgentError, TransportError
from ..https import Client, Identity
from . import envelope
from .decode import Row

log = logging.getLogger(__name__)

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes; 25,000 addresses, more than phpIPAM can send of one subnet, are about 12 MiB."""

FAILURES_IN_A_ROW = 3
"""Answers of a web server in phpIPAM's place after which it is away; a subnet that is too large for PHP's memory
costs one."""

CLOCK_TOLERANCE = 60.0
"""Seconds that the agent's clock may differ from phpIPAM's without a warning."""

Query = dict[str, str] | None


class Answers(Protocol):
    """What phpIPAM has said before, without secrets."""

    def get(self, key: str, /) -> list[Row] | None:
        """Return an answer that is still good."""

    def past(self, key: str, /) -> tuple[float, list[Row]] | None:
        """Return an answer for want of a better one, with its age in seconds."""

    def __setitem__(self, key: str, rows: list[Row], /) -> None:
        """Remember an answer."""


class Questions:
    """A session with phpIPAM's API.

    One serves the whole run: each call without its cookie would add a row to phpIPAM's session table.
    `clock` gives the agent's time in seconds since the epoch.
    """

    def __init__(self, config: Config, answers: Answers, clock: Callable[[], float]) -> None:
        self._base = f"{config.api_url}/api/{quote(config.client_name, safe='')}"
        identity = Identity(config.ca_file)
        self._client = Client("phpIPAM", "api_url", _AppCode(config.client_token), MAX_ANSWER, identity)
        self._answers = answers
        self._clock = clock
        self._away: ScanAgentError | None = None
        self._failures = 0
        self.clock_ahead: float | None = None
        """Seconds that the agent's clock is ahead of phpIPAM's; None before an answer."""
        self._warned = {"past": False, "clock": False}

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def ask(self, key: str, path: str, read: Callable[[object], list[Row]], query: Query = None) -> list[Row]:
        """Return the rows that `read` makes of phpIPAM's answer; they are remembered under `key`.

        Raise TransportError or PhpIpamError where there is no answer, and none in the past that may be used.
        """
        rows = self._answers.get(key)
        if rows is None:
            try:
                rows = self._answers[key] = read(self._get(path, query))
            except (TransportError, PhpIpamAwayError) as error:
                rows = self._past(key, error)
        return rows

    def _past(self, key: str, error: ScanAgentError) -> list[Row]:
        past = self._answers.past(key)
        if past is None:
            raise error
        age, rows = past
        said = "%s; what it said %.0f minutes ago is used, see cache_stale_if_error"
        self._warn_once("past", said, error, age / 60)
        return rows

    def _get(self, path: str, query: Query) -> object:
        url = f"{self._base}/{path}"
        if not url.startswith("https:"):
            query = None  # it may hold the scan agent code
        if self._away:
            raise self._away
        log.info("asking phpIPAM for %s", path)
        try:
            answer = self._client.send("GET", url, params=query)
        except TransportError as error:
            self._away = error  # the other questions need not wait as long as this one
            raise
        self._compare_clocks(answer.date)
        try:
            data = envelope.data(url, answer)
        except PhpIpamAwayError as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._away = error
            raise
        self._failures = 0
        return data

    def _compare_clocks(self, theirs: float | None) -> None:
        if theirs is None:
            return
        ahead = self.clock_ahead = self._clock() - theirs
        if abs(ahead) > CLOCK_TOLERANCE:
            said = (
                "this machine's clock is %.0f s %s phpIPAM's, which shows hosts as offline by the age of what is"
                " reported; set the clocks, or epoch_time_offset"
            )
            self._warn_once("clock", said, abs(ahead), "ahead of" if ahead > 0 else "behind")

    def _warn_once(self, kind: str, said: str, *about: object) -> None:
        if not self._warned[kind]:
            self._warned[kind] = True
            log.warning(said, *about)


class _AppCode(AuthBase):
    """Sends the app's code the way phpIPAM wants it; the only place where it is opened."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # phpIPAM refuses plain http, but only once the whole network has read the token.
        if str(request.url).startswith("https:"):
            request.headers["token"] = self._token.get_secret_value()
        return request
