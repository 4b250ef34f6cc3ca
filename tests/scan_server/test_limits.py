"""Limits for clients without the token, and for clients with the token but without a code."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPSConnection
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests
import trustme

from scan_server import database, limits
from scan_server.__main__ import make_server
from scan_server.config import Config
from scan_server_lab import TOKEN, ScanServer, Sqlite, Start, host, hosts_of, report, stored, wait_until

NET = "192.0.2.0/24"
REPORT = report("alpha", NET, host("192.0.2.1"))


Serve = Callable[..., str]
"""Starts the service in this process, with these settings, and returns its URL."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def serve(**settings: object) -> str:
            own = {"sqlite_file": tmp_path / "own.db", "http_port": 0, "auth_token": TOKEN}
            config = Config.model_validate(own | settings)
            engine = database.connect(config)
            stack.callback(engine.dispose)
            server = make_server(config, engine)
            thread = Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            wait_until(lambda: server.started)
            return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

        yield serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScanServer]:
    """Yield a Scan Server in a process of this module."""
    folder = tmp_path_factory.mktemp("limits")
    database = Sqlite(folder / "own.db")
    server = ScanServer(folder, database.settings | {"auth_token": TOKEN})
    database.agent(1, "alpha")
    database.subnet(10, NET)
    yield server
    server.stop()
    database.engine.dispose()


def certificate(folder: Path) -> None:
    """Make the files tls.crt, tls.key and ca.pem for 127.0.0.1."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    issued.private_key_pem.write_to_path(str(folder / "tls.key"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), parts.port or 0), 30)


def test_idle_connections_block_no_other_and_are_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 clients send nothing, half a head, a byte now and then, or the body of a refused request.

    If each blocked the service for HEAD_SECONDS, /health would answer after 200 s.
    """
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1)
    url = serve()
    begun = b"GET /health HTTP/1.1\r\nHost"
    refused = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(url)) for _ in range(200)]
        for client, sent in zip(clients, [b"", begun, begun, refused] * 50, strict=True):
            client.sendall(sent)
        assert requests.get(f"{url}/health", timeout=30).status_code == 200
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and clients:
            for client in clients:
                send_a_byte(client)
            time.sleep(0.2)
            clients = [client for client in clients if is_open(client)]
        assert not clients


def test_idle_tls_handshakes_block_no_other_and_are_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """200 clients send nothing, the start of a ClientHello, or nothing after the handshake."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1)
    certificate(tmp_path)
    files = {"tls_cert": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key"}
    url = serve(**files, http_host="127.0.0.1").replace("http:", "https:")
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(url)) for _ in range(200)]
        for client in clients[::2]:
            client.sendall(b"\x16\x03\x01\x02\x00\x01")
        shaken = [context.wrap_socket(connect(url), server_hostname="127.0.0.1") for _ in range(5)]
        clients += map(stack.enter_context, shaken)
        assert requests.get(f"{url}/health", timeout=30, verify=str(tmp_path / "ca.pem")).status_code == 200
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (clients := [one for one in clients if is_open(one)]):
            time.sleep(0.2)
        assert not clients


def test_clients_that_do_not_read_are_disconnected(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sends requests, and reads no answer."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1)
    url = serve()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(url)) for _ in range(2)]
        for client in clients:
            client.setblocking(False)
        wait_until(lambda: not [client for client in clients if takes_requests(client)])
    assert requests.get(f"{url}/health", timeout=30).status_code == 200


def takes_requests(client: socket.socket) -> bool:
    try:
        while client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def test_idle_connections_of_one_address_leave_room_for_others(start: Start, tmp_path: Path) -> None:
    """No TLS handshake begins in them. /health is asked from another address."""
    certificate(tmp_path)
    tls = {"http_host": "127.0.0.1", "tls_cert": "tls.crt", "tls_key": "tls.key"}
    server = start(**Sqlite(tmp_path / "own.db").settings, **tls)
    parts = urlsplit(server.url)
    with ExitStack() as stack:
        for _ in range(700):
            stack.enter_context(connect(server.url))
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        other = HTTPSConnection(
            str(parts.hostname), parts.port, timeout=30, context=context, source_address=("127.0.0.2", 0)
        )
        stack.callback(other.close)
        other.request("GET", "/health")
        assert other.getresponse().status == 200
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 300


def send_a_byte(client: socket.socket) -> None:
    with suppress(OSError):
        client.send(b"x")


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


def test_long_path_or_method_is_shortened(server: ScanServer) -> None:
    for length in (10_000, 60_000):
        requests.get(f"{server.url}/{'x' * length}", timeout=30)
    requests.request("x" * 10_000, server.url, timeout=30)
    wait_until(lambda: server.text.count('xxx"') >= 2)
    assert max(map(len, server.text.splitlines())) < 1000


def test_no_request_is_redirected(server: ScanServer) -> None:
    for path in ("/health/", "/metrics/", "//"):
        answer = requests.get(server.url + path, headers={"Host": "evil.example"}, timeout=30)
        assert (answer.status_code, answer.json()["reason"]) == (404, "path")
        assert "evil" not in str(answer.headers)


def test_large_bodies_need_little_memory(server: ScanServer) -> None:
    """Eight reports of a megabyte at once, with a valid code and empty results."""
    body = b'{"code": "alpha", "scan": {"subnet": "192.0.2.0/24", "tz": "+0000", "results": [%s]}}'
    answers = send_at_once(server, [body % b",".join([b"{}"] * 340_000)] * 8)
    assert {answer.json()["field"] for answer in answers} == {"scan.results.0.ip"}
    assert peak_memory(server) < 300


def test_large_reports_of_many_agents_delay_no_other_request(start: Start, tmp_path: Path) -> None:
    """Eight agents send as many new hosts as a megabyte holds."""
    database = Sqlite(tmp_path / "own.db")
    server = start(**database.settings)
    bodies = []
    for agent in range(1, 9):
        database.agent(agent, f"agent-{agent}")
        database.subnet(agent, f"127.{agent}.0.0/16", agent)
        hosts = hosts_of(f"127.{agent}.0.0/16", 18_000)
        document = report(f"agent-{agent}", f"127.{agent}.0.0/16", *hosts)
        bodies.append(json.dumps(document, separators=(",", ":")).encode())
    database.engine.dispose()
    answers = send_at_once(server, bodies)
    assert [answer.json() for answer in answers] == [stored(0, 18_000)] * 8
    assert peak_memory(server) < 300


def send_at_once(server: ScanServer, bodies: list[bytes]) -> list[requests.Response]:
    """Send the reports and return the answers. Meanwhile, /health must answer within a second.

    On a slow machine, within a quarter of the time of the reports. Times are the server's CPU times, since other
    processes may delay each answer.
    """
    began, slowest = server.cpu_seconds, 0.0
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = [pool.submit(server.post, body, timeout=300) for body in bodies]
        while not all(answer.done() for answer in answers):
            started = server.cpu_seconds
            assert requests.get(f"{server.url}/health", timeout=60).status_code == 200
            slowest = max(slowest, server.cpu_seconds - started)
    assert slowest < max(1, (server.cpu_seconds - began) / 4)
    return [answer.result() for answer in answers]


def peak_memory(server: ScanServer) -> float:
    """Return the peak memory of the process in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_code_is_checked_before_the_results(server: ScanServer) -> None:
    answer = server.post({"code": "nobody", "scan": {"results": [{}]}})
    assert (answer.status_code, answer.json()["reason"]) == (401, "code")


