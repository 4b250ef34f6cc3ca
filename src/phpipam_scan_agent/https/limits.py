"""Limits of a request: retries and times."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits of a request; times in seconds."""

    retries: int = 4
    """Maximum number of retries."""

    retries_after_loss: int = 2
    """Maximum number of retries after a request without a complete answer: each of them may take `read` seconds."""

    connect: float = 10.0
    """Maximum time of a connection's set-up, including TLS."""

    read: float = 60.0
    """Maximum time between two pieces of an answer."""

    whole: float = 300.0
    """Maximum time of all tries and the complete answer: a server may also send a byte now and then."""

    longest_pause: float = 30.0
    """Maximum time between two tries, also with a longer Retry-After; the next run tries again in any case."""
