"""One nmap process: fed, read while it writes, ended in time, never left behind."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

GRACE = 2.0
"""Seconds that nmap gets to end by itself before it is killed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What an nmap process left."""

    xml: str
    complaints: tuple[str, ...]
    """Lines that it wrote to stderr."""

    status: int
    timed_out: bool


class Processes:
    """All nmap processes of a run, so that all can be ended; may be used from many threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False
        # The kernel ends nmap even where nobody is left to do it, as after kill -9 of the agent.
        self._leash = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()

    def run(self, command: Sequence[str], stdin: str, timeout: float) -> Ended:
        """Run a command to its end, or for so many seconds, and return what it left."""
        process = self._start(command)
        timed_out = False
        try:
            try:
                out, err = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
                _signal(process, signal.SIGTERM)
                try:
                    out, err = process.communicate(timeout=GRACE)
                except subprocess.TimeoutExpired:
                    _signal(process, signal.SIGKILL)
                    out, err = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        complaints = tuple(line for line in err.splitlines() if line.strip())
        return Ended(out, complaints, process.returncode, timed_out)

    def end_all(self) -> None:
        """End every process; none can be started afterwards."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _signal(process, signal.SIGKILL)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise InterruptedError
            process = subprocess.Popen(
                (*self._leash, *command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",  # nmap's messages are whatever bytes they are
                start_new_session=True,
            )
            self._running.add(process)
            return process


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
