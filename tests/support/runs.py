"""A running agent: conditions to wait for, and its processes and files."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from forked import LONGEST as LONGEST
from forked import Agent, ForkedSite
from stand_ins.https import Answer, Request
from stand_ins.site import Site


def start(site: ForkedSite, *arguments: str, **limits: float) -> Agent:
    """Start the agent, by default without retries of failed requests."""
    return site.start(*arguments, limits={"retries": 0, **limits})


def end(agent: "Agent | subprocess.Popen[str]") -> tuple[int, list[str]]:
    """The exit code and the lines of stderr."""
    _, said = agent.communicate(timeout=LONGEST)
    return agent.wait(), said.splitlines()


def wait_for(condition: Callable[[], object]) -> bool:
    """Wait until a condition is true, at most LONGEST; return whether it is."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes(site: Site) -> list[str]:
    """The commands of the site's processes, which are recognized by their state folder."""
    ours = f"STATE_DIRECTORY={site.environment['STATE_DIRECTORY']}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if ours in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # the process has ended
            continue
    return found


def leftovers(site: Site) -> list[str]:
    """The temporary files of any process."""
    folders = (site.folder / "state", site.folder / "cache")
    return [str(path) for folder in folders for path in folder.rglob(".*") if path.is_file()]


class Gate:
    """Holds the requests of a peer until it is opened."""

    def __init__(self, answer: Callable[[Request], Answer], holds: Callable[[Request], bool]) -> None:
        self._answer = answer
        self._holds = holds
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, request: Request) -> Answer:
        if self._holds(request):
            self.reached.set()
            self.opened.wait(LONGEST)
        return self._answer(request)


def slow_nmap(site: Site, network: str, script: str) -> Path:
    """Put an nmap into the site's PATH that runs the script for one network, and the real nmap otherwise.

    The script has the targets in $targets, and nmap's arguments. Return a file that exists after the start of the
    script.
    """
    folder = site.folder / "bin"
    folder.mkdir()
    reached = site.folder / "reached"
    real = subprocess.run(["which", "nmap"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "nmap").write_text(
        f"""#!/bin/sh
case "$*" in *-iL*) ;; *) exec {real} "$@" ;; esac
targets=$(cat)
case "$targets" in
*{network}*)
    {script}
    ;;
*) echo "$targets" | {real} "$@" ;;
esac
""".replace("REACHED", str(reached)).replace("REAL", real)
    )
    (folder / "nmap").chmod(0o755)
    site.environment["PATH"] = f"{folder}{os.pathsep}{site.environment['PATH']}"
    return reached


def without(program: str, site: Site, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the agent to its end without a program, which /dev/null hides in a mount namespace."""
    hide = f'mount --bind /dev/null "$(readlink -f {shutil.which(program)})" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", *site.command(*arguments)]
    return subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
