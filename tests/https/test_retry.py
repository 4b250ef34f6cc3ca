"""What is tried again, how often, and for how long: against servers that fail for real."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth

from certificates import Authority
from phpipam_scan_agent.errors import TransportError
from phpipam_scan_agent.https import Answer, Client, retry
from rough_servers import ClosedInTls, Turn, Turns, read_head, read_request, says

LIMIT = 1_000_000
MB = 10**6

HEAD = b"HTTP/1.1 200 OK\r\n"
WELL = says(HEAD + b"Content-Length: 4\r\n\r\nwell")


def status(code: int, body: bytes = b"", *headers: str, length: bool = True) -> Turn:
    lines = [f"HTTP/1.1 {code} X", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return says("\r\n".join([*lines, "", ""]).encode() + body)


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few and so short that a test of what comes after the last is over soon."""
    monkeypatch.setattr(retry, "TRIES", 1)
    monkeypatch.setattr(retry, "READ", 0.3)
    monkeypatch.setattr(retry, "WHOLE", 20.0)


def send(port: int, protocol: str = "http", **arguments: Any) -> Answer:
    client = Client("phpIPAM", "api_url", HTTPBasicAuth("user", "password"), LIMIT)
    try:
        usual = {"data": b"{}"}
        return client.send("POST", f"{protocol}://127.0.0.1:{port}/api", **usual | arguments)
    finally:
        client.close()


def failure(port: int, protocol: str = "http") -> str:
    with pytest.raises(TransportError) as failed:
        send(port, protocol)
    start = f"phpIPAM at {protocol}://127.0.0.1:{port}/api: "
    assert str(failed.value).startswith(start)
    return str(failed.value).removeprefix(start)


# Tried again


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
def test_what_may_pass_is_tried_again_with_the_same_request(fault: str) -> None:
    with Turns(PASSING[fault], WELL) as server:
        answer = send(server.port)
    assert (answer.status, answer.body) == (200, b"well")
    first, second = server.asked
    assert first == second


@pytest.mark.parametrize("fault", ["503", "empty 500", "half an answer", "reset at once"])
@pytest.mark.parametrize("tries", [0, 1, 2])
def test_what_does_not_pass_is_given_up(fault: str, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRIES", tries)
    with Turns(PASSING[fault]) as server:
        try:
            answer = send(server.port)
        except TransportError:
            assert fault in ("half an answer", "reset at once")
        else:
            assert answer.status in (500, 503)
    assert len(server.asked) == 1 + tries


def test_it_is_not_tried_for_ever_as_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 0 < retry.TRIES <= 5
    assert 0 < retry.CONNECT <= retry.READ <= retry.WHOLE <= 300
    assert 0 < retry.LONGEST_PAUSE < retry.WHOLE


def test_a_server_that_is_just_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRIES", 4)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # nobody listens yet: who connects is refused

        def start() -> None:
            time.sleep(0.5)
            listener.listen()
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(b"".join(WELL.pieces()))

        starting = threading.Thread(target=start)
        starting.start()
        answer = send(listener.getsockname()[1])
        starting.join()
    assert answer.body == b"well"


def test_tries_are_bounded_in_time_whatever_the_server_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WHOLE", 0.7)
    with Turns(status(429, b"", "Retry-After: 20"), WELL) as server:
        said = failure(server.port)
    assert said == "no whole answer within 0.7 s; check that it is not overloaded, and the network"
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_a_day_to_wait_is_cut_to_the_longest_pause(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)
    with Turns(status(code, b"", "Retry-After: 86400"), WELL) as server:
        assert send(server.port).body == b"well"


# Not tried again


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
    "phpIPAM's 503, to wait": status(503, b"{}", "Content-Type: application/json", "Retry-After: 0"),
}


