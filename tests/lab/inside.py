"""Run the agent once among stand-ins; meant to be started inside a network namespace.

Reads the site from stdin as JSON (`subnets`, `addresses`, `settings`, `environment`, `arguments`, and `prefix` for
the command) and writes what came of it to stdout: `status`, `stderr`, `seconds`, `memory` (MiB, the agent's own),
`cpu` (seconds) and `reports`.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stand_ins.site import Site


def main() -> None:
    wanted = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        os.chmod(folder, 0o755)  # so that an agent without privileges can read its configuration
        site.phpipam.subnets = wanted["subnets"]
        site.phpipam.addresses = wanted.get("addresses", [])
        site.settings |= wanted.get("settings", {})
        command = [*wanted.get("prefix", []), *site.command(*wanted.get("arguments", []))]
        site.config_file.chmod(0o644)
        environment = site.environment | wanted.get("environment", {})
        started = time.monotonic()
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as agent:
            assert agent.stderr is not None
            said = agent.stderr.read()
            _, status, usage = os.wait4(agent.pid, 0)
            agent.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        done = {
            "status": agent.returncode,
            "stderr": said,
            "seconds": seconds,
            "memory": usage.ru_maxrss / 1024,
            "cpu": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime,
            "reports": [report["scan"] for report in site.scan_server.reports],
        }
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
