"""Signals that end the run: at once in interruptible blocks, elsewhere after a grace period."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ..errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 3.0
"""Seconds that a signal waits for an interruptible block. Then it interrupts the run anywhere; files are written so
that even kill -9 loses nothing."""

LAST_RESORT = 20.0
"""Seconds for the clean-up. Then the process ends at once; the kernel ends its nmap processes."""

_pending: int | None = None
_raised = False
_interruptible = False


def install() -> None:
    """Install the handlers; a signal that is ignored, as SIGHUP under nohup, stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def interruptible() -> Iterator[None]:
    """Make this block interruptible: a signal raises Interrupted here; outside such blocks it stays pending.

    It does nothing in other threads than the main thread, since only that gets signals.
    """
    global _interruptible
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interruptible = True
    try:
        if _pending is not None:
            _interrupt(_pending)
        yield
    finally:
        _interruptible = False


def finish() -> None:
    """End the run's interruptible part: a signal that is still pending is ignored."""
    global _raised
    _raised = True
    if _pending is not None:
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT)


def _interrupt(number: int) -> NoReturn:
    global _raised
    if not _raised:
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT)
    _raised = True
    raise Interrupted(number)


def _overdue(_: int, __: FrameType | None) -> None:
    number = _pending or signal.SIGTERM
    if _raised:
        os._exit(128 + number)
    _interrupt(number)


def _ignore(_: int, __: FrameType | None) -> None:
    pass


def _handle(number: int, _: FrameType | None) -> None:
    global _pending
    _pending = number
    # The first signal decides; the clean-up after it must not be interrupted. Not SIG_IGN: Python would report a
    # signal that arrived just before as an error.
    for each in SIGNALS:
        if signal.getsignal(each) == _handle:
            signal.signal(each, _ignore)
    signal.signal(signal.SIGALRM, _overdue)
    if _interruptible:
        _interrupt(number)
    signal.setitimer(signal.ITIMER_REAL, LAST_RESORT if _raised else GRACE)
