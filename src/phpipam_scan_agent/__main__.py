"""The command, and `python -m phpipam_scan_agent`."""

import signal
import sys


def main() -> int:
    """Run the agent and return the exit code."""
    # Loading everything takes a moment, in which Ctrl-C should end the command as later, without a traceback.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
