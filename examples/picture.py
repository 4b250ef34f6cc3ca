"""Make examples/run.svg, the README's picture, from a real run of the agent on loopback.

.venv/bin/python examples/picture.py
"""

import io
import os
import pty
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from stand_ins.phpipam import address, subnet
from stand_ins.site import Site

WIDTH = 92


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.phpipam.subnets = [
            subnet(10, "127.0.20.0/24"),
            subnet(11, "127.0.21.0/26", resolveDNS=0),
            subnet(12, "127.0.22.0/28", discoverSubnet=0, pingSubnet=1),
            subnet(13, "127.0.23.0/28", discoverSubnet=0),
        ]
        site.phpipam.addresses = [address(100 + last, 10, f"127.0.20.{last}") for last in range(1, 41)]
        site.phpipam.addresses += [address(200 + last, 12, f"127.0.22.{last}") for last in range(1, 9)]
        check = shown(site, "--check")
        run = shown(site)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for command, output in (("--check", check), ("", run)):
        console.print(f"[bold green]$[/] phpipam-scan-agent {command}")
        console.print(Text.from_ansi(output.replace(folder, "")))
    console.save_svg(str(Path(__file__).with_name("run.svg")), title="phpipam-scan-agent")


def shown(site: Site, *arguments: str) -> str:
    """Return the agent's output on a terminal."""
    ours, theirs = pty.openpty()
    environment = site.environment | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    subprocess.run(site.command(*arguments), env=environment, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError:  # the last writer of the pty has closed it
        pass
    os.close(ours)
    # The progress bar is gone when the cursor is shown again.
    return output.decode().replace("\r\n", "\n").rpartition("\x1b[?25h")[2]


if __name__ == "__main__":
    main()
