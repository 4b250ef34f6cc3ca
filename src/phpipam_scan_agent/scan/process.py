"""One nmap process: fed, read while it writes, ended in time, never left behind."""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..errors import ScanError

LEASH = ("setpriv", "--pdeathsig", "KILL")
"""util-linux's way to have a process ended with its parent; BusyBox's setpriv has none."""

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
        self._leash = LEASH if _works(LEASH) else ()

    def run(self, command: Sequence[str], stdin: str, timeout: float) -> Ended:
        """Run a command to its end, or for so many seconds, and return what it left."""
        timed_out = False
        with self._start(command) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
                out, err = _end(process)
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
            process = self._popen((*self._leash, *command))
            self._running.add(process)
            return process

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",  # nmap's messages are whatever bytes they are
                start_new_session=True,
            )
        except OSError as error:
            raise ScanError(f"{command[0]} cannot be started: {error.strerror}") from None


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a process and all of its group; return what it had written."""
    _signal(process, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        return process.communicate()
    finally:
        _signal(process, signal.SIGKILL)  # whoever of the group is left


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run((*command, "true"), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
