"""The service for clients and administrators: answers, log, TLS, stop."""

import ast
import io
import json
import signal
import socket
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
import requests
import trustme
from starlette.types import Message

from scan_server import app
from scan_server.config import Config
from scan_server.database import connect
from scan_server_lab import EXAMPLE, TOKEN, Database, Lab, ScanServer, Sqlite, Start, host, report, wait_until

NET = "192.0.2.0/24"
REPORT = report("alpha", NET, host("192.0.2.1"))
LIMIT = 1024 * 1024


@pytest.fixture
def lab(sqlite_lab: Lab) -> Lab:
    sqlite_lab.database.clear()
    _seed(sqlite_lab.database)
    return sqlite_lab


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Sqlite]:
    """Yield the SQLite file of the test."""
    database = Sqlite(tmp_path / "own.db")
    yield database
    database.engine.dispose()


def _seed(database: Database) -> None:
    database.agent(1, "alpha")
    database.subnet(10, NET)


def _raw(server: ScanServer, *, length: int | None, token: str = TOKEN, send: bytes = b"") -> bytes:
    """Send a request with an incomplete body, and return the first bytes of the answer."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    with _connect(server) as connection:
        connection.sendall(_head(framing, token) + send)
        return connection.recv(65536)


def _connect(server: ScanServer) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((str(parts.hostname), parts.port or 0), 30)


def _head(framing: str, token: str = TOKEN) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer no-token-set"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": b"Bearer \xe9"},
    ],
)
def test_wrong_or_missing_token_is_refused(lab: Lab, headers: Any) -> None:
    answer = lab.server.post(REPORT, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"].startswith("auth_token: ")
    assert lab.database.addresses("id") == []


def test_token_is_checked_before_the_body_is_read(lab: Lab) -> None:
    assert _raw(lab.server, length=500_000, token="wrong").startswith(b"HTTP/1.1 401 ")


def test_refusal_is_read_by_a_client_that_sends_all_first(lab: Lab) -> None:
    assert lab.server.post(b"x" * LIMIT, headers={}).status_code == 401


def test_without_a_token_the_default_is_required(start: Start, sqlite: Sqlite) -> None:
    server = start(**sqlite.settings, auth_token="")
    _seed(sqlite)
    assert server.post(REPORT, headers={}).status_code == 401
    assert server.post(REPORT, headers={"Authorization": "Bearer no-token-set"}).status_code == 200


def test_body_that_is_not_json_is_refused(lab: Lab) -> None:
    answer = lab.server.post(b"{")
    assert (answer.status_code, answer.json()["reason"]) == (400, "json")
    assert answer.json()["error"] == "Invalid JSON payload"


def test_other_methods_and_paths_are_refused(lab: Lab) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert requests.request(method, lab.server.url, timeout=30).status_code == 405
    assert requests.post(f"{lab.server.url}/report", timeout=30).status_code == 404


def test_body_up_to_the_limit_is_accepted(lab: Lab) -> None:
    body = json.dumps(REPORT).encode()
    assert lab.server.post(body.ljust(LIMIT)).status_code == 200
    answer = lab.server.post(body.ljust(LIMIT + 1))
    assert answer.status_code == 413
    assert str(LIMIT) in answer.json()["error"]


def test_too_large_body_is_refused_before_it_is_read(lab: Lab) -> None:
    assert _raw(lab.server, length=LIMIT + 1).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_chunked_body_is_refused_before_it_is_read(lab: Lab, token: str) -> None:
    """Its parser would be busy for a second for each 100,000 chunks."""
    assert _raw(lab.server, length=None, token=token, send=b"1\r\nx\r\n").startswith(b"HTTP/1.1 400 ")
    assert requests.get(f"{lab.server.url}/health", timeout=30).status_code == 200


def test_connection_closed_during_a_request_is_no_server_error(start: Start, sqlite: Sqlite) -> None:
    server = start(**sqlite.settings)
    with _connect(server) as connection:
        connection.sendall(_head("Content-Length: 9") + b"{")
        requests.get(f"{server.url}/health", timeout=30)
    server.stop()
    assert sorted(line["status"] for line in server.requests) == [200, 408]
    assert "Traceback" not in server.text


def test_slow_report_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shorter time limit, and a silent client."""
    monkeypatch.setattr(app, "REPORT_SECONDS", 0.05)
    config = Config.model_validate({"sqlite_file": tmp_path / "own.db"})
    engine = connect(config)
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.sleep(30)
        raise AssertionError("it waits longer than it should")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer no-token-set")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": ("127.0.0.1", 1)}
    anyio.run(app.make_app(config, engine), scope, receive, send)
    engine.dispose()
    assert sent[0]["status"] == 408


