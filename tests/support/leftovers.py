"""Processes that are killed before a system call that changes files, and their temporary files."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from forked import processes
from phpipam_scan_agent.system import files

CALLS = ("replace", "unlink", "fsync")


def killed(
    moment: int, calls: Sequence[str], function: Callable[..., object], *arguments: object
) -> int | None:
    """Call a function in a process that is killed before call number `moment`, from 0; return its pid, if it was."""
    process = processes().Process(target=_call, args=(moment, calls, function, arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -9)
    return process.pid if process.exitcode else None


def _call(
    moment: int, calls: Sequence[str], function: Callable[..., object], arguments: Sequence[object]
) -> None:
    left = moment

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*given: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
            return call(*given, **options)

        return counting

    for name in calls:
        setattr(os, name, counted(getattr(os, name)))
    Path.unlink = _unlink  # type: ignore[assignment, method-assign]
    function(*arguments)


def _unlink(path: Path, missing_ok: bool = False) -> None:
    """Remove a file by the counted os.unlink; Path's method in Python 3.10 calls another."""
    with suppress(*([FileNotFoundError] if missing_ok else [])):
        os.unlink(path)


def half_written(path: Path, pid: int | None = None) -> Path:
    """Leave the temporary file of a killed process for `path`, named with the pid of that process or with `pid`."""
    before = set(path.parent.glob(".*"))
    dead = killed(0, ["replace"], files.replace, path, b'{"format": 1, "ma')
    (leftover,) = set(path.parent.glob(".*")) - before
    assert f".{dead}." in leftover.name
    return leftover.rename(leftover.with_name(leftover.name.replace(f".{dead}.", f".{pid or dead}.")))
