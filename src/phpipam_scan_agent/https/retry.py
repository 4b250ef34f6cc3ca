"""The number of retries for an answer or a failure, and the pauses between them. Pure."""

import random
import ssl

import requests
from urllib3.exceptions import NewConnectionError

from .answer import Answer
from .limits import Limits
from .reasons import causes

OVERLOADED = frozenset((429, 502, 503, 504))
"""HTTP statuses of an overloaded server or proxy."""


def retries_after_answer(answer: Answer, limits: Limits) -> int:
    """Return the maximum number of retries of a request with this answer."""
    if answer.status == 500 and not answer.body:  # a database that restarts
        return limits.retries
    if answer.status == 503 and "json" in answer.content_type:
        # The answer of the application itself, as phpIPAM's for a disabled app, is final without a Retry-After.
        passes = answer.retry_after is not None and answer.retry_after <= limits.longest_pause
        return limits.retries if passes else 0
    return limits.retries if answer.status in OVERLOADED else 0


def retries_after_failure(error: requests.RequestException, limits: Limits) -> int:
    """Return the maximum number of retries after this error. A report may be sent twice, since it is an update."""
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
    """Return the seconds until the next retry: the server's Retry-After, else 0, 1, 2, 4 and a random addition."""
    if retry_after is not None:
        return min(retry_after, limits.longest_pause)
    return 0.5 * 2**retries + random.uniform(0, 0.5) if retries else 0.0  # noqa: S311 (spreads the load, no secret)


def _is_final_in_tls(cause: BaseException) -> bool:
    """Return whether TLS failed for a permanent reason, not because the connection ended."""
    return isinstance(cause, ssl.SSLError) and not isinstance(
        cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    )
