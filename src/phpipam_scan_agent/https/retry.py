"""Which failures are worth another try, how often, and after which pause. Pure."""

import random
import ssl

import requests
from urllib3.exceptions import NewConnectionError

from .answer import Answer
from .limits import Limits
from .reasons import causes

OVERLOADED = frozenset((429, 502, 503, 504))
"""HTTP statuses of a server or proxy that cannot answer now."""


def after_answer(answer: Answer, limits: Limits) -> int:
    """Return how often a request may be sent again that got this answer."""
    if answer.status == 500 and not answer.body:  # a database that restarts
        return limits.retries
    if answer.status == 503 and "json" in answer.content_type:
        # The application itself has answered, as phpIPAM does for an app that is disabled; it says so if that passes.
        passes = answer.retry_after is not None and answer.retry_after <= limits.longest_pause
        return limits.retries if passes else 0
    return limits.retries if answer.status in OVERLOADED else 0


def after_failure(error: requests.RequestException, limits: Limits) -> int:
    """Return how often a request may be sent again that failed so. A report may be sent twice: it is an update."""
    found = list(causes(error))
    if isinstance(error, requests.exceptions.ConnectTimeout) or any(
        isinstance(cause, NewConnectionError) for cause in found
    ):
        return limits.retries
    if any(_is_final_in_tls(cause) for cause in found):
        return 0
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return min(limits.retries, limits.retries_after_loss) if isinstance(error, lost) else 0


def pause(retries: int, retry_after: float | None, limits: Limits) -> float:
    """Return the seconds to wait after so many retries: what the server asks for, else 0, 1, 2, 4 and a little."""
    if retry_after is not None:
        return min(retry_after, limits.longest_pause)
    return 0.5 * 2**retries + random.uniform(0, 0.5) if retries else 0.0  # noqa: S311 (spreads the load, no secret)


def _is_final_in_tls(cause: BaseException) -> bool:
    """Return whether TLS failed for a reason that stays, and not because the connection ended."""
    return isinstance(cause, ssl.SSLError) and not isinstance(
        cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    )
