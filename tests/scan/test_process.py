"""Real processes with all faults that an nmap process may have."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from phpipam_scan_agent.config import Config
from phpipam_scan_agent.errors import ScanError
from phpipam_scan_agent.plan.jobs import MAX_JOB_SIZE
from phpipam_scan_agent.scan import process
from phpipam_scan_agent.scan.probes import MOST_PROBES
from phpipam_scan_agent.scan.process import Processes, TimedOutError
from runs import is_running, wait_for

STUCK = 60
"""Maximum seconds of a wait for an effect; no test lasts so long."""

SOON = (0.3, 3, STUCK)
"""Timeouts for commands that never end; a busy machine takes longer to start them."""


@pytest.fixture
def processes() -> Iterator[Processes]:
    running = Processes()
    yield running
    running.end_all()


@pytest.fixture
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)


def shell(
    processes: Processes, script: str, stdin: str = "", timeout: float = STUCK
) -> CompletedProcess[str]:
    return processes.run(("sh", "-c", script), stdin, timeout)


def overdue(processes: Processes, script: str) -> TimedOutError:
    """The error of a script that runs longer than it may, but long enough to write something."""
    for timeout in SOON:
        with pytest.raises(TimedOutError) as expired:
            shell(processes, script, timeout=timeout)
        if expired.value.stdout:
            break
    return expired.value


def python(
    processes: Processes, script: str, stdin: str = "", timeout: float = STUCK
) -> CompletedProcess[str]:
    return processes.run((sys.executable, "-c", script), stdin, timeout, 4_000_000)


def pid_in(path: Path) -> int:
    """Wait for a script to write its process id."""
    assert wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_a_command_gets_its_stdin_and_its_output_is_kept(processes: Processes) -> None:
    done = shell(processes, "cat; echo oh >&2; exit 3", "192.0.2.1\n")
    assert (done.stdout, done.stderr, done.returncode) == ("192.0.2.1\n", "oh\n", 3)


def test_bytes_that_are_not_utf8_are_replaced(processes: Processes) -> None:
    done = shell(processes, r"printf '\303x\377'; printf 'No such device \351\n' >&2")
    assert (done.stdout, done.stderr) == ("\ufffdx\ufffd", "No such device \ufffd\n")


def test_the_longest_scan_timeout_is_a_valid_time_limit(processes: Processes) -> None:
    (longest,) = [bound.le for bound in Config.model_fields["scan_timeout"].metadata if hasattr(bound, "le")]
    slowest = MAX_JOB_SIZE * MOST_PROBES / 0.5
    assert shell(processes, "cat", "192.0.2.1\n", longest + slowest).stdout == "192.0.2.1\n"


def test_a_command_that_reads_no_stdin_is_not_waited_for(processes: Processes) -> None:
    assert shell(processes, "exec <&-; echo done", "192.0.2.0/24\n" * 200_000).stdout == "done\n"


def test_a_command_that_writes_much_before_it_reads_does_not_block(processes: Processes) -> None:
    """More than the size of a pipe, on all three streams."""
    script = """
