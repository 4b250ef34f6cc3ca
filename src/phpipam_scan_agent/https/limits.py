"""How often a request is sent, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a request is sent, and how long it may take; times in seconds."""

    retries: int = 4
    """How often it is sent again, at most."""

    retries_after_loss: int = 2
    """How often, if it was sent and no whole answer came: each of these may take `read` seconds."""

    connect: float = 10.0
    """For a connection, TLS included."""

    read: float = 60.0
    """Between two pieces of an answer."""

    whole: float = 300.0
    """For all tries and the whole answer: a server may also send a byte now and then."""

    longest_pause: float = 30.0
    """Between two tries, whatever a server's Retry-After asks for; the next run comes anyway."""
