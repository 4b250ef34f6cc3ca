"""A clock for tests."""

NOW = 1_795_600_000.0
"""The clock's start."""


class Clock:
    """A clock that a test sets, in seconds since the epoch."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
