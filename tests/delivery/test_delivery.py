"""Reports → the Scan Server by way of the spool: what becomes of each, whatever the server or the disk does."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import impatient
from forked import ForkedSite
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.delivery import Delivery
from phpipam_scan_agent.delivery.server import MAX_BODY, ScanServer
from phpipam_scan_agent.delivery.spool import Spool
from reports import ips, report, result
from stand_ins.https import Answer, Certificates, Request, Server
from stand_ins.phpipam import subnet
from stand_ins.scan_server import ScanServer as StandIn
from stand_ins.site import Site

pytestmark = pytest.mark.usefixtures("hasty")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")


class Bench:
    """A Scan Server over TLS that answers as a test wants it, and runs that deliver to it by one spool."""

    def __init__(self, folder: Path) -> None:
        certificates = Certificates()
        (folder / "ca.pem").write_bytes(certificates.ca_pem)
        self.stand_in = StandIn(token="server-token")
        self.answer: Callable[[dict[str, Any]], Answer | None] = lambda scan: None
        """Given what a report says, the answer instead of the usual one."""
        self.asked: list[int] = []
        """Of which subnets a report was sent, taken or not."""
        self.listener = Server(self._answer, certificates.tls())
        self.folder = folder / "state" / "spool"
        self.spool = Spool(self.folder, 1e9, 10**9, lambda: 1_790_000_000.0)
        settings = {
            "api_url": "https://127.0.0.1",
            "client_name": "branch",
            "client_token": "app-code",
            "scanagent_code": "agent-code",
            "http_server": self.listener.url,
            "http_port": self.listener.port,
            "auth_token": "server-token",
        }
        self._config = Config.model_validate(settings)

    def run(self, dry_run: bool = False) -> Delivery:
        """What a new run begins with."""
        return Delivery(self.spool, ScanServer(self._config), dry_run)

    @property
    def taken(self) -> list[int]:
        """Of which subnets the server has taken a report, in this order."""
        return [_id(each["scan"]) for each in self.stand_in.reports]

    @property
    def waiting(self) -> list[int]:
        return [_id(json.loads(self.spool.get(path).scan)) for path in self.spool.waiting()]

    def _answer(self, request: Request) -> Answer:
        scan = json.loads(request.body)["scan"]
        self.asked.append(_id(scan))
        return self.answer(scan) or self.stand_in.answer(request)


def _id(scan: dict[str, Any]) -> int:
    return int(scan["subnet"].split(".")[2])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    bench = Bench(tmp_path)
    with bench.listener:
        yield bench


def only(id_: int, answer: Answer) -> Callable[[dict[str, Any]], Answer | None]:
    """Give this answer to the reports of one subnet."""
    return lambda scan: answer if _id(scan) == id_ else None


# The one path


def test_a_report_is_on_disk_when_it_is_sent_and_gone_when_it_was_taken(bench: Bench) -> None:
    seen: list[list[int]] = []

    def look(scan: dict[str, Any]) -> None:
        seen.append(bench.waiting)

    bench.answer = look
    with bench.run() as run:
        done = run.deliver(result(10, hosts=2))
    assert seen == [[10]]
    assert (done.uploaded, done.waiting, done.error) == (True, False, None)
    assert ips(bench.stand_in.reports[0]["scan"]) == ["192.0.10.1", "192.0.10.2"]
    assert bench.waiting == []
    assert run.problems == []


def test_what_waits_goes_first_oldest_first(bench: Bench) -> None:
    for id_ in (30, 10, 20):
        bench.spool.put(report(id_))
    with bench.run() as run:
        run.send_waiting()
        run.deliver(result(5))
    assert bench.taken == [30, 10, 20, 5]
    assert bench.waiting == []


def test_what_waits_is_sent_though_there_is_nothing_new(bench: Bench) -> None:
    bench.spool.put(report(30))
    with bench.run() as run:
        run.send_waiting()
    assert bench.taken == [30]


# Refusals


@pytest.mark.parametrize("status", [401, 404, 405, 429, 502, 503, 504])
def test_a_server_that_takes_nothing_ends_the_sending_and_not_the_run(bench: Bench, status: int) -> None:
    bench.spool.put(report(1))
    bench.spool.put(report(2))
    bench.answer = lambda scan: Answer(status, b"not now")
    with bench.run() as run:
        run.send_waiting()
        deliveries = [run.deliver(result(id_)) for id_ in (3, 4)]
    assert bench.asked == [1]
    assert bench.waiting == [1, 2, 3, 4]
    assert all(done.waiting and not done.uploaded and not done.error for done in deliveries)
    (problem,) = run.problems
    networks = "192.0.1.0/24, 192.0.2.0/24, 192.0.3.0/24, 192.0.4.0/24"
    assert f"reports kept for the next run: 4, with 4 hosts of {networks}, in {bench.folder}: " in problem
    assert f"HTTP {status}: not now" in problem

    bench.answer = lambda scan: None
    with bench.run() as run:
        run.send_waiting()
    assert bench.taken == [1, 2, 3, 4]
    assert run.problems == []


def test_a_server_out_of_reach_is_asked_once(bench: Bench) -> None:
    bench.listener.__exit__(None, None, None)
    bench.spool.put(report(1))
    with bench.run() as run:
        run.send_waiting()
        run.deliver(result(2))
    assert bench.waiting == [1, 2]
    assert "Connection refused" in run.problems[0]


def test_a_server_that_goes_away_in_the_middle_keeps_the_rest_in_order(bench: Bench) -> None:
    bench.answer = only(2, Answer(503))
    with bench.run() as run:
        for id_ in (1, 2, 3):
            run.deliver(result(id_))
    assert bench.taken == [1]
    assert bench.waiting == [2, 3]


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_bad_report_is_set_aside_named_and_blocks_nobody(bench: Bench, status: int) -> None:
    for id_ in (1, 2, 3):
        bench.spool.put(report(id_))
    bench.answer = only(2, Answer(status, b"no good"))
    with bench.run() as run:
        run.send_waiting()
        done = run.deliver(result(4))
    assert bench.taken == [1, 3, 4]
    assert (done.uploaded, done.error) == (True, None)
    aside = bench.folder / "refused" / "000000000002.json"
    (problem,) = run.problems
    assert f"HTTP {status}: no good; " in problem
    assert problem.endswith(f"; it is set aside as {aside}")
    assert json.loads(json.loads(aside.read_text())["scan"])["subnet"] == "192.0.2.0/24"

    asked = list(bench.asked)
    with bench.run() as run:
        run.send_waiting()
    assert bench.asked == asked
    assert run.problems == []


def test_a_fresh_report_that_is_bad_is_its_subnets_failure(bench: Bench) -> None:
    bench.answer = only(2, Answer(400, b"no good"))
    with bench.run() as run:
        first, second, third = (run.deliver(result(id_)) for id_ in (1, 2, 3))
    assert (first.uploaded, second.uploaded, third.uploaded) == (True, False, True)
    assert not second.waiting
    assert "HTTP 400: no good" in str(second.error)
    assert "it is set aside as " in str(second.error)
    assert first.error is third.error is None
    assert run.problems == []


def test_500_with_a_text_is_that_reports_own_trouble(bench: Bench) -> None:
    bench.answer = only(2, Answer(500, b"playbook failed"))
    for id_ in (1, 2, 3):
        bench.spool.put(report(id_))
    with bench.run() as run:
        run.send_waiting()
        run.deliver(result(4))
    assert bench.taken == [1, 3, 4]
    assert bench.waiting == [2]
    assert bench.asked == [1, 2, 3, 4]
    assert (
        "HTTP 500: playbook failed; see the server's own log; the next run sends it again" in run.problems[0]
    )

    bench.answer = lambda scan: None
    with bench.run() as run:
        run.send_waiting()
    assert bench.taken == [1, 3, 4, 2]


def test_an_empty_500_is_a_server_in_trouble(bench: Bench) -> None:
    bench.answer = lambda scan: Answer(500)
    with bench.run() as run:
        run.deliver(result(1))
        run.deliver(result(2))
    assert bench.asked == [1]
    assert bench.waiting == [1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 100, b"[" * 100_000])
def test_a_damaged_file_is_set_aside_named_and_blocks_nobody(bench: Bench, content: bytes) -> None:
    bench.spool.put(report(1)).write_bytes(content)
    bench.spool.put(report(2))
    with bench.run() as run:
        run.send_waiting()
    aside = bench.folder / "refused" / "000000000001.json"
    assert bench.taken == [2]
    assert run.problems == [
        f"{bench.folder}/000000000001.json holds no report; it is set aside as {aside}",
    ]
    assert aside.read_bytes() == content


# Size


def test_a_large_report_goes_in_parts_below_the_limit(bench: Bench) -> None:
    with bench.run() as run:
        done = run.deliver(result(10, hosts=30_000, cidr="192.0.0.0/16"))
    assert done.uploaded
    sizes = [len(request.body) for request in bench.listener.requests]
    assert len(sizes) == 3
    assert all(size < MAX_BODY for size in sizes)
    found = [ip for each in bench.stand_in.reports for ip in ips(each["scan"])]
    assert len(found) == len(set(found)) == 30_000
    assert all(each["scan"]["subnet"] == "192.0.0.0/16" for each in bench.stand_in.reports)


def smaller_than(most: int) -> Callable[[dict[str, Any]], Answer | None]:
    """A proxy that lets no more hosts pass at a time."""
    return lambda scan: Answer(413, b"too large") if len(scan["results"]) > most else None


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_what_is_too_large_for_a_proxy_goes_in_halves(bench: Bench, most: int) -> None:
    bench.answer = smaller_than(most)
    with bench.run() as run:
        done = run.deliver(result(10, hosts=37))
    assert (done.uploaded, done.error) == (True, None)
    found = [ip for each in bench.stand_in.reports for ip in ips(each["scan"])]
    assert found == [f"192.0.10.{n}" for n in range(1, 38)]
    assert all(each["scan"].keys() == {"subnet", "tz", "results"} for each in bench.stand_in.reports)
    assert bench.waiting == []


def test_one_host_that_is_too_large_is_set_aside_with_advice(bench: Bench) -> None:
    bench.answer = smaller_than(0)
    with bench.run() as run:
        done = run.deliver(result(10, hosts=3))
        assert run.deliver(result(11, hosts=0)).uploaded
    assert not done.uploaded
    assert "HTTP 413: too large; raise the body size that the server or the proxy" in str(done.error)
    assert "it is set aside as " in str(done.error)


def test_a_server_that_goes_away_between_halves_gets_the_whole_again(bench: Bench) -> None:
    answers = iter([Answer(413), None, Answer(503)])
    bench.answer = lambda scan: next(answers, None)
    with bench.run() as run:
        assert run.deliver(result(10, hosts=4)).waiting
    with bench.run() as run:
        run.send_waiting()
    assert [len(ips(each["scan"])) for each in bench.stand_in.reports] == [2, 4]
    assert bench.waiting == []


# Dry run


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_dry_run_sends_keeps_and_drops_nothing(bench: Bench) -> None:
    bench.spool.put(report(1))
    bench.spool = Spool(bench.folder, 1.0, 1, lambda: 1_800_000_000.0)
    before = files(bench.folder)
    with bench.run(dry_run=True) as run:
        run.send_waiting()
        done = run.deliver(result(2))
        run.keep(result(3))
    assert (done.uploaded, done.waiting, done.error) == (False, False, None)
    assert (bench.asked, run.problems) == ([], [])
    assert files(bench.folder) == before


# The whole agent


def run_agent(site: Site, before: str) -> "subprocess.CompletedProcess[str]":
    """Run the agent in a mount namespace of its own, after what a shell does there first."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh", *impatient.command(site)],
        env=impatient.environment(site),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def two(site: ForkedSite) -> ForkedSite:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    return site