@pytest.mark.parametrize("answer", LAST_WORDS)
def test_a_last_word_is_taken_for_one(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRIES", 4)
    with Turns(LAST_WORDS[answer], WELL) as server:
        came = send(server.port)
    assert came.status == int(answer.removeprefix("phpIPAM's ")[:3])
    assert came.body == b"".join(LAST_WORDS[answer].pieces()).partition(b"\r\n\r\n")[2]
    assert len(server.asked) == 1


def test_a_redirect_is_not_tried_again() -> None:
    away = status(302, b"", "Location: /login/", "Retry-After: 0")
    with Turns(away, WELL) as server, pytest.raises(TransportError, match="redirects to /login/"):
        send(server.port)
    assert len(server.asked) == 1


def test_a_certificate_that_is_not_trusted_is_not_tried_again(authority: Authority) -> None:
    class Counting(Turns):
        connections = 0

        def serve(self, connection: Any) -> None:
            self.connections += 1
            super().serve(connection)

    server = Counting(WELL, tls=authority.right())
    with server:
        assert "not trusted" in failure(server.port, "https")
    assert (server.connections, server.asked) == (1, [])


# Too slow, too much


def trickle(start: bytes, stop: threading.Event) -> Iterator[bytes]:
    """A byte now and then, never so rarely that a read would give up."""
    yield start
    while not stop.wait(0.05):
        yield b"x"


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 ", HEAD + b"X-Long: ", HEAD + b"Content-Length: 1000000\r\n\r\n", HEAD + b"\r\n"],
    ids=["first line", "headers", "body", "body without a length"],
)
@pytest.mark.parametrize("protocol", ["http", "https"])
def test_an_answer_byte_by_byte_is_given_up(
    start: bytes, protocol: str, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "WHOLE", 1.0)
    stop = threading.Event()
    tls = trusted.right() if protocol == "https" else None
    with Turns(Turn(lambda: trickle(start, stop)), tls=tls) as server:
        try:
            said = failure(server.port, protocol)
        finally:
            stop.set()
    assert said == "no whole answer within 1 s; check that it is not overloaded, and the network"


def test_a_silent_server_is_given_up() -> None:
    with Turns(says(end="silence")) as server:
        assert failure(server.port) == "no answer within 0.3 s; check that it is not overloaded"
    assert len(server.asked) == 2


def test_an_alarm_does_not_outlive_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WHOLE", 0.3)
    with Turns(WELL) as server:
        send(server.port)
    time.sleep(0.5)  # SIGALRM would end the process, or raise here


class Stream:
    """10 GB, as far as anybody reads them."""

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
def test_of_10_gb_no_more_is_read_than_the_limit(kind: str, code: str) -> None:
    stream = STREAMS[kind](code)
    with Turns(Turn(stream)) as server:
        said = failure(server.port)
    if kind in ("headers", "a header"):
        assert "something that is not HTTP" in said
    else:
        assert "the answer has over 1,000,000 bytes" in said
    assert stream.sent < 50 * MB  # the limit and what is under way in the sockets' buffers, for each try


# TLS


def test_a_connection_closed_in_the_handshake_is_tried_again(trusted: Authority) -> None:
    with ClosedInTls() as server:
        said = failure(server.port, "https")
    assert said.startswith("TLS fails (EOF")
    assert server.connections == 2


def test_a_connection_closed_in_the_middle_of_a_report_is_tried_again(trusted: Authority) -> None:
    class Hasty(Turns):
        def _answer(self, connection: Any) -> None:
            if self.asked:
                super()._answer(connection)
            else:
                self.asked.append(read_head(connection))

    with Hasty(WELL, tls=trusted.right()) as server:
        assert send(server.port, "https", data=b"x" * MB).body == b"well"
    assert len(server.asked) == 2


def test_a_refusal_in_the_middle_of_a_report_is_heard() -> None:
    class Hasty(Turns):
        def _answer(self, connection: Any) -> None:
            self.asked.append(read_head(connection))
            connection.sendall(b"".join(status(413).pieces()))

    with Hasty(WELL) as server:
        assert send(server.port, data=b"x" * MB).status == 413


def test_what_is_no_tls_is_one_line(trusted: Authority) -> None:
    with ClosedInTls(b"220 mail.example ESMTP\r\n") as server:
        said = failure(server.port, "https")
    assert said.startswith("TLS fails (")
    assert server.connections == 1


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", HEAD + b"Content-Length: 100\r\n\r\nwe"])
def test_a_connection_closed_inside_tls_is_tried_again(sent: bytes, end: str, trusted: Authority) -> None:
    with Turns(says(sent, end=end), WELL, tls=trusted.right()) as server:
        assert send(server.port, "https").body == b"well"
    assert len(server.asked) == 2


def test_no_secret_is_in_what_is_said_of_tries(tmp_path: Path) -> None:
    with Turns(says(end="reset")) as server, pytest.raises(TransportError) as failed:
        send(server.port, params={"filter_value": "s3cret-value"})
    assert "s3cret" not in str(failed.value)
