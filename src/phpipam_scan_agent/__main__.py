"""The command, and `python -m phpipam_scan_agent`."""

import gc
import os
import signal
import sys
from collections.abc import Sequence

from .system import environment

ENDED_BY_SIGNAL = 128
"""Exit codes above this are 128 + the number of the signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent and return the exit code."""
    try:
        return _main(argv)
    finally:
        environment.flush()


def _main(argv: Sequence[str] | None) -> int:
    # Importing the modules takes a moment, in which Ctrl-C should end the command without a traceback, as later.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    environment.complete()
    # pydantic would search the metadata of all installed packages for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Searching the modules' objects for garbage, again and again, is a sixth of a short run's CPU time.
    gc.disable()
    from .arguments import parse

    options = parse(argv)  # --version and --help end here
    from .main import main as run

    gc.freeze()
    gc.enable()
    exit_code = run(options)
    gc.freeze()  # Python searches once more at its end
    if exit_code > ENDED_BY_SIGNAL:
        # Python restores the default signal handlers at its end: a further signal would replace the exit code.
        environment.flush()
        os._exit(exit_code)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
