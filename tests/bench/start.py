"""Measure the agent's start: python tests/bench/start.py [TIMES]

CPU time of whole processes and their children; the minimum of several runs, since other programs only add to it. Each
result is a ratio to the import of the four libraries that the agent requires.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "examples")]

from stand_ins.phpipam import subnet  # noqa: E402
from stand_ins.site import Site  # noqa: E402

LIBRARIES = "import requests, yaml, nmap, cachetools"


def cpu_seconds(command: Sequence[str], times: int, environment: Mapping[str, str] | None = None) -> float:
    """Return the least CPU time of a command, in seconds."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(found)


def main(times: int) -> None:
    libraries = cpu_seconds([sys.executable, "-c", LIBRARIES], times)
    print(f"| {LIBRARIES} | {libraries:.3f} s | 1.0 |")
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.phpipam.subnets = [subnet(10, "127.0.20.0/28")]
        run = site.command()
        subprocess.run(run, env=site.environment, check=True)  # fills the cache
        for name, command in {
            "--version": [run[0], "--version"],
            "a run over one cached /28, nmap included": run,
        }.items():
            seconds = cpu_seconds(command, times, site.environment)
            print(f"| {name} | {seconds:.3f} s | {seconds / libraries:.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 9)
