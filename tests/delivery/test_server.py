"""Reports → the Scan Server, or a one-line error."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

import configs
from faulty_servers import Raw
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.delivery.server import ScanServer
from phpipam_scan_agent.errors import (
    BadReportError,
    NotAssignedError,
    ServerError,
    TooLargeError,
    UnavailableError,
)
from phpipam_scan_agent.https import Limits
from phpipam_scan_agent.models import Report
from reports import NOON
from stand_ins.https import Answer, Certificates, Server, as_json
from stand_ins.scan_server import ScanServer as StandIn

REPORT = Report(ip_network("127.0.20.0/28"), 10, NOON)
SCAN = {"subnet": "127.0.20.0/28", "tz": "+0000", "made": "2026-11-24T12:00:00+00:00", "results": []}


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn(token="server-token")


@pytest.fixture
def server(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScanServer]:
    certificates = Certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Server(lambda request: stand_in.answer(request), certificates.tls()) as listener:
        settings = {
            "api_url": "https://127.0.0.1",
            "client_name": "branch",
            "client_token": "app-code",
            "scanagent_code": 'code "with" \\ and é',
            "http_server": listener.url,
            "http_port": listener.port,
            "auth_token": "server-token",
        }
        server = ScanServer(Config.model_validate(settings), Limits(retries=0))
        yield server
        server.close()


def test_the_code_is_added_to_the_report(server: ScanServer, stand_in: StandIn) -> None:
    server.upload(REPORT)

    assert stand_in.reports == [
        {
            "code": 'code "with" \\ and é',
            "scan": SCAN,
        }
    ]


def ours(status: int, reason: str) -> Answer:
    return as_json(status, {"server": "phpipam-scan-server", "error": "such a\nfault", "reason": reason})


def page(status: int, body: bytes, server: str = "nginx/1.26") -> Answer:
    return Answer(status, body, {"Content-Type": "text/html", "Server": server})


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        # This project's server: each of its reasons
        (
            ours(400, "json"),
            BadReportError,
            "answers HTTP 400: such a fault; the report was damaged in transit",
        ),
        (ours(400, "field"), BadReportError, "HTTP 400: such a fault; the server does not accept this value"),
        (ours(400, "row"), BadReportError, "phpIPAM's database refuses these rows, the others are stored"),
        (ours(400, "news"), ServerError, "such a fault; see the server's log"),
        (ours(401, "token"), UnavailableError, "check auth_token"),
        (ours(401, "code"), UnavailableError, "check scanagent_code"),
        (ours(403, "subnet"), NotAssignedError, "check in phpIPAM that the subnet is this agent's"),
        (ours(404, "path"), UnavailableError, "check http_server and http_port"),
        (ours(408, "slow"), ServerError, "check the network"),
        (ours(413, "size"), TooLargeError, "raise the body size"),
        (ours(429, "guesses"), UnavailableError, "check scanagent_code"),
        (ours(503, "database"), UnavailableError, "see the server's log"),
        (ours(503, "busy"), UnavailableError, "the server is overloaded"),
        # The collection's: one line of text
        (
            Answer(400, b"Invalid JSON payload"),
            UnavailableError,
            "HTTP 400: Invalid JSON payload; the report",
        ),
        (Answer(401, b"Invalid token"), UnavailableError, "HTTP 401: Invalid token; check auth_token"),
        (Answer(413, b"Maximum request body size 1048576 exceeded"), TooLargeError, "raise the body size"),
        (Answer(500, b"playbook failed"), ServerError, "HTTP 500: playbook failed; see the server's log"),
        (Answer(500), UnavailableError, "HTTP 500; see the server's log"),
        # Either server, or a proxy
        (page(413, b"<h1>Request Entity Too Large</h1>"), TooLargeError, "raise the body size"),
        (Answer(429), UnavailableError, "HTTP 429; see the log of the server or of the proxy"),
        (page(502, b"<h1>Bad\nGateway</h1>"), UnavailableError, "HTTP 502: Bad Gateway; see the log"),
        (Answer(503), UnavailableError, "HTTP 503; see the log"),
        (Answer(504), UnavailableError, "HTTP 504; see the log"),
        # No Scan Server
        *(
            (
                page(status, b"<h1>Forbidden\n by</h1> policy"),
                UnavailableError,
                "HTTP {0} 'Forbidden by policy'",
            )
            for status in (200, 201, 400, 401, 403, 404, 405, 422, 451, 500, 501)
        ),
        (Answer(403, b"no"), UnavailableError, "HTTP 403 'no'"),
        (Answer(404), UnavailableError, "no Scan Server answers at"),
        (Answer(204), UnavailableError, "no Scan Server answers at"),
        (as_json(200, {"server": "nginx"}), UnavailableError, "no Scan Server answers at"),
        (as_json(200, ["phpipam-scan-server"]), UnavailableError, "no Scan Server answers at"),
        (Answer(200, b"[" * 60_000), UnavailableError, "no Scan Server answers at"),
    ],
)
def test_an_answer_decides_about_the_report_by_its_sender(
    server: ScanServer, stand_in: StandIn, answer: Answer, kind: type[ServerError], said: str
) -> None:
    stand_in.instead = answer

    with pytest.raises(ServerError, match=re.escape(said.format(answer.status))) as caught:
        server.upload(REPORT)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_another_responder_is_named(server: ScanServer, stand_in: StandIn) -> None:
    stand_in.instead = page(403, b"<title>403</title><h1>Request blocked</h1>", "cloud-waf")
    with pytest.raises(UnavailableError) as caught:
        server.upload(REPORT)
    assert "HTTP 403 '403 Request blocked' (Server: " in str(caught.value)
    assert "cloud-waf" in str(caught.value)
    assert str(caught.value).endswith("; check http_server, http_port and any proxy")


@pytest.mark.parametrize("answer", [Answer(200), as_json(200, {"server": "phpipam-scan-server", "added": 1})])
def test_both_scan_servers_answers_are_recognized(
    server: ScanServer, stand_in: StandIn, answer: Answer
) -> None:
    stand_in.instead = answer
    server.upload(REPORT)


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        (
            {"POST": ours(400, "json"), "GET": as_json(200, {"server": "phpipam-scan-server"})},
            None,
            "could store",
        ),
        (
            {"POST": Answer(400, b"Invalid JSON payload"), "GET": Answer(405, b"405: Method Not Allowed")},
            None,
            "coll",
        ),
        (
            {"POST": ours(400, "json"), "GET": ours(503, "database")},
            UnavailableError,
            "such a fault; see the",
        ),
        (
            {"POST": ours(400, "json"), "GET": ours(503, "timezone")},
            UnavailableError,
            "such a fault; set the",
        ),
        ({"POST": ours(401, "token"), "GET": ours(200, "")}, UnavailableError, "check auth_token"),
        ({"POST": Answer(401, b"Invalid token"), "GET": Answer(404)}, UnavailableError, "check auth_token"),
        (
            {"POST": page(400, b"<h1>Bad Request</h1>"), "GET": page(404, b"no")},
            UnavailableError,
            "no Scan Server answers at",
        ),
        ({"POST": Answer(200), "GET": Answer(200)}, UnavailableError, "no Scan Server answers at"),
    ],
)
def test_the_check_passes_only_if_a_report_could_be_stored(
    server: ScanServer,
    stand_in: StandIn,
    answers: dict[str, Answer],
    kind: type[ServerError] | None,
    said: str,
) -> None:
    stand_in.answer = lambda request: answers[request.method]  # type: ignore[method-assign]
    if kind is None:
        assert said in server.try_token()
        return
    with pytest.raises(kind, match=said):
        server.try_token()


def test_a_closed_port_is_named() -> None:
    with pytest.raises(UnavailableError, match="Scan Server at http://127.0.0.1:1/: Connection refused; "):
        upload_to(1)


def upload_to(port: int) -> None:
    config = configs.config(http_server="http://127.0.0.1", http_port=port)
    server = ScanServer(config, Limits(retries=0))
    try:
        server.upload(REPORT)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("end_of_head", "body"),
    [
        (b"Content-Length: 33\r\n\r\n", b'{"server": "phpipam-scan-server"}'),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    ],
)
def test_an_answer_truncated_in_its_headers_is_no_200(end_of_head: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + end_of_head
    for length in range(len(head) + 1):
        with Raw([head[:length]]) as cut, pytest.raises(UnavailableError) as caught:
            upload_to(cut.port)
        assert str(caught.value).startswith(f"Scan Server at http://127.0.0.1:{cut.port}/: "), length
    with Raw([head + body]) as whole:
        upload_to(whole.port)
