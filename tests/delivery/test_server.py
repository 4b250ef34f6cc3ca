"""Reports → the Scan Server, or one line that helps."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

import configs
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.delivery.server import ScanServer
from phpipam_scan_agent.errors import BadReportError, ServerError, TooLargeError, UnavailableError
from phpipam_scan_agent.models import Report
from rough_servers import Raw
from stand_ins.https import Answer, Certificates, Server
from stand_ins.scan_server import ScanServer as StandIn

pytestmark = pytest.mark.usefixtures("hasty")

REPORT = Report(ip_network("127.0.20.0/28"), '{"subnet": "127.0.20.0/28", "tz": "+0000", "results": []}')


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn(token="server-token")


@pytest.fixture
def server(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScanServer]:
    certificates = Certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Server(stand_in.answer, certificates.tls()) as listener:
        settings = {
            "api_url": "https://127.0.0.1",
            "client_name": "branch",
            "client_token": "app-code",
            "scanagent_code": 'code "with" \\ and é',
            "http_server": listener.url,
            "http_port": listener.port,
            "auth_token": "server-token",
        }
        server = ScanServer(Config.model_validate(settings))
        yield server
        server.close()


def test_the_code_is_added_to_the_report(server: ScanServer, stand_in: StandIn) -> None:
    server.upload(REPORT)

    assert stand_in.reports == [
        {
            "code": 'code "with" \\ and é',
            "scan": {"subnet": "127.0.20.0/28", "tz": "+0000", "results": []},
        }
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(400, b"Invalid JSON payload"), BadReportError, "HTTP 400: Invalid JSON payload; the report"),
        (Answer(401, b"Invalid token"), UnavailableError, "HTTP 401: Invalid token; check auth_token"),
        (Answer(403), BadReportError, "HTTP 403; check in phpIPAM that the subnet is this agent's"),
        (
            Answer(404, b"<h1>\nNot\nFound</h1>"),
            UnavailableError,
            "HTTP 404: Not Found; check http_",
        ),
        (Answer(405), UnavailableError, "HTTP 405; check http_server and http_port"),
        (Answer(413), TooLargeError, "HTTP 413; raise the body size"),
        (Answer(422), BadReportError, "HTTP 422; see the server's own log"),
        (Answer(429), UnavailableError, "HTTP 429; see the server's own log"),
        (Answer(500), UnavailableError, "HTTP 500; see the server's own log"),
        (Answer(500, b"playbook failed"), ServerError, "HTTP 500: playbook failed; see the server's own log"),
        (Answer(502, b"bad gateway"), UnavailableError, "HTTP 502: bad gateway; see the server's own log"),
        (Answer(503), UnavailableError, "HTTP 503; see the server's own log"),
        (Answer(504), UnavailableError, "HTTP 504; see the server's own log"),
        (Answer(204), ServerError, "HTTP 204; see the server's own log"),
    ],
)
def test_all_but_200_is_a_refusal_whose_class_says_what_to_do_with_the_report(
    server: ScanServer, stand_in: StandIn, answer: Answer, kind: type[ServerError], said: str
) -> None:
    stand_in.instead = answer

    with pytest.raises(ServerError, match=said) as caught:
        server.upload(REPORT)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_nobody_listens() -> None:
    with pytest.raises(UnavailableError, match="Scan Server at http://127.0.0.1:1/: Connection refused; "):
        upload_to(1)


def upload_to(port: int) -> None:
    server = ScanServer(configs.config(http_server="http://127.0.0.1", http_port=port))
    try:
        server.upload(REPORT)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("end_of_head", "body"),
    [(b"Content-Length: 2\r\n\r\n", b"OK"), (b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n")],
)
def test_an_answer_cut_off_inside_its_headers_is_no_200(end_of_head: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + end_of_head
    for length in range(len(head) + 1):
        with Raw([head[:length]]) as cut, pytest.raises(UnavailableError) as caught:
            upload_to(cut.port)
        assert str(caught.value).startswith(f"Scan Server at http://127.0.0.1:{cut.port}/: "), length
    with Raw([head + body]) as whole:
        upload_to(whole.port)
