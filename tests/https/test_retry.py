"""Retries: their errors, number and time, with servers that fail."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth

from certificates import Authority
from faulty_servers import ClosedInTls, Turn, Turns, read_head, read_request, says
from phpipam_scan_agent.errors import TransportError
from phpipam_scan_agent.https import Answer, Client, Limits
from stand_ins.https import Answer as Reply
from stand_ins.https import Server as Echo

LIMIT = 1_000_000
MB = 10**6

HEAD = b"HTTP/1.1 200 OK\r\n"
WELL = says(HEAD + b"Content-Length: 4\r\n\r\nwell")


def status(code: int, body: bytes = b"", *headers: str, length: bool = True) -> Turn:
    lines = [f"HTTP/1.1 {code} X", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return says("\r\n".join([*lines, "", ""]).encode() + body)


LIMITS = Limits(retries=1, read=20.0, whole=20.0)
"""Few retries, and more time than any answer takes on a busy machine."""

IMPATIENT = LIMITS._replace(read=0.5)
"""For silent servers."""


def send(port: int, protocol: str = "http", limits: Limits = LIMITS, **arguments: Any) -> Answer:
    client = Client("phpIPAM", "api_url", HTTPBasicAuth("user", "password"), LIMIT, limits=limits)
    try:
        usual = {"data": b"{}"}
        return client.send("POST", f"{protocol}://127.0.0.1:{port}/api", **usual | arguments)
    finally:
        client.close()


def failure(port: int, protocol: str = "http", limits: Limits = LIMITS) -> str:
    with pytest.raises(TransportError) as failed:
        send(port, protocol, limits)
    start = f"phpIPAM at {protocol}://127.0.0.1:{port}/api: "
    assert str(failed.value).startswith(start)
    return str(failed.value).removeprefix(start)


# Retries


PASSING = {
    "reset at once": says(end="reset"),
    "closed without an answer": says(),
    "closed inside the first line": says(b"HTTP/1.1 2"),
    "silent": says(end="silence"),
    "silent inside the headers": says(HEAD + b"Content-Ty", end="silence"),
    "half an answer": says(HEAD + b"Content-Length: 100\r\n\r\nwe"),
    "half an answer and a reset": says(HEAD + b"Content-Length: 100\r\n\r\nwe", end="reset"),
    "half a chunk": says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\nwe"),
    "429": status(429),
    "429 with text": status(429, b"slow down"),
    "429 in a second": status(429, b"", "Retry-After: 0"),
    "429 at some time": status(429, b"", "Retry-After: soon"),
    "502": status(502, b"<h1>Bad Gateway</h1>", "Content-Type: text/html"),
    "503": status(503, b"<h1>Service Unavailable</h1>", "Content-Type: text/html"),
    "503 with Retry-After": status(503, b"", "Retry-After: 0"),
    "504": status(504),
    "empty 500": status(500, b"", "Content-Type: text/html"),
    "empty 500 without a length": status(500, length=False),
    "empty 500 in chunks": says(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_temporary_errors_are_retried_with_the_same_request(fault: str) -> None:
    with Turns(PASSING[fault], WELL) as server:
        answer = send(server.port, limits=IMPATIENT if "silent" in fault else LIMITS)
    assert (answer.status, answer.body) == (200, b"well")
    first, second = server.asked
    assert first == second


@pytest.mark.parametrize("fault", ["503", "empty 500", "half an answer", "reset at once"])
@pytest.mark.parametrize("tries", [0, 1, 2])
def test_permanent_errors_are_not_retried(fault: str, tries: int) -> None:
    with Turns(PASSING[fault]) as server:
        try:
            answer = send(server.port, limits=LIMITS._replace(retries=tries))
        except TransportError:
            assert fault in ("half an answer", "reset at once")
        else:
            assert answer.status in (500, 503)
    assert len(server.asked) == 1 + tries


def test_the_programs_retries_are_bounded() -> None:
    limits = Limits()
    assert 0 < limits.retries_after_loss <= limits.retries <= 5
    assert 0 < limits.connect <= limits.read <= limits.whole <= 300
    assert 0 < limits.longest_pause < limits.whole


def test_a_starting_server_is_retried() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # before `listen`, connections are refused

        def start() -> None:
            time.sleep(0.5)
            listener.listen()
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(b"".join(WELL.pieces()))

        starting = threading.Thread(target=start)
        starting.start()
        answer = send(listener.getsockname()[1], limits=LIMITS._replace(retries=4))
        starting.join()
    assert answer.body == b"well"


def test_retries_are_bounded_in_time_despite_retry_after() -> None:
    with Turns(status(429, b"", "Retry-After: 20"), WELL) as server:
        said = failure(server.port, limits=LIMITS._replace(whole=0.7))
    assert said == "no whole answer within 0.7 s; check that it is not overloaded, and the network"
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_a_long_retry_after_is_cut_to_the_longest_pause(code: int) -> None:
    with Turns(status(code, b"", "Retry-After: 86400"), WELL) as server:
        assert send(server.port, limits=LIMITS._replace(longest_pause=0.1)).body == b"well"


def test_a_busy_application_is_retried() -> None:
    busy = status(503, b"{}", "Content-Type: application/json", "Retry-After: 0")
    with Turns(busy, WELL) as server:
        assert send(server.port).body == b"well"


# No retries


LAST_WORDS = {
    "400": status(400),
    "401": status(401, b"Invalid token"),
    "403": status(403),
    "404": status(404, b"<h1>Not Found</h1>"),
    "405": status(405),
    "413": status(413, b"too large"),
    "413 with Retry-After": status(413, b"", "Retry-After: 0"),
    "422": status(422),
    "500 with text": status(500, b"playbook failed"),
    "501": status(501),
    "phpIPAM's 503": status(503, b'{"message": "Application disabled"}', "Content-Type: application/json"),
    "503 for longer": status(503, b"{}", "Content-Type: application/json", "Retry-After: 60"),
}


@pytest.mark.parametrize("answer", LAST_WORDS)
def test_a_final_answer_is_not_retried(answer: str) -> None:
    with Turns(LAST_WORDS[answer], WELL) as server:
        came = send(server.port, limits=LIMITS._replace(retries=4))
    assert came.status == int(answer.removeprefix("phpIPAM's ")[:3])
    assert came.body == b"".join(LAST_WORDS[answer].pieces()).partition(b"\r\n\r\n")[2]
    assert len(server.asked) == 1


def test_a_redirect_is_not_retried() -> None:
    away = status(302, b"", "Location: /login/", "Retry-After: 0")
    with Turns(away, WELL) as server, pytest.raises(TransportError, match="redirects to /login/"):
        send(server.port)
    assert len(server.asked) == 1


def test_an_untrusted_certificate_is_not_retried(authority: Authority) -> None:
    class Counting(Turns):
        connections = 0

        def serve(self, connection: Any) -> None:
            self.connections += 1
            super().serve(connection)

    server = Counting(WELL, tls=authority.right())
    with server:
        assert "not trusted" in failure(server.port, "https")
    assert (server.connections, server.asked) == (1, [])


# Limits of time and size


def trickle(start: bytes, stop: threading.Event) -> Iterator[bytes]:
    """A byte every 50 ms."""
    yield start
    while not stop.wait(0.05):
        yield b"x"


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 ", HEAD + b"X-Long: ", HEAD + b"Content-Length: 1000000\r\n\r\n", HEAD + b"\r\n"],
    ids=["first line", "headers", "body", "body without a length"],
)
@pytest.mark.parametrize("protocol", ["http", "https"])
def test_an_answer_sent_byte_by_byte_times_out_in_any_thread(
    start: bytes, protocol: str, trusted: Authority
) -> None:
    stop = threading.Event()
    tls = trusted.right() if protocol == "https" else None
    with Turns(Turn(lambda: trickle(start, stop)), tls=tls) as server:
        try:
            with ThreadPoolExecutor() as threads:
                said = threads.submit(failure, server.port, protocol, LIMITS._replace(whole=0.5)).result()
        finally:
            stop.set()
    assert said == "no whole answer within 0.5 s; check that it is not overloaded, and the network"


def test_a_silent_server_times_out() -> None:
    with Turns(says(end="silence")) as server:
        said = failure(server.port, limits=IMPATIENT)
    assert said == "no answer within 0.5 s; check that it is not overloaded"
    assert len(server.asked) == 2


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_a_body_that_is_read_slowly_times_out(protocol: str, trusted: Authority) -> None:
    class Slow(Turns):
        def _answer(self, connection: Any) -> None:
            while not self._ended.wait(0.05) and connection.recv(4096):
                pass

    tls = trusted.right() if protocol == "https" else None
    limits = LIMITS._replace(whole=1.0)
    with Slow(WELL, tls=tls) as server, pytest.raises(TransportError, match="no whole answer within 1 s"):
        send(server.port, protocol, limits, data=b"x" * 20 * MB)


@pytest.mark.parametrize(
    "fault", ["silent", "silent inside the headers", "429 in a while", "silent in the body"]
)
@pytest.mark.parametrize("protocol", ["http", "https"])
def test_close_ends_the_request_of_another_thread(fault: str, protocol: str, trusted: Authority) -> None:
    faults = PASSING | {
        "429 in a while": status(429, b"", "Retry-After: 25"),
        "silent in the body": says(HEAD + b"Content-Length: 100\r\n\r\nwe", end="silence"),
    }
    tls = trusted.right() if protocol == "https" else None
    with Turns(faults[fault], tls=tls) as server, ThreadPoolExecutor() as threads:
        client = Client("phpIPAM", "api_url", HTTPBasicAuth("user", "password"), LIMIT)
        sent = threads.submit(client.send, "GET", f"{protocol}://127.0.0.1:{server.port}/")
        while not server.asked:
            time.sleep(0.01)
        client.close()
        with pytest.raises(TransportError):
            sent.result(timeout=20)  # the pause alone would take 25 s, silence 60 s
        with pytest.raises(TransportError):
            client.send("GET", f"{protocol}://127.0.0.1:{server.port}/")
    assert len(server.asked) == 1


def test_threads_share_a_client(trusted: Authority) -> None:
    bodies = [b"%d" % n * 50_000 for n in range(8)]
    with Echo(lambda request: Reply(200, request.body), trusted.right()) as server:
        client = Client("phpIPAM", "api_url", HTTPBasicAuth("user", "password"), LIMIT)
        with ThreadPoolExecutor(8) as threads:
            url = f"{server.url}:{server.port}/"
            answers = threads.map(lambda body: client.send("POST", url, data=body).body, bodies * 5)
            assert list(answers) == bodies * 5
        client.close()
    assert server.connections <= 8


class Stream:
    """Sends 10 GB until the client closes."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.sent = 0
        self._head = head
        self._piece = piece

    def __call__(self) -> Iterator[bytes]:
        yield self._head
        while self.sent < 10_000 * MB:
            yield self._piece
            self.sent += len(self._piece)


