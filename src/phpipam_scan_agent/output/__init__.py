"""Everything that is printed, logged or exported; no other package prints."""

from .checks import show_checks
from .findings import Findings
from .log import failed, start_logging
from .progress import Bar
from .summary import show

__all__ = ["Bar", "Findings", "failed", "show", "show_checks", "start_logging"]