import sys
sys.stdout.write("<" * 3_000_000)
sys.stderr.write("!\\n" * 500_000)
sys.stdout.write(str(len(sys.stdin.read())))
"""
    done = python(processes, script, "x" * 3_000_000)
    assert done.stdout == "<" * 3_000_000 + "3000000"
    assert done.stderr == "!\n" * 500_000
    assert done.returncode == 0


@pytest.mark.parametrize("stream", [1, 2])
def test_a_command_that_writes_without_end_is_ended(stream: int, processes: Processes) -> None:
    with pytest.raises(ScanError, match="sh was ended after 1,048,576 characters of output"):
        shell(processes, f"yes >&{stream}")


@pytest.mark.usefixtures("little_grace")
def test_a_child_that_holds_the_output_is_not_waited_for(processes: Processes) -> None:
    done = shell(processes, "sleep 3600 & echo $!")
    assert wait_for(lambda: not is_running(int(done.stdout)))


def test_a_missing_command_raises(processes: Processes) -> None:
    done = None
    try:
        done = processes.run(("/nonexistent/nmap",), "", STUCK)
    except OSError:
        return
    assert done.returncode != 0
    assert "/nonexistent/nmap" in done.stderr


def test_what_was_written_before_the_timeout_is_kept(processes: Processes) -> None:
    expired = overdue(processes, "echo '<host>'; echo slow >&2; exec sleep 3600")
    assert expired.stdout == "<host>\n"


def test_a_command_may_finish_after_sigterm(processes: Processes) -> None:
    script = "trap 'echo the rest; exit 0' TERM; echo half; while :; do sleep 0.05; done"
    assert overdue(processes, script).stdout == "half\nthe rest\n"


@pytest.mark.usefixtures("little_grace")
def test_a_command_that_ignores_sigterm_is_killed(processes: Processes) -> None:
    script = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
    assert not is_running(int(overdue(processes, script).stdout))


@pytest.mark.parametrize("deaf", [False, True], ids=["obedient", "deaf to SIGTERM"])
@pytest.mark.usefixtures("little_grace")
def test_children_of_a_command_end_with_it(deaf: bool, processes: Processes) -> None:
    child = "trap '' TERM; while :; do sleep 0.05; done" if deaf else "exec sleep 3600"
    expired = overdue(processes, f'sh -c "{child}" & echo $!; wait')
    assert wait_for(lambda: not is_running(int(expired.stdout)))


def test_all_commands_are_ended_at_once(processes: Processes, tmp_path: Path) -> None:
    """By another thread than the waiting threads, as when the run is interrupted."""
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(shell, processes, f"echo half; echo $$ >{tmp_path}/{at}; exec sleep 3600")
            for at in range(4)
        ]
        pids = [pid_in(tmp_path / str(at)) for at in range(4)]
        processes.end_all()
        ended, _ = wait(waiting, STUCK)
    assert len(ended) == 4
    assert not any(map(is_running, pids))


def test_all_commands_are_ended_with_their_children(processes: Processes, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(shell, processes, f"sleep 3600 & echo $! >{tmp_path}/pid; wait")
        pid = pid_in(tmp_path / "pid")
        processes.end_all()
    assert wait_for(lambda: not is_running(pid))


def test_no_command_is_started_after_the_end(processes: Processes, tmp_path: Path) -> None:
    processes.end_all()
    with pytest.raises(InterruptedError):
        shell(processes, f"touch {tmp_path}/started")
    assert not (tmp_path / "started").exists()


def test_ending_a_finished_command_does_nothing(processes: Processes) -> None:
    assert shell(processes, "true").returncode == 0
    processes.end_all()
    processes.end_all()


def test_many_threads_run_in_parallel(processes: Processes) -> None:
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda at: shell(processes, "cat", str(at)).stdout, range(100)))
    assert done == list(map(str, range(100)))


def test_a_terminals_ctrl_c_does_not_reach_a_command(processes: Processes) -> None:
    """Ctrl-C reaches the terminal's group; only the agent decides when nmap ends."""
    done = python(processes, "import os; print(os.getpgid(0), os.getsid(0))")
    group, session = map(int, done.stdout.split())
    assert group == session != os.getsid(0)


PARENT = """
import sys, threading
from phpipam_scan_agent.scan.process import Processes, TimedOutError
run = lambda at: Processes().run(("sh", "-c", f"echo $$ >{sys.argv[1]}/{at}; exec sleep 3600"), "", 3600)
for at in range(3):
    threading.Thread(target=run, args=(at,)).start()
"""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux")
def test_nothing_is_left_behind_when_the_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen((sys.executable, "-c", PARENT, tmp_path))
    try:
        pids = [pid_in(tmp_path / str(at)) for at in range(3)]
        assert all(map(is_running, pids))
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not any(map(is_running, pids)))


def test_a_waiting_thread_does_not_block_another(processes: Processes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    slow = threading.Thread(target=shell, args=(processes, f"read line <{tmp_path}/gate"))
    slow.start()
    assert shell(processes, f"echo >{tmp_path}/gate; echo through").stdout == "through\n"
    slow.join(STUCK)
    assert not slow.is_alive()
