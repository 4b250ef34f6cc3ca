"""Run the agent once with stand-ins; started by agent.py in a network namespace.

Reads the site from stdin as JSON: `subnets`, `addresses`, `settings`, `environment`, `arguments`, `prefix` for
the command, `nameservers` (address → zone, or null for a silent nameserver) and `watch`. Writes the fields of
agent.Run to stdout as JSON.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import nameserver
from lab.watch import Watch
from stand_ins.https import Answer, Request
from stand_ins.site import Site


def main() -> None:
    wanted = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site, ExitStack() as others:
        os.chmod(folder, 0o777)  # for the cache of an agent without privileges
        site.phpipam.subnets = wanted["subnets"]
        site.phpipam.addresses = wanted.get("addresses", [])
        site.settings |= wanted.get("settings", {})
        command = [*wanted.get("prefix", []), *site.command(*wanted.get("arguments", []))]
        site.config_file.chmod(0o644)
        environment = site.environment | wanted.get("environment", {})
        for ip, zone in wanted.get("nameservers", {}).items():
            reply = nameserver.silence if zone is None else None
            others.enter_context(nameserver.Nameserver(ip, zone or (), reply))
        arrivals: list[float] = []
        _note_arrivals(site, arrivals)
        watch = others.enter_context(Watch()) if wanted.get("watch") else None
        started = time.monotonic()
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as agent:
            assert agent.stderr is not None
            said = agent.stderr.read()
            _, status, usage = os.wait4(agent.pid, 0)
            agent.returncode = os.waitstatus_to_exitcode(status)
        done = {
            "status": agent.returncode,
            "stderr": said,
            "seconds": time.monotonic() - started,
            "memory": usage.ru_maxrss / 1024,
            "cpu": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime,
            "reports": [report["scan"] for report in site.scan_server.reports],
            "arrivals": arrivals,
            "probed": watch.probed() if watch else {},
        }
    json.dump(done, sys.stdout)


def _note_arrivals(site: Site, arrivals: list[float]) -> None:
    take = site.server.take

    def note(request: Request) -> Answer:
        arrivals.append(time.time())
        return take(request)

    site.server.take = note  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
