"""Run the agent twice against stand-ins on loopback, and show what the Scan Server gets."""

import json
import subprocess
import tempfile
from pathlib import Path

from stand_ins.phpipam import address, subnet
from stand_ins.site import Site


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.phpipam.subnets = [
            subnet(10, "127.0.20.0/28", description="office"),
            subnet(11, "127.0.21.0/28", description="laboratory"),
            subnet(12, "127.0.22.0/28", description="nobody wants to know", discoverSubnet=0),
        ]
        site.phpipam.addresses = [address(101, 10, "127.0.20.1"), address(102, 10, "127.0.20.2")]

        say(f"phpIPAM and the Scan Server stand in at {site.api.url}:{site.api.port} and :{site.server.port}")
        say("First run: phpIPAM is asked, nmap scans, the Scan Server gets a report of each subnet")
        run(site)
        say(f"phpIPAM was asked {len(site.api.requests)} times. Second run: the cache answers instead")
        run(site)
        say(f"phpIPAM was asked {len(site.api.requests)} times in all. One of the reports uploaded:")
        report = site.scan_server.reports[0]
        report["code"] = "***"
        report["scan"]["results"] = report["scan"]["results"][:4]
        print(json.dumps(report, indent=1), "\n… and so on for the other addresses")


def say(line: str) -> None:
    print(f"\n\033[1m{line}\033[0m", flush=True)


def run(site: Site) -> None:
    subprocess.run(site.command("--format", "table", "-v"), env=site.environment, check=True)


if __name__ == "__main__":
    main()
