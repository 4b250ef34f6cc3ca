"""Everything that is printed, logged or exported; no other package prints."""

from .log import failed, start_logging
from .progress import Bar
from .summary import show_checks, summarise

__all__ = ["Bar", "failed", "show_checks", "start_logging", "summarise"]
