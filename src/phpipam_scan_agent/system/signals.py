"""Signals that end the run, delivered only where an interruption loses nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_pending: int | None = None
_interruptible = False


def install() -> None:
    """Install the handlers; a signal that is ignored, as SIGHUP under nohup, stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def interruptible() -> Iterator[None]:
    """Make this block interruptible: a signal raises Interrupted here; outside such blocks it stays pending.

    In another thread than the main one, which alone gets signals, it does nothing.
    """
    global _interruptible
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interruptible = True
    try:
        if _pending is not None:
            raise Interrupted(_pending)
        yield
    finally:
        _interruptible = False


def _ignore(_: int, __: FrameType | None) -> None:
    pass


def _handle(number: int, _: FrameType | None) -> None:
    global _pending
    _pending = number
    # The first signal decides; the clean-up after it must not be interrupted. Not SIG_IGN: Python would complain of
    # a signal that arrived just before.
    for each in SIGNALS:
        if signal.getsignal(each) == _handle:
            signal.signal(each, _ignore)
    if _interruptible:
        raise Interrupted(number)