CHUNK = b"%x\r\n" % MB + b"x" * MB + b"\r\n"

STREAMS: dict[str, Callable[[str], Stream]] = {
    "a length": lambda code: Stream(
        f"HTTP/1.1 {code} X\r\nContent-Length: 10000000000\r\n\r\n".encode(), b"x" * MB
    ),
    "no length": lambda code: Stream(f"HTTP/1.1 {code} X\r\n\r\n".encode(), b"x" * MB),
    "chunks": lambda code: Stream(f"HTTP/1.1 {code} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), CHUNK),
    "headers": lambda code: Stream(f"HTTP/1.1 {code} X\r\n".encode(), b"X-Long: " + b"x" * 60_000 + b"\r\n"),
    "a header": lambda code: Stream(f"HTTP/1.1 {code} X\r\nX-Long: ".encode(), b"x" * MB),
}


@pytest.mark.parametrize("code", ["200", "400", "429", "500", "503"])
@pytest.mark.parametrize("kind", STREAMS)
def test_an_answer_of_10_gb_is_read_up_to_the_limit(kind: str, code: str) -> None:
    stream = STREAMS[kind](code)
    with Turns(Turn(stream)) as server:
        said = failure(server.port)
    if kind in ("headers", "a header"):
        assert "answer is not HTTP" in said
    else:
        assert "the answer has over 1,000,000 bytes" in said
    assert stream.sent < 50 * MB  # for each try the limit, and the content of the sockets' buffers


# TLS


def test_a_connection_closed_in_the_handshake_is_retried(trusted: Authority) -> None:
    with ClosedInTls() as server:
        said = failure(server.port, "https")
    assert said.startswith("TLS fails (")
    assert "EOF" in said
    assert server.connections == 2


def test_a_connection_closed_during_the_request_body_is_retried(trusted: Authority) -> None:
    class Hasty(Turns):
        def _answer(self, connection: Any) -> None:
            if self.asked:
                super()._answer(connection)
            else:
                self.asked.append(read_head(connection))

    with Hasty(WELL, tls=trusted.right()) as server:
        assert send(server.port, "https", data=b"x" * MB).body == b"well"
    assert len(server.asked) == 2


def test_a_refusal_during_the_request_body_is_read() -> None:
    class Hasty(Turns):
        def _answer(self, connection: Any) -> None:
            self.asked.append(read_head(connection))
            connection.sendall(b"".join(status(413).pieces()))

    with Hasty(WELL) as server:
        assert send(server.port, data=b"x" * MB).status == 413


def test_a_peer_without_tls_is_one_line(trusted: Authority) -> None:
    with ClosedInTls(b"220 mail.example ESMTP\r\n") as server:
        said = failure(server.port, "https")
    assert said.startswith("TLS fails (")
    assert server.connections == 1


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", HEAD + b"Content-Length: 100\r\n\r\nwe"])
def test_a_connection_closed_inside_tls_is_retried(sent: bytes, end: str, trusted: Authority) -> None:
    with Turns(says(sent, end=end), WELL, tls=trusted.right()) as server:
        assert send(server.port, "https").body == b"well"
    assert len(server.asked) == 2


def test_messages_about_retries_show_no_secret(tmp_path: Path) -> None:
    with Turns(says(end="reset")) as server, pytest.raises(TransportError) as failed:
        send(server.port, params={"filter_value": "s3cret-value"})
    assert "s3cret" not in str(failed.value)
