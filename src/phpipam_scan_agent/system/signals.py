"""Signals that end the run. They wait until they do no harm: what is half done is finished first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_pending: int | None = None
_allowed = False


def install() -> None:
    """Take over the signals; one that is ignored, as SIGHUP under nohup, stays so."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def allowed() -> Iterator[None]:
    """Let a signal end what the block waits for, by Interrupted; anywhere else it waits for such a block."""
    global _allowed
    _allowed = True
    try:
        if _pending is not None:
            raise Interrupted(_pending)
        yield
    finally:
        _allowed = False


def _pass_over(_: int, __: FrameType | None) -> None:
    pass


def _handle(number: int, _: FrameType | None) -> None:
    global _pending
    _pending = number
    # One is enough: what follows it must not be interrupted again. SIG_IGN would have Python complain of a signal
    # that came just before.
    for each in SIGNALS:
        if signal.getsignal(each) == _handle:
            signal.signal(each, _pass_over)
    if _allowed:
        raise Interrupted(number)
