"""A server on loopback that answers each request by a function and keeps the requests."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    secure: bool


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8"})


class Server:
    """Serves from construction to the end of the `with` block; `tls` is None for plain http."""

    def __init__(
        self, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None, port: int = 0
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        self._answer = answer
        self._tls = tls
        self._http = _Threads(("127.0.0.1", port), _handler(self, tls))
        self.port = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        for connection in tuple(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._http.threads:
            thread.join()

    def take(self, request: Request) -> Answer:
        self.requests.append(request)
        return self._answer(request)


class _Threads(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.threads: list[threading.Thread] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self.threads.append(thread)
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client may close its connection at any time."""


def _handler(server: Server, tls: ssl.SSLContext | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body go out together

        def setup(self) -> None:
            server.connections += 1
            if tls:  # in the connection's own thread, so that a slow handshake delays no other
                self.request = tls.wrap_socket(self.request, server_side=True)
            server.open.add(self.request)
            super().setup()

        def finish(self) -> None:
            try:
                super().finish()
            finally:  # it raises if the client has closed the connection during an answer
                server.open.discard(self.request)
                self.request.close()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request = Request(self.command, parts.path, query, headers, body, secure=tls is not None)
            answer = server.take(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base's name)
            """Print nothing."""

    return Handler


class Certificates:
    """A certificate authority for the time of the process, and its certificates."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.ca_pem = self._ca.cert_pem.bytes()

    def tls(self, *names: str, **options: Any) -> ssl.SSLContext:
        """Return a server's TLS context with a certificate for these names, by default 127.0.0.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
        return context

    def write(self, file: Path) -> None:
        """Write a certificate for 127.0.0.1 and its key, for a server that reads them from a file."""
        self._ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
