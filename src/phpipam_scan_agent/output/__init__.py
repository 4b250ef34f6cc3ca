"""Everything that is printed, logged or exported; no other package prints."""

from .checks import show_checks
from .findings import Findings
from .log import end_logging, failed, start_logging
from .progress import Bar
from .summary import show

__all__ = ["Bar", "Findings", "end_logging", "failed", "show", "show_checks", "start_logging"]