def spooled(site: Site) -> list[Path]:
    return sorted((site.folder / "state" / "spool").glob("*.json"))


def sent(site: Site) -> list[str]:
    return sorted(each["scan"]["subnet"] for each in site.scan_server.reports)


def test_reports_survive_a_server_that_is_away_and_go_out_with_the_next_run(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    done = two.run_once("--format", "json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "reports kept for the next run: 2, with 4 hosts of 127.0.2" in line
    assert "HTTP 503" in line
    summary = json.loads(done.stdout)
    assert [(row["uploaded"], row["waiting"]) for row in summary["subnets"]] == [(False, True)] * 2
    assert len(spooled(two)) == 2
    assert len(two.server.requests) == 1

    two.scan_server.instead = None
    done = two.run_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(two) == ["127.0.20.0/30"] * 2 + ["127.0.21.0/30"] * 2
    assert spooled(two) == []


def test_a_wrong_token_loses_nothing_and_is_named(two: ForkedSite) -> None:
    right = two.settings["auth_token"]
    two.settings["auth_token"] = "another-token-altogether"
    done = two.run_once()
    assert done.returncode == 1
    assert "HTTP 401: Invalid authorization token; check auth_token" in done.stderr
    assert "another-token-altogether" not in done.stderr
    assert len(spooled(two)) == 2

    two.settings["auth_token"] = right
    assert two.run_once().returncode == 0
    assert len(sent(two)) == 4


def test_a_report_that_is_set_aside_is_named_once_and_the_next_run_is_well(two: ForkedSite) -> None:
    accept = two.scan_server.answer
    two.server._answer = lambda request: (
        Answer(400, b"no good") if b'"127.0.20.0/30"' in request.body else accept(request)
    )
    done = two.run_once()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: error: subnet 127.0.20.0/30: Scan Server at ")
    assert sent(two) == ["127.0.21.0/30"]

    two.server._answer = accept
    done = two.run_once()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_dry_run_leaves_what_waits(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    two.scan_server.instead = None
    two.settings |= {"spool_max_age": 1, "epoch_time_offset": 86400}
    asked, before = len(two.server.requests), files(two.folder / "state")
    done = two.run_once("--dry-run")
    assert done.returncode == 0
    assert len(two.server.requests) == asked
    assert files(two.folder / "state") == before


FULL = """
mkdir -p "$STATE_DIRECTORY"
mount -t tmpfs -o size=4k,nr_inodes=3 none "$STATE_DIRECTORY"
head -c 4096 /dev/zero > "$STATE_DIRECTORY/full"
"""
READ_ONLY = """
mkdir -p "$STATE_DIRECTORY"
mount --bind "$STATE_DIRECTORY" "$STATE_DIRECTORY"
mount -o remount,bind,ro "$STATE_DIRECTORY"
"""


@as_root
@pytest.mark.parametrize("disk", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_what_cannot_be_kept_is_sent_all_the_same(two: ForkedSite, disk: str) -> None:
    done = run_agent(two, before=disk)
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(two) == ["127.0.20.0/30", "127.0.21.0/30"]


@as_root
@pytest.mark.parametrize(
    ("disk", "why"),
    [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")],
    ids=["full", "read-only"],
)
def test_what_can_be_neither_kept_nor_sent_is_named(two: ForkedSite, disk: str, why: str) -> None:
    two.scan_server.instead = Answer(503, b"busy")
    done = run_agent(two, before=disk)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for network in ("127.0.20.0/30", "127.0.21.0/30"):
        (line,) = [
            line for line in lines if line.startswith(f"phpipam-scan-agent: error: subnet {network}: ")
        ]
        assert f"could be neither kept nor sent: {two.folder}/state/spool cannot keep it ({why}); " in line
        assert "HTTP 503: busy" in line
    assert len(two.server.requests) == 1, "a server that takes nothing is not asked for each report"


@as_root
def test_what_waits_in_a_read_only_folder_is_sent_once_a_run(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    assert len(spooled(two)) == 2
    two.scan_server.instead = None
    two.server.requests.clear()
    done = run_agent(two, before=READ_ONLY)
    assert len(two.server.requests) == 4
    assert "cannot be removed (Read-only file system); the next run sends it again" in done.stderr
    assert len(spooled(two)) == 2

    assert two.run_once().returncode == 0
    assert spooled(two) == []


@as_root
def test_a_full_cache_folder_costs_time_and_no_report(two: ForkedSite) -> None:
    full = FULL.replace("STATE", "CACHE")
    done = run_agent(two, before=full)
    assert done.returncode == 0
    assert "No space left on device); every run asks phpIPAM" in done.stderr
    assert len(sent(two)) == 2


def test_bounds_are_kept_and_what_is_dropped_is_counted(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    size = spooled(two)[0].stat().st_size
    two.settings["spool_max_size"] = 2 * size + size // 2
    done = two.run_once()
    assert done.returncode == 1
    assert done.stderr.count("1 of the oldest reports with 2 hosts are dropped, see spool_max_age and") == 2
    assert [path.name for path in spooled(two)] == ["000000000003.json", "000000000004.json"]


def test_a_report_larger_than_the_spool_is_sent_or_named(two: ForkedSite) -> None:
    two.settings["spool_max_size"] = 1
    assert two.run_once().returncode == 0
    assert len(sent(two)) == 2
    two.scan_server.instead = Answer(503)
    done = two.run_once("--format", "json")
    assert done.returncode == 1
    assert [row["uploaded"] for row in json.loads(done.stdout)["subnets"]] == [False, False]


def test_a_report_that_waits_too_long_is_dropped_and_counted(two: ForkedSite) -> None:
    two.scan_server.instead = Answer(503)
    two.run_once()
    two.scan_server.instead = None
    two.settings["epoch_time_offset"] = 8 * 86400
    done = two.run_once()
    assert "2 of the oldest reports with 4 hosts are dropped, see spool_max_age" in done.stderr
    assert len(sent(two)) == 2
