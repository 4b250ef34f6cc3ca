"""What a run leaves half written when it is killed, with the name that the program gives it."""

import subprocess
import sys
from pathlib import Path

_KILLED = """
import os, sys
from pathlib import Path
from phpipam_scan_agent.system import files

os.replace = lambda *_: os.kill(os.getpid(), 9)
files.replace(Path(sys.argv[1]), b'{"format": 1, "ma')
"""


def half_written(path: Path, pid: int | None = None) -> Path:
    """Leave a file half written beside `path`, by a process that is dead, or as the process `pid` would have."""
    before = set(path.parent.glob(".*"))
    killed = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)])
    assert killed.wait() == -9
    (leftover,) = set(path.parent.glob(".*")) - before
    assert f".{killed.pid}." in leftover.name
    return leftover.rename(
        leftover.with_name(leftover.name.replace(f".{killed.pid}.", f".{pid or killed.pid}."))
    )
