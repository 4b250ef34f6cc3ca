"""Run the agent with other limits for its requests: `request_limits.py retries=0,read=0.5 ARGUMENTS…`."""

import sys
from typing import Any

from phpipam_scan_agent import https
from phpipam_scan_agent.__main__ import main
from stand_ins.site import Site


def command(site: Site, *arguments: str, **limits: float) -> list[str]:
    """The command that runs the agent of a site with these limits, by default without retries."""
    given = ",".join(f"{name}={value}" for name, value in ({"retries": 0} | limits).items())
    return [sys.executable, __file__, given, *site.command(*arguments)[1:]]


def environment(site: Site) -> dict[str, str]:
    """The environment of this command: the site's, with the path of the modules."""
    return site.environment | {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def _limits(given: str) -> https.Limits:
    values: Any = {name: float(value) for name, value in (each.split("=") for each in given.split(","))}
    return https.Limits(**values)


if __name__ == "__main__":
    https.LIMITS = _limits(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