def test_guessing_of_codes_is_rate_limited(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve()
    monkeypatch.setattr("scan_server.limits.time", SimpleNamespace(monotonic=lambda: 90.0))
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def send(code: str) -> requests.Response:
        return requests.post(url, json=report(code, NET), headers=headers, timeout=30)

    for guess in range(limits.MAX_GUESSES):
        assert send("guess-0").status_code == 401  # a repeated code is no further guess
        assert send(f"guess-{guess}").status_code == 401
    answer = send("alpha")
    assert (answer.json()["reason"], answer.headers["Retry-After"]) == ("guesses", "30")
    monkeypatch.setattr("scan_server.limits.time", SimpleNamespace(monotonic=lambda: 121.0))
    assert send("alpha").status_code == 401


def test_server_error_is_answered_with_500_and_counted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scan_server.write.find_agent", lambda *_: 1 / 0)
    url = serve()
    answer = requests.post(url, json=REPORT, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    assert (answer.status_code, answer.json()["server"]) == (500, "phpipam-scan-server")
    counters = requests.get(f"{url}/metrics", timeout=30).text
    assert 'scan_server_refusals_total{reason="fault"}' in counters


def test_metrics_count_requests_and_changes(start: Start, tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "own.db")
    server = start(**database.settings)
    database.agent(1, "alpha")
    database.subnet(10, NET)
    database.engine.dispose()
    server.post(REPORT)
    server.post(report("alpha", NET, host("192.0.2.1"), host("192.0.2.2", id=5)))
    server.post(REPORT, headers={})
    server.post(b"{")
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    for line in (
        "scan_server_reports_total 2.0",
        'scan_server_hosts_total{outcome="added"} 1.0',
        'scan_server_hosts_total{outcome="updated"} 1.0',
        'scan_server_hosts_total{outcome="skipped"} 1.0',
        'scan_server_refusals_total{reason="token"} 1.0',
        'scan_server_refusals_total{reason="json"} 1.0',
        "scan_server_report_seconds_count 2.0",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("setting", "forwarded", "status"),
    [("loopback", "", 200), ("loopback", "192.0.2.9", 404), ("everyone", "192.0.2.9", 200)],
)
def test_metrics_are_for_loopback_by_default(serve: Serve, setting: str, forwarded: str, status: int) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert (
        requests.get(f"{serve(metrics=setting)}/metrics", headers=headers, timeout=30).status_code == status
    )
