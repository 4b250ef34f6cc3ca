"""The process's PATH and standard streams, completed where the caller left them out."""

import os
import sys
from typing import TextIO

PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""The system's folders of programs. cron's PATH has two of them, but nmap and ip may be in any of them."""

STDERR = 2
"""The highest number of a standard stream."""


def complete() -> None:
    """Add the system's folders to PATH, after the caller's, and open closed standard streams on /dev/null."""
    given = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    os.environ["PATH"] = os.pathsep.join([*given, *(folder for folder in PROGRAMS if folder not in given)])
    # Otherwise a connection or a file would get a stream's number, and nmap's messages on stderr.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, "r")
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def flush() -> None:
    """Write the rest of the standard streams, or discard it: Python would end with exit code 120 otherwise."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk or a closed pipe
            discard(stream)


def discard(stream: TextIO) -> None:
    """Discard the rest of a stream that cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
