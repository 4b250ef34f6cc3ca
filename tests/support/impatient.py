"""Run the agent with other limits of patience than its own: `impatient.py TRIES=0,READ=0.5 ARGUMENTS…`."""

import sys
from typing import Any

from phpipam_scan_agent.__main__ import main
from phpipam_scan_agent.https import retry
from stand_ins.site import Site


def command(site: Site, *arguments: str, **limits: float) -> list[str]:
    """The command that runs the agent of a site; what fails is not tried again, unless `TRIES` says so."""
    given = ",".join(f"{name}={value}" for name, value in ({"TRIES": 0} | limits).items())
    return [sys.executable, __file__, given, *site.command(*arguments)[1:]]


def environment(site: Site) -> dict[str, str]:
    """What the command needs beside the site's own."""
    return site.environment | {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def _apply(given: str) -> None:
    for each in given.split(","):
        name, _, value = each.partition("=")
        limit: Any = float(value) if "." in value else int(value)
        assert isinstance(getattr(retry, name), (int, float))
        setattr(retry, name, limit)


if __name__ == "__main__":
    _apply(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
