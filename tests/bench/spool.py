"""Measure the cost of waiting reports for a run: python tests/bench/spool.py [NUMBER…]

The first run merges files of format 1, one for each report, as an older version left them for 50 subnets; later runs
find the newest state. The Scan Server does not answer in the first three runs, and answers in the fourth.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from stand_ins.https import Answer
from stand_ins.phpipam import subnet
from stand_ins.site import Site

SUBNETS = 50
NETWORKS = [f"127.0.{n + 20}.0/28" for n in range(SUBNETS)]


def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder)) as site:
        site.phpipam.subnets = [subnet(n + 10, network) for n, network in enumerate(NETWORKS)]
        site.settings["max_rate"] = 20_000
        leave(site.folder / "state" / "spool", number)
        site.run("--dry-run")  # fills the cache
        print(f"{number:,} reports of an older version waiting")
        for name, answer in (
            ("merged once", Answer(401, b"no")),
            ("2nd run", Answer(401, b"no")),
            ("3rd run", Answer(401, b"no")),
            ("server back", None),
            ("nothing waits", None),
        ):
            site.scan_server.instead = answer
            asked = len(site.server.requests)
            began = time.monotonic()
            site.run()
            seconds = time.monotonic() - began
            files = len(list((site.folder / "state" / "spool").glob("*.json")))
            print(
                f"  {name:15}{seconds:6.2f} s{len(site.server.requests) - asked:6} requests{files:6} files left"
            )


def leave(spool: Path, number: int) -> None:
    """Write files of format 1, the oldest first."""
    spool.mkdir(parents=True, mode=0o700)
    spool.parent.chmod(0o700)
    now = time.time()
    for n in range(number):
        network = NETWORKS[n % SUBNETS]
        seen = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now - number + n))
        base = network.rpartition(".")[0]
        rows = [
            {"subnetId": str(n % SUBNETS + 10), "ip": f"{base}.{last}", "lastSeen": seen}
            for last in range(1, 15)
        ]
        scan = json.dumps({"subnet": network, "tz": "+0000", "results": rows})
        document = {"format": 1, "made": now - number + n, "subnet": network, "hosts": 14, "scan": scan}
        (spool / f"{n + 1:012d}.json").write_text(json.dumps(document))


if __name__ == "__main__":
    for each in map(int, sys.argv[1:] or ("0", "1000", "50000")):
        main(each)
