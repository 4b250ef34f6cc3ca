"""Threads on a machine that limits their number."""

from threading import Thread

from ..errors import ThreadLimitError


def start(thread: Thread) -> None:
    """Start a thread. Raise ThreadLimitError if the machine starts no more."""
    try:
        thread.start()
    except RuntimeError:
        raise ThreadLimitError from None
