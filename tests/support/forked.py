"""Run the agent in a forked process with loaded modules, which saves half a second."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from stand_ins.site import Site

LONGEST = 120.0
"""Maximum seconds of a run, and of any wait."""


@cache
def processes() -> ForkServerContext:
    """Return the context that forks processes from a server with the agent and the tests' helpers loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", "phpipam_scan_agent.main", "leftovers", "reports"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.11's server has another sys.path
        forkserver.ensure_running()
    return context


class Agent:
    """A running agent with the methods of `subprocess.Popen`."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        limits: dict[str, float],
        streams: tuple[Path, ...],
    ) -> None:
        self.args = command
        self._streams = streams
        self._process = processes().Process(target=_agent, args=(command, environment, limits, streams))
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = LONGEST) -> int:
        """Wait for its end, and return its exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout: float = LONGEST) -> tuple[str, str]:
        """Wait for its end, and return its stdout and stderr."""
        self.wait(timeout)
        stdout, stderr = (stream.read_text() for stream in self._streams)
        return stdout, stderr


class ForkedSite(Site):
    """A site whose agent is forked. `command()` still returns the installed command."""

    _number = 0

    def start(
        self,
        *arguments: str,
        stdout: Path | None = None,
        stderr: Path | None = None,
        environment: dict[str, str] | None = None,
        limits: dict[str, float] | None = None,
    ) -> Agent:
        """Start the agent with other limits for its requests; its output goes to files unless paths are given."""
        self._number += 1
        streams = (
            stdout or self.folder / f".stdout.{self._number}",
            stderr or self.folder / f".stderr.{self._number}",
        )
        return Agent(self.command(*arguments), self.environment | (environment or {}), limits or {}, streams)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the agent to its end."""
        return self._end(self.start(*arguments, environment=environment))

    def run_once(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the agent to its end, without retries of failed requests."""
        return self._end(self.start(*arguments, limits={"retries": 0}))

    @staticmethod
    def _end(agent: Agent) -> "subprocess.CompletedProcess[str]":
        try:
            stdout, stderr = agent.communicate()
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
            raise
        return subprocess.CompletedProcess(agent.args, agent.wait(), stdout, stderr)


def _agent(
    command: list[str], environment: dict[str, str], limits: dict[str, Any], streams: tuple[Path, Path]
) -> None:
    from phpipam_scan_agent import https
    from phpipam_scan_agent.__main__ import main

    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    # The server's own streams have properties of their files: a terminal, or a file with a position.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = command
    https.LIMITS = https.Limits(**limits)
    sys.exit(main(command[1:]))
