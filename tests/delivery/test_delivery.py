"""Reports → the Scan Server through the spool."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import configs
from certificates import Authority
from clock import NOW
from faulty_servers import Turns, says
from listeners import silenced
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.delivery import Delivery
from phpipam_scan_agent.delivery.server import MAX_BODY, ScanServer
from phpipam_scan_agent.delivery.spool import Spool
from phpipam_scan_agent.delivery.spool_file import decode
from phpipam_scan_agent.delivery.spool_folder import Entry
from phpipam_scan_agent.errors import LockedError
from phpipam_scan_agent.https import Limits
from phpipam_scan_agent.models import Outcome, ScanResult
from reports import NOON, files_below, ips, report, result
from stand_ins.https import Answer, Certificates, Request, Server, as_json
from stand_ins.scan_server import ScanServer as StandIn


class Bench:
    """A Scan Server over TLS with configurable answers, and runs that deliver to it by one spool."""

    def __init__(self, folder: Path) -> None:
        certificates = Certificates()
        (folder / "ca.pem").write_bytes(certificates.ca_pem)
        self.stand_in = StandIn(token="server-token")
        self.answer: Callable[[dict[str, Any]], Answer | None] = lambda scan: None
        """Returns the answer to a report, or None for the usual answer."""
        self.asked: list[int] = []
        """The subnets of all sent reports, accepted or not."""
        self.listener = Server(self._answer, certificates.tls())
        self.folder = folder / "state" / "spool"
        self.spool = self.opened()
        self.settings: dict[str, Any] = {
            "api_url": "https://127.0.0.1",
            "client_name": "branch",
            "client_token": "app-code",
            "scanagent_code": "agent-code",
            "http_server": self.listener.url,
            "http_port": self.listener.port,
            "auth_token": "server-token",
        }

    def run(self, dry_run: bool = False, uploads: int = 4) -> Delivery:
        """The delivery of a new run."""
        self.spool = self.opened()
        server = ScanServer(Config.model_validate(self.settings), Limits(retries=0))
        return Delivery(self.spool, server, dry_run, uploads=uploads)

    def change(self, **settings: Any) -> None:
        """Change the configuration for the next run."""
        self.settings |= settings

    def opened(self) -> Spool:
        """The spool at the start of a new run."""
        return Spool(self.folder, 1e9, 10**9, lambda: NOW)

    def spooled(self, *ids: int) -> None:
        """Put a report of each of these subnets into the spool, the oldest first."""
        for n, id_ in enumerate(ids):
            self.spool.put(report(id_, seen=NOON - timedelta(hours=len(ids) - n)))

    @property
    def taken(self) -> list[int]:
        """The subnets of the accepted reports, in the order of arrival."""
        return [_id(each["scan"]) for each in self.stand_in.reports]

    @property
    def waiting(self) -> list[int]:
        """The subnets of the waiting reports, oldest first."""
        spool = self.opened()
        spool.load()
        return [spool.get(name)[1].subnet_id or 0 for name in spool.waiting()]

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


def through(run: Delivery, *results: ScanResult) -> list[Outcome]:
    """Deliver results, wait for the end of all uploads, and return the outcomes in the order of the ids."""
    for each in results:
        run.deliver(each)
    return sorted(run.finish(), key=lambda outcome: outcome.id or 0)


# Reports without faults


def test_a_report_is_on_disk_during_its_upload_and_removed_after_it(bench: Bench) -> None:
    seen: list[list[int]] = []

    def look(scan: dict[str, Any]) -> None:
        seen.append(bench.waiting)

    bench.answer = look
    with bench.run() as run:
        (done,) = through(run, result(10, hosts=2))
    assert seen == [[10]]
    assert (done.uploaded, done.waiting, done.error) == (True, False, None)
    assert ips(bench.stand_in.reports[0]["scan"]) == ["192.0.10.1", "192.0.10.2"]
    assert bench.waiting == []
    assert run.problems == []


def test_waiting_reports_are_sent_newest_first_without_a_new_scan(bench: Bench) -> None:
    bench.spooled(30, 10, 20)
    with bench.run(uploads=1) as run:
        assert through(run) == []
    assert bench.taken == [20, 10, 30]
    assert bench.waiting == []


def test_a_new_report_is_sent_before_waiting_reports(bench: Bench) -> None:
    """Also during the upload of a waiting report."""
    bench.spooled(*range(1, 21))
    begun, going_on = threading.Event(), threading.Event()

    def hold(scan: dict[str, Any]) -> None:
        begun.set()
        assert going_on.wait(60)

    bench.answer = hold
    with bench.run(uploads=1) as run:
        assert begun.wait(60)
        run.deliver(result(100))
        assert run.finished() == []
        going_on.set()
        (done,) = run.finish()
    assert done.uploaded
    assert bench.taken[:2] == [20, 100]
    assert len(bench.taken) == 21


def test_several_reports_are_sent_at_a_time_once_the_server_has_taken_one(bench: Bench) -> None:
    together = threading.Barrier(3)
    first = threading.Event()

    def wait(scan: dict[str, Any]) -> None:
        if first.is_set():
            together.wait(60)
        first.set()

    bench.answer = wait
    with bench.run(uploads=3) as run:
        outcomes = through(run, *(result(id_) for id_ in range(1, 11)))
    assert [done.uploaded for done in outcomes] == [True] * 10
    assert sorted(bench.taken) == list(range(1, 11))
    assert not together.broken


def test_waiting_and_new_report_of_a_subnet_are_merged(bench: Bench) -> None:
    bench.answer = lambda scan: Answer(503)
    for hour in range(20):
        with bench.run() as run:
            through(run, *(result(id_, hosts=id_, seen=NOON + timedelta(hours=hour)) for id_ in (1, 2, 3)))
    assert bench.waiting == [1, 2, 3]
    bench.answer = lambda scan: None
    with bench.run() as run:
        through(run, result(9))
    assert sorted(bench.taken) == [1, 2, 3, 9]
    assert [len(ips(each["scan"])) for each in bench.stand_in.reports] != []


def test_a_result_that_comes_during_its_subnets_upload_is_sent_too(bench: Bench) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def hold(scan: dict[str, Any]) -> None:
        begun.set()
        assert going_on.wait(60)

    bench.answer = hold
    with bench.run() as run:
        run.deliver(result(10, hosts=1)._replace(parts=3))
        assert begun.wait(60)
        run.deliver(result(10, hosts=2)._replace(parts=3))
        run.deliver(result(10, hosts=3)._replace(parts=3))
        going_on.set()
        (done,) = run.finish()
    assert (done.uploaded, done.error) == (True, None)
    assert [len(ips(each["scan"])) for each in bench.stand_in.reports] == [1, 3]
    assert bench.waiting == []


def test_a_report_dropped_at_the_spools_limits_just_before_its_upload_is_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Spool.entry

    def drop(spool: Spool, name: str) -> Entry | None:
        """By another thread, which writes a report."""
        found = entry(spool, name)
        if found:
            spool.remove(name, found.version)
        return found

    bench.spooled(1)
    monkeypatch.setattr(Spool, "entry", drop)
    with bench.run() as run:
        assert through(run) == []
    assert (bench.asked, run.problems) == ([], [])


def test_a_second_run_with_the_same_spool_ends(bench: Bench) -> None:
    with bench.run(), pytest.raises(LockedError, match="another run uses "), bench.run():
        pass


# Refusals

OURS = {"server": "phpipam-scan-server"}

NOT_NOW = {
    "the collection's token": Answer(401, b"Invalid authorization token"),
    "our token": as_json(401, OURS | {"error": "no", "reason": "token"}),
    "our code": as_json(401, OURS | {"error": "no", "reason": "code"}),
    "our path": as_json(404, OURS | {"error": "no", "reason": "path"}),
    "our database": as_json(503, OURS | {"error": "no", "reason": "database"}),
    "our haste": as_json(503, OURS | {"error": "no", "reason": "busy"}),
    "our guesses": as_json(429, OURS | {"error": "no", "reason": "guesses"}),
    "429": Answer(429, b"not now"),
    "502": Answer(502, b"<h1>Bad Gateway</h1>"),
    "503": Answer(503, b"not now"),
    "504": Answer(504),
    "empty 500": Answer(500),
    "a portal's 200": Answer(200, b"<html><title>Welcome</title>", {"Content-Type": "text/html"}),
    "a line with 200": Answer(200, b"OK"),
    "JSON with 200": as_json(200, {"status": "ok"}),
    "204": Answer(204),
    "400": Answer(400, b"<h1>Bad Request</h1>", {"Content-Type": "text/html"}),
    "a line with 400": Answer(400, b"Invalid request"),
    "403": Answer(403, b"<h1>Forbidden</h1>", {"Content-Type": "text/html"}),
    "an empty 403": Answer(403),
    "404": Answer(404, b"<h1>Not Found</h1>", {"Content-Type": "text/html"}),
    "405": Answer(405, b"<h1>Not Allowed</h1>", {"Content-Type": "text/html"}),
    "422": Answer(422, b'{"detail": "no"}', {"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("answer", NOT_NOW)
def test_an_answer_that_is_not_about_the_report_keeps_it_and_stops_uploads(bench: Bench, answer: str) -> None:
    bench.spooled(1, 2)
    bench.answer = lambda scan: NOT_NOW[answer]
    with bench.run() as run:
        outcomes = through(run, result(3), result(4))
    assert len(bench.asked) == 1
    assert bench.waiting == [1, 2, 3, 4]
    assert [(done.waiting, done.uploaded, done.error) for done in outcomes] == [(True, False, None)] * 2
    (problem,) = run.problems
    networks = "192.0.1.0/24, 192.0.2.0/24, 192.0.3.0/24, 192.0.4.0/24"
    assert f"reports kept for the next run: 4, with 4 hosts of {networks}, in {bench.folder}: " in problem
    assert f"HTTP {NOT_NOW[answer].status}" in problem
    assert len(problem.splitlines()) == 1

    bench.answer = lambda scan: None
    with bench.run() as run:
        through(run)
    assert sorted(bench.taken) == [1, 2, 3, 4]
    assert run.problems == []


def test_an_unreachable_server_is_asked_once(bench: Bench) -> None:
    bench.spooled(1)
    with silenced(bench.listener), bench.run() as run:
        through(run, result(2))
    assert bench.waiting == [1, 2]
    assert "Connection refused" in run.problems[0]


def test_reports_that_follow_a_server_failure_are_kept(bench: Bench) -> None:
    bench.answer = only(2, Answer(503))
    with bench.run(uploads=1) as run:
        for id_ in (1, 2, 3):
            through(run, result(id_))
    assert bench.taken == [1]
    assert bench.waiting == [2, 3]


ABOUT_THE_REPORT = {
    "field": as_json(400, OURS | {"error": "scan.results.0.ip: no", "reason": "field", "field": "scan"}),
    "row": as_json(400, OURS | {"error": "no", "reason": "row", "rows": []}),
    "subnet": as_json(403, OURS | {"error": "no", "reason": "subnet", "subnet": "192.0.2.0/24"}),
}


@pytest.mark.parametrize("reason", ABOUT_THE_REPORT)
def test_a_refused_report_is_set_aside_and_named(bench: Bench, reason: str) -> None:
    bench.spooled(1, 2, 3)
    bench.answer = only(2, ABOUT_THE_REPORT[reason])
    with bench.run() as run:
        (done,) = through(run, result(4))
    assert sorted(bench.taken) == [1, 3, 4]
    assert (done.uploaded, done.error) == (True, None)
    (problem,) = run.problems
    (aside,) = (bench.folder / "refused").glob("*.json")
    assert f"HTTP {ABOUT_THE_REPORT[reason].status}: " in problem
    assert problem.endswith(f"; it is set aside as {aside}")
    assert decode(aside.read_bytes()) == report(2, seen=NOON - timedelta(hours=2))
    assert run.assignments_changed == (reason == "subnet")

    asked = list(bench.asked)
    with bench.run() as run:
        through(run)
    assert bench.asked == asked
    assert run.problems == []


def test_a_refused_report_that_cannot_be_set_aside_stays(bench: Bench) -> None:
    bench.spooled(1, 2)
    (bench.folder / "refused").touch()
    bench.answer = only(2, ABOUT_THE_REPORT["field"])
    with bench.run() as run:
        through(run)
    assert bench.waiting == [2]
    assert run.problems[0].endswith("; it stays in the spool")
    assert run.problems[1].startswith("reports kept for the next run: 1, with 1 hosts of 192.0.2.0/24")


@pytest.mark.parametrize(
    "change", [{"scanagent_code": "another"}, {"auth_token": "another"}, {"http_port": 0}]
)
def test_refused_reports_are_sent_again_after_a_configuration_change(
    bench: Bench, change: dict[str, Any]
) -> None:
    bench.answer = only(2, ABOUT_THE_REPORT["subnet"])
    with bench.run() as run:
        through(run, result(1), result(2))
    change = change if "http_port" not in change else {"spool_max_age": 10**6}
    bench.change(**change)
    for _ in range(2):
        with bench.run() as run:
            through(run)
    assert bench.asked.count(2) == 2, "and no more"
    assert len(list((bench.folder / "refused").glob("*.json"))) == 1

    bench.answer = lambda scan: None
    bench.stand_in.token = bench.settings["auth_token"]
    bench.change(max_rate=100)
    with bench.run() as run:
        through(run)
    assert sorted(bench.taken) == [1, 2]
    assert list((bench.folder / "refused").glob("*.json")) == []


def test_a_refusal_of_a_new_report_fails_its_subnet(bench: Bench) -> None:
    bench.answer = only(2, ABOUT_THE_REPORT["field"])
    with bench.run() as run:
        first, second, third = through(run, *(result(id_) for id_ in (1, 2, 3)))
    assert (first.uploaded, second.uploaded, third.uploaded) == (True, False, True)
    assert not second.waiting
    assert "HTTP 400: scan.results.0.ip: no; " in str(second.error)
    assert "it is set aside as " in str(second.error)
    assert first.error is third.error is None
    assert run.problems == []


def test_500_with_a_message_concerns_its_report_only(bench: Bench) -> None:
    bench.answer = only(2, Answer(500, b"playbook failed"))
    bench.spooled(1, 2, 3)
    with bench.run(uploads=1) as run:
        through(run, result(4))
    assert sorted(bench.taken) == [1, 3, 4]
    assert bench.waiting == [2]
    assert "HTTP 500: playbook failed; see the server's log; the next run sends it again" in run.problems[0]

    bench.answer = lambda scan: None
    with bench.run() as run:
        through(run)
    assert sorted(bench.taken) == [1, 2, 3, 4]


def test_500_for_every_report_stops_uploads(bench: Bench) -> None:
    bench.answer = lambda scan: Answer(500, b"playbook failed")
    with bench.run() as run:
        through(run, *(result(id_) for id_ in range(1, 21)))
    assert len(bench.asked) == 3
    assert len(bench.waiting) == 20


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 100, b"[" * 100_000])
def test_a_damaged_file_is_set_aside_and_does_not_block_others(bench: Bench, content: bytes) -> None:
    bench.spooled(1, 2)
    name = next(iter(bench.spool.waiting()))
    (bench.folder / name).write_bytes(content)
    with bench.run() as run:
        through(run)
    aside = bench.folder / "refused" / name
    assert bench.taken == [2]
    assert run.problems == [f"{bench.folder / name} contains no report; it is set aside as {aside}"]
    assert aside.read_bytes() == content


# Size


def test_a_large_report_is_sent_in_parts_below_the_limit(bench: Bench) -> None:
    with bench.run() as run:
        (done,) = through(run, result(10, hosts=30_000, cidr="192.0.0.0/16"))
    assert done.uploaded
    assert all(len(request.body) < MAX_BODY for request in bench.listener.requests)
    assert len(bench.listener.requests) == -(-30_001 // 2048)
    found = [ip for each in bench.stand_in.reports for ip in ips(each["scan"])]
    assert len(found) == len(set(found)) == 30_000
    assert all(each["scan"]["subnet"] == "192.0.0.0/16" for each in bench.stand_in.reports)


def smaller_than(most: int) -> Callable[[dict[str, Any]], Answer | None]:
    """A proxy that limits the number of hosts in a request."""
    return lambda scan: Answer(413, b"too large") if len(scan["results"]) > most else None


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_a_report_too_large_for_a_proxy_is_sent_in_halves(bench: Bench, most: int) -> None:
    bench.answer = smaller_than(most)
    with bench.run() as run:
        (done,) = through(run, result(10, hosts=37))
    assert (done.uploaded, done.error) == (True, None)
    found = [ip for each in bench.stand_in.reports for ip in ips(each["scan"])]
    assert found == [f"192.0.10.{n}" for n in range(1, 38)]
    assert all(each["scan"].keys() == {"subnet", "tz", "made", "results"} for each in bench.stand_in.reports)
    assert bench.waiting == []


def test_a_report_stays_where_a_proxy_refuses_even_one_host(bench: Bench) -> None:
    bench.answer = smaller_than(0)
    with bench.run() as run:
        (done,) = through(run, result(10, hosts=3))
    assert (done.uploaded, done.waiting) == (False, True)
    assert "HTTP 413: too large; raise the body size that the server or a proxy" in run.problems[0]
    assert bench.waiting == [10]


def test_a_report_is_sent_again_whole_after_a_failure_between_halves(bench: Bench) -> None:
    answers = iter([Answer(413), None, Answer(503)])
    bench.answer = lambda scan: next(answers, None)
    with bench.run() as run:
        (done,) = through(run, result(10, hosts=4))
        assert done.waiting
    with bench.run() as run:
        through(run)
    assert [len(ips(each["scan"])) for each in bench.stand_in.reports] == [2, 4]
    assert bench.waiting == []


class ClosingProxy(Turns):
    """Answers 413 to a body over 100 kB and closes before reading it, as some proxies do."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), tls=tls)
        self.refused = 0

    def _answer(self, connection: socket.socket) -> None:
        head = connection.recv(65536)
        length = re.search(rb"Content-Length: (\d+)", head)
        if length and int(length[1]) > 100_000:
            self.refused += 1
            connection.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        while length and len(head.partition(b"\r\n\r\n")[2]) < int(length[1]):
            head += connection.recv(65536)
        self._say(connection, self._turns[0].pieces(), self._turns[0].end)
        self.asked.append(head)


def test_a_large_report_is_sent_in_halves_after_a_lost_connection(tmp_path: Path, trusted: Authority) -> None:
    proxy = ClosingProxy(trusted.right())
    with proxy:
        config = configs.config(http_server="https://127.0.0.1", http_port=proxy.port)
        server = ScanServer(config, Limits(retries=1))
        with Delivery(Spool(tmp_path / "spool", 1e9, 10**9, lambda: NOW), server, dry_run=False) as run:
            (done,) = through(run, result(10, hosts=2000, cidr="192.0.0.0/16"))
    assert (done.uploaded, done.error, run.problems) == (True, None, [])
    assert proxy.refused in (1, 2, 3)
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in proxy.asked]
    assert sorted(ip for body in bodies for ip in ips(body["scan"])) == sorted(
        str(host.ip) for host in result(10, hosts=2000, cidr="192.0.0.0/16").hosts
    )


# Dry run


def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    bench.spooled(1)
    before = files_below(bench.folder)
    with bench.run(dry_run=True) as run:
        (done,) = through(run, result(2))
        run.keep(result(3))
    assert (done.uploaded, done.waiting, done.error) == (False, False, None)
    assert (bench.asked, run.problems) == ([], [])
    assert files_below(bench.folder) == before
