"""The command, and `python -m phpipam_scan_agent`."""

import os
import signal
import sys
from collections.abc import Sequence

from .system import environment

ENDED_BY_SIGNAL = 128
"""Exit codes above say by which."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent and return the exit code."""
    # Loading everything takes a moment, in which Ctrl-C should end the command as later, without a traceback.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    environment.complete()
    from .arguments import parse

    options = parse(argv)  # --version and --help need no more
    from .main import main as run

    exit_code = run(options)
    if exit_code > ENDED_BY_SIGNAL:
        # Python ends by letting go of its signal handlers: a further signal would take the exit code's place.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
