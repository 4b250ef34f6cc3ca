import logging
from collections.abc import Iterator

import pytest

from phpipam_scan_agent.system import redact


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the process's logging and masking."""
    ours, every = logging.getLogger("phpipam_scan_agent"), logging.getLogger()
    before = (ours.handlers, ours.level, ours.propagate, logging.raiseExceptions)
    yield
    for handler in ours.handlers:
        handler.close()
    ours.handlers, ours.propagate, logging.raiseExceptions = before[0], before[2], before[3]
    ours.setLevel(before[1])
    for handler in [handler for handler in every.handlers if isinstance(handler, logging.NullHandler)]:
        every.removeHandler(handler)
    redact.hide(())