def test_health_check_needs_no_token_and_asks_the_database(lab: Lab) -> None:
    answer = requests.get(f"{lab.server.url}/health", timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"server": "phpipam-scan-server", "health": "ok"})


def test_access_log_has_one_line_per_request_without_secrets(start: Start, sqlite: Sqlite) -> None:
    server = start(**sqlite.settings)
    _seed(sqlite)
    server.post(REPORT)
    server.post(REPORT, headers={"Authorization": "Bearer wrong-token"})
    server.post(report("wrong-code", NET))
    requests.get(f"{server.url}/health?token={TOKEN}", timeout=30)
    server.stop()
    common = {"client": "127.0.0.1", "method": "POST", "path": "/"}
    taken, unauthorised, unknown, health = server.requests
    assert taken.items() >= {**common, "status": 200, "subnet": NET, "updated": 0, "added": 1}.items()
    assert taken["seconds"] >= 0
    assert unauthorised.items() >= {**common, "status": 401}.items()
    assert unknown.items() >= {**common, "status": 401, "reason": "code"}.items()
    assert unknown["error"].startswith("code: ")
    assert health.items() >= {"method": "GET", "path": "/health", "status": 200}.items()
    for secret in (TOKEN, "wrong-token", "wrong-code", '"alpha"'):
        assert secret not in server.text


def test_plain_http_to_the_tls_port_is_refused(start: Start, sqlite: Sqlite, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = start(**sqlite.settings, http_host="127.0.0.1", tls_cert="cert.pem", tls_key="key.pem")
    _seed(sqlite)
    assert server.url.startswith("https://")
    assert server.post(REPORT, verify=str(tmp_path / "ca.pem")).status_code == 200
    for url, trusted in ((server.url, True), (server.url.replace("https", "http"), True)):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{url}/health", timeout=30, verify=trusted)


def test_stop_lets_a_report_in_progress_end(start: Start, sqlite: Sqlite) -> None:
    server = start(**sqlite.settings)
    _seed(sqlite)
    body = json.dumps(REPORT).encode()
    with _connect(server) as connection:
        connection.sendall(_head(f"Content-Length: {len(body)}") + body[:10])
        requests.get(f"{server.url}/health", timeout=30)  # the report has been accepted
        server.process.terminate()
        wait_until(lambda: any(line["event"] == "Shutting down" for line in server.log))
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{server.url}/health", timeout=30)
        connection.sendall(body[10:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == -signal.SIGTERM
    assert sqlite.addresses("hostname") == [None]
    assert server.requests[-1]["status"] == 200


def test_service_and_agent_do_not_import_each_other() -> None:
    """Each is installed on a host without the other."""
    for folder, stranger in ((EXAMPLE, "phpipam_scan_agent"), (EXAMPLE.parents[1] / "src", "scan_server")):
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [str(node.module)]
                assert stranger not in [name.partition(".")[0] for name in names], file


def test_service_stays_small() -> None:
    """At most 900 lines of code: without blank lines, comments and docstrings."""
    sources = [file.read_text() for file in EXAMPLE.glob("*.py")]
    assert max(len(source.splitlines()) for source in sources) <= 300
    assert sum(len(code_lines(source)) for source in sources) <= 900


def code_lines(source: str) -> set[int]:
    """Return the numbers of the lines with code."""
    layout = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines
