"""All that a person or a log reads; nothing else prints."""

from .closing import show_checks, summarise
from .messages import failed, start_logging
from .progress import Bar

__all__ = ["Bar", "failed", "show_checks", "start_logging", "summarise"]
