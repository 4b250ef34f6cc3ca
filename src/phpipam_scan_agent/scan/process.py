"""nmap processes: input, output, time limit. They never outlive the agent."""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..errors import ScanError, ThreadLimitError
from ..system import threads

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""util-linux's command for PR_SET_PDEATHSIG; BusyBox's setpriv lacks the option."""

MAX_OUTPUT = 1024 * 1024
"""Default limit of a process's output, in characters."""

GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL."""


class TimedOutError(ScanError):
    """A process was ended after its time limit; `stdout` is its output until then."""

    def __init__(self, message: str, stdout: str) -> None:
        self.stdout = stdout
        super().__init__(message)


class Processes:
    """The nmap processes of a run, which can be ended together; may be used from many threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # So the kernel ends nmap even after kill -9 of the agent.
        self._prefix = DIE_WITH_PARENT if _works(DIE_WITH_PARENT) else ()

    def run(
        self, command: Sequence[str], stdin: str, timeout: float, max_output: int = MAX_OUTPUT
    ) -> subprocess.CompletedProcess[str]:
        """Run a command for at most `timeout` seconds and return its output, of at most `max_output` characters.

        Raise ScanError if it cannot be started or writes more, TimedOutError after the time limit, InterruptedError
        after `end_all`.
        """
        with self._start(command) as process:
            try:
                stdout, stderr = (
                    _Reader(process, "stdout", max_output),
                    _Reader(process, "stderr", max_output),
                )
                with _Limit(process, timeout) as limit:
                    process.communicate(stdin)
            except ThreadLimitError as error:
                _signal(process, signal.SIGKILL)
                raise ScanError(str(error)) from None
            finally:
                with self._lock:
                    self._running.discard(process)
        out, err = stdout.text(), stderr.text()
        if stdout.exceeded or stderr.exceeded:
            raise ScanError(
                f"{command[0]} was ended after {max_output:,} characters of output; run it by hand"
            )
        if limit.exceeded:
            raise TimedOutError(f"{command[0]} was ended after {timeout:.0f} s", out)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def end_all(self) -> None:
        """Kill every process; none can be started afterwards."""
        with self._lock:
            self._closed.set()
            for process in self._running:
                _signal(process, signal.SIGKILL)

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until `end_all`."""
        self._closed.wait(max(0.0, seconds))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed.is_set():
                raise InterruptedError
            process = self._popen((*self._prefix, *command))
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
                errors="replace",  # nmap's messages can be any bytes
                start_new_session=True,
            )
        except BlockingIOError:  # EAGAIN of fork
            raise ScanError(str(ThreadLimitError())) from None
        except OSError as error:
            raise ScanError(f"{command[0]} cannot be started: {error.strerror}") from None


class _Reader(threading.Thread):
    """Reads a pipe of a process, and kills the process when it has written more than `max_output` characters."""

    def __init__(self, process: "subprocess.Popen[str]", name: str, max_output: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._pipe = getattr(process, name)
        setattr(process, name, None)  # `communicate` reads without a limit
        self._max_output = max_output
        self._read: list[str] = []
        self.exceeded = False
        threads.start(self)

    def run(self) -> None:
        room = self._max_output
        with self._pipe:
            while part := self._pipe.read(min(65536, room + 1)):
                self._read.append(part)
                room -= len(part)
                if room < 0:
                    self.exceeded = True
                    _signal(self._process, signal.SIGKILL)
                    return

    def text(self) -> str:
        """Return the output after the end of the process; kill a child that still holds the pipe."""
        self.join(GRACE)
        if self.is_alive():
            _signal(self._process, signal.SIGKILL)
            self.join()
        return "".join(self._read)


class _Limit(threading.Thread):
    """Ends a process after its time limit. `communicate` with a timeout notices the end of a process 50 ms late."""

    def __init__(self, process: "subprocess.Popen[str]", seconds: float) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._seconds = seconds
        self._ended = threading.Event()
        self.exceeded = False

    def __enter__(self) -> "_Limit":
        threads.start(self)
        return self

    def run(self) -> None:
        if not self._ended.wait(self._seconds):
            self.exceeded = True
            _end(self._process)

    def __exit__(self, *_: object) -> None:
        """Lift the limit of a process that has ended."""
        self._ended.set()
        self.join()


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and its whole group."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _signal(process, signal.SIGKILL)  # also other processes of the group


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run((*command, "true"), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
