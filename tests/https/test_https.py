import gzip
import os
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from requests.auth import AuthBase

from certificates import Authority
from faulty_servers import Proxy, Raw
from phpipam_scan_agent import NAME, VERSION, https
from phpipam_scan_agent.errors import TransportError
from phpipam_scan_agent.https import Answer, Client, Limits
from stand_ins.https import Answer as Reply
from stand_ins.https import Server

SECRET = "s3cret-value"
LIMIT = 100_000
ONCE = Limits(retries=0)


class Token(AuthBase):
    """The headers of both peers; each is sent to its peer only."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["token"] = SECRET
        request.headers["Authorization"] = f"Bearer {SECRET}"
        return request


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the environment's certificates, proxies and passwords."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC")
    for name in (*names, *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server(trusted: Authority) -> Iterator[Server]:
    with Server(lambda request: Reply(200, b"well"), trusted.right()) as server:
        yield server


def send(
    url: str, method: str = "GET", limit: int = LIMIT, body: bytes | None = None, limits: Limits = ONCE
) -> Answer:
    client = Client("phpIPAM", "api_url", Token(), limit, limits=limits)
    try:
        return client.send(method, url, params={"filter_value": SECRET}, data=body)
    finally:
        client.close()


def failure(
    url: str, method: str = "GET", limit: int = LIMIT, body: bytes | None = None, limits: Limits = ONCE
) -> str:
    """The message of a failed request: one line with peer and variable and without secrets."""
    with pytest.raises(TransportError) as failed:
        send(url, method, limit, body, limits)
    said = str(failed.value)
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    assert len(said.splitlines()) == 1
    place, _, reason = said.removeprefix("phpIPAM at ").partition(url)
    assert place == ""
    return reason.removeprefix(": ")


def at(port: int, protocol: str = "http") -> str:
    return f"{protocol}://127.0.0.1:{port}/api"


def at_server(server: Server) -> str:
    return f"{server.url}:{server.port}/api"


# Requests and answers


@pytest.mark.parametrize("status", [200, 201, 400, 401, 404, 413, 500, 503])
def test_an_answer_of_any_status_is_read_whole(status: int, trusted: Authority) -> None:
    body = os.urandom(LIMIT)
    reply = Reply(status, body, {"Content-Type": "text/html; charset=utf-8"})
    with Server(lambda request: reply, trusted.right()) as server:
        answer = send(at_server(server))
    assert (answer.status, answer.content_type, answer.body) == (status, "text/html; charset=utf-8", body)


def test_an_answer_without_content_type_or_body_is_read(trusted: Authority) -> None:
    with Server(lambda request: Reply(), trusted.right()) as server:
        answer = send(at_server(server))
    assert (answer.status, answer.content_type, answer.body) == (200, "", b"")


def test_a_request_carries_method_query_body_token_and_the_programs_name(server: Server) -> None:
    send(at_server(server), "POST", body=b'{"scan": 1}')
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/api", b'{"scan": 1}')
    assert request.query == {"filter_value": SECRET}
    assert request.headers["token"] == SECRET
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == f"{NAME}/{VERSION}"


def test_a_client_keeps_its_connection_and_its_cookie(trusted: Authority) -> None:
    reply = Reply(200, b"", {"Set-Cookie": "phpipam=session1; path=/; secure; HttpOnly"})
    with Server(lambda request: reply, trusted.right()) as server:
        client = Client("phpIPAM", "api_url", Token(), LIMIT)
        client.send("GET", at_server(server))
        client.send("GET", at_server(server))
        client.close()
        assert server.connections == 1
    assert [request.headers.get("cookie") for request in server.requests] == [None, "phpipam=session1"]


# Redirects


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_the_target_and_is_not_followed(
    status: int, method: str, server: Server, trusted: Authority
) -> None:
    target = f"{server.url}:{server.port}/login/"
    location = target.replace("//", f"//user:{SECRET}@") + f"?token={SECRET}#{SECRET}"
    with Server(lambda request: Reply(status, b"", {"Location": location}), trusted.right()) as first:
        said = failure(at_server(first), method)
    assert said == (f" redirects to {target} (HTTP {status}); redirects are not followed: check api_url")
    assert len(first.requests) == 1
    assert server.connections == 0


@pytest.mark.parametrize(
    ("location", "shown"),
    [("/login/", "/login/"), ("//other.example", "//other.example"), ("ftp://h", "ftp://h")],
)
def test_a_redirect_of_another_kind_is_an_error(location: str, shown: str, trusted: Authority) -> None:
    with Server(lambda request: Reply(302, b"", {"Location": location}), trusted.right()) as first:
        assert failure(at_server(first)).startswith(f" redirects to {shown} (HTTP 302)")


def test_a_redirect_without_location_is_an_error(trusted: Authority) -> None:
    with Server(lambda request: Reply(302), trusted.right()) as first:
        assert failure(at_server(first)).startswith(" redirects to an unnamed address (HTTP 302)")


def redirected(location: bytes) -> str:
    """The message about an invalid redirect."""
    with Raw([b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n"]) as server:
        return failure(at(server.port))


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"", "an unnamed address"),
        (b"http://[", "an address that is no URL"),
        (f"http://[{SECRET}/".encode(), "an address that is no URL"),
        (b"http://a\xff.b/", "http://aÿ.b/"),
        (b"http:// /", "http:// /"),
    ],
)
def test_a_redirect_to_an_invalid_url_is_an_error(location: bytes, shown: str) -> None:
    assert redirected(location).startswith(f" redirects to {shown} (HTTP 302)")


def test_a_long_redirect_url_is_shortened() -> None:
    said = redirected(b"/x" * 20_000)
    assert said.startswith(" redirects to /x/x/x")
    assert said.endswith("; redirects are not followed: check api_url")
    assert len(said) < 300


def test_the_body_of_a_redirect_is_not_read() -> None:
    pieces = 300
    sent = 0

    def answer() -> Iterator[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 302 Found\r\nLocation: /login/\r\n\r\n"
        for _ in range(pieces):
            yield b"x" * 100_000
            sent += 1

    with Raw(answer()) as server:
        assert failure(at(server.port), limit=1000).startswith(" redirects to /login/ (HTTP 302)")
    assert sent < pieces


# TLS


def refused_before_anything_was_sent(context: ssl.SSLContext, host: str = "127.0.0.1") -> str:
    with Server(lambda request: Reply(), context) as server:
        said = failure(f"https://{host}:{server.port}/api")
    assert server.connections == 1
    assert server.requests == []
    return said


def test_a_certificate_of_an_unknown_ca_is_refused(authority: Authority) -> None:
    said = refused_before_anything_was_sent(authority.right())
    assert said.startswith("its certificate is not trusted (unable to get local issuer certificate); ")
    assert "update-ca-certificates" in said
    assert "ca_file" in said


def test_a_certificate_of_another_ca_is_refused(trusted: Authority, tmp_path: Path) -> None:
    said = refused_before_anything_was_sent(Authority(tmp_path, "other").right())
    assert "update-ca-certificates" in said


def test_an_expired_certificate_is_refused(trusted: Authority) -> None:
    said = refused_before_anything_was_sent(trusted.expired())
    assert said == (
        "its certificate is not trusted (certificate has expired); renew it, or check this machine's clock"
    )


def test_a_certificate_not_yet_valid_is_refused(trusted: Authority) -> None:
    said = refused_before_anything_was_sent(trusted.not_yet_valid())
    assert said.startswith("its certificate is not trusted (certificate is not yet valid); ")
    assert said.endswith("; renew it, or check this machine's clock")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_another_name_is_refused(host: str, trusted: Authority) -> None:
    said = refused_before_anything_was_sent(trusted.of_another_name(), host)
    assert said.startswith("its certificate is not trusted (")
    assert said.endswith("; use the name that the certificate was made for")


def test_the_certificates_of_requests_are_not_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries' own CA bundle must not be trusted."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    monkeypatch.setattr("certifi.where", lambda: str(authority.file))
    assert "not trusted" in refused_before_anything_was_sent(authority.right())


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_ca_named_in_the_environment_is_trusted(
    variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    with Server(lambda request: Reply(200, b"well"), authority.right()) as server:
        assert send(at_server(server)).body == b"well"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_ca_named_in_the_environment_does_not_excuse_a_wrong_name(
    variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    assert "use the name" in refused_before_anything_was_sent(authority.of_another_name())


def test_a_folder_of_cas_is_trusted_where_openssl_has_no_file(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
    subprocess.run(("openssl", "rehash", tmp_path), check=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert "use the name" in refused_before_anything_was_sent(authority.of_another_name())
    with Server(lambda request: Reply(200, b"well"), authority.right()) as server:
        assert send(at_server(server)).body == b"well"


ADD_TO_THE_MACHINE = """
mount -t tmpfs none /usr/local/share/ca-certificates
mount -t tmpfs none /etc/ssl/certs
cp "$1" /usr/local/share/ca-certificates/tests.crt
update-ca-certificates --fresh --hooksdir /nonexistent >&2
exec "$2" -c "$3" "$4"
"""

ASK = """
import sys
from requests.auth import HTTPBasicAuth
from phpipam_scan_agent.https import Client
client = Client("phpIPAM", "api_url", HTTPBasicAuth("user", "password"), 1000)
print(client.send("GET", sys.argv[1]).body)
client.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the machine's certificates are root's")
def test_a_ca_added_with_update_ca_certificates_is_trusted(authority: Authority) -> None:
    """In a mount namespace, so that the machine is not changed."""
    command = ("unshare", "--mount", "sh", "-ec", ADD_TO_THE_MACHINE, "sh")
    with Server(lambda request: Reply(200, b"well"), authority.right()) as server:
        done = subprocess.run(
            (*command, authority.file, sys.executable, ASK, at_server(server)),
            capture_output=True,
            text=True,
        )
    assert done.stdout == "b'well'\n", done.stderr


def test_https_to_an_http_port_is_refused(trusted: Authority) -> None:
    with Server(lambda request: Reply(), tls=None) as server:
        said = failure(at(server.port, "https"))
    assert said.startswith("TLS fails (")
    assert said.endswith("; check that the port serves https; it may require a client_cert")
    assert server.requests == []


@pytest.mark.parametrize("content", [None, "", "no certificate"], ids=["missing", "empty", "other text"])
def test_trusted_certificates_that_cannot_be_read_are_named(
    content: str | None, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with Server(lambda request: Reply(), authority.right()) as server:
        said = failure(at_server(server))
    assert server.requests == []
    assert said == "the trusted certificates cannot be read; check SSL_CERT_FILE and REQUESTS_CA_BUNDLE"


# Passwords and proxies of the environment


def test_a_netrc_does_not_replace_the_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert requests.utils.get_netrc_auth(at_server(server)) == ("somebody", "else")
    send(at_server(server))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    send(at_server(server))
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {SECRET}"] * 2


BEHIND = "phpipam.example"
"""A name that only the proxy can resolve, since loopback bypasses proxies."""


@pytest.fixture
def behind(trusted: Authority) -> Iterator[Server]:
    """A server that is reached by this name through a proxy."""
    with Server(lambda request: Reply(200, b"well"), trusted.of_another_name()) as server:
        yield server


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_https_is_tunnelled_through_the_proxy(
    variable: str, behind: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert send(f"https://{BEHIND}:{behind.port}/api").body == b"well"
    assert [line.split()[:2] for line in proxy.asked] == [["CONNECT", f"{BEHIND}:{behind.port}"]]
    assert SECRET.encode() not in b"".join(proxy.heads)
    assert len(behind.requests) == 1


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_plain_http_bypasses_the_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        said = failure("http://server.example:5000/")
    assert said.startswith("the proxy of http_proxy would see it unencrypted, so it is not sent; use https")
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_loopback_bypasses_the_proxy(variable: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy, Server(lambda request: Reply(200, b"well"), tls=None) as server:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        if host == "127.1.2.3":
            assert "Connection refused" in failure(f"http://{host}:{server.port}/api")
        else:
            assert send(f"http://{host}:{server.port}/api").body == b"well"
    assert proxy.asked == []


def test_a_socks_proxy_without_its_library_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    said = failure(f"https://{BEHIND}/api")
    assert (
        "is a SOCKS proxy, which needs the Python package PySocks in the agent's environment; install it"
        in said
    )


@pytest.mark.parametrize("excepted", [BEHIND, "*"])
def test_no_proxy_bypasses_the_proxy(excepted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", excepted)
        assert "does not resolve" in failure(f"https://{BEHIND}/api")
    assert proxy.asked == []


def test_certificates_are_verified_through_a_proxy_too(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        said = refused_before_anything_was_sent(authority.of_another_name(), BEHIND)
        assert "update-ca-certificates" in said
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_ca_of_the_environment_is_trusted_through_a_proxy_too(
    variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    server = Server(lambda request: Reply(200, b"well"), authority.of_another_name())
    with Proxy() as proxy, server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        assert send(f"https://{BEHIND}:{server.port}/api").body == b"well"


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(refusal=b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        said = failure(f"https://{BEHIND}/api")
    assert said.startswith("the proxy does not forward it (")
    assert said.endswith("; check https_proxy and no_proxy")


def test_an_unreachable_proxy_is_named(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:{SECRET}@127.0.0.1:{closed_port}")
    said = failure(f"https://{BEHIND}/api")
    assert said == "the proxy does not forward it (Connection refused); check https_proxy and no_proxy"


# Answers that are too large or incomplete


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield piece


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: [HEAD + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001],
        lambda: [HEAD + b"\r\n" + b"x" * 1001],
        lambda: endless(HEAD + b"\r\n", b"x" * 1000),
        lambda: endless(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        lambda: [HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 50_000_000)],
    ],
    ids=["length", "no length", "endless", "endless chunks", "gzip bomb"],
)
def test_an_answer_above_the_limit_is_refused(answer: Callable[[], Iterator[bytes]]) -> None:
    with Raw(answer()) as server:
        assert failure(at(server.port), limit=1000).startswith("the answer has over 1,000 bytes")


@pytest.mark.parametrize("start", [CHUNKED, CHUNKED + b"1\r\nx\r\n0\r\n"], ids=["chunk", "trailer"])
def test_an_endless_line_within_an_answer_is_an_error(start: bytes) -> None:
    with Raw(endless(start, b"1" * 65536)) as server:
        assert failure(at(server.port), limit=1000).startswith("the answer was cut off; ")


def test_an_answer_at_the_limit_is_read() -> None:
    with Raw([HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000]) as server:
        assert send(at(server.port), limit=1000).body == b"x" * 1000


@pytest.mark.parametrize(
    ("answer", "marked"),
    [
        (HEAD + b"Content-Length: 0\r\n\r\n", True),
        (HEAD + b"content-length: 2\r\n\r\n[]", True),
        (CHUNKED + b"2\r\n[]\r\n0\r\n\r\n", True),
        (HEAD + b"\r\n[]", False),
        (HEAD + b"Content-Type: text/pl", False),
        (HEAD + b"Content-Length:", False),
        (HEAD + b"Content-Length: many\r\n\r\n[]", False),
        (HEAD + b"Transfer-Encoding: chu", False),
    ],
)
def test_an_answer_states_whether_its_length_was_known(answer: bytes, marked: bool) -> None:
    with Raw([answer]) as server:
        assert send(at(server.port)).marked_end is marked


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        HEAD + b"Content-Length: 100\r\n\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n[]",
        CHUNKED,
        CHUNKED + b"64\r\n[]",
        CHUNKED + b"2\r\n[]\r\n",
        CHUNKED + b"zz\r\n[]",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 100\r\n\r\n" + gzip.compress(b"[]", mtime=0)[:10],
    ],
)
def test_a_truncated_answer_is_an_error(answer: bytes, end: str) -> None:
    with Raw([answer], end) as server:
        assert failure(at(server.port)).endswith("; check that it runs, the URL and the network")


@pytest.mark.parametrize("answer", [HEAD + b"Content-Length: 100\r\n\r\n[]", CHUNKED, CHUNKED + b"64\r\n[]"])
def test_a_truncated_answer_is_named(answer: bytes, trusted: Authority) -> None:
    with Raw([answer], tls=trusted.right()) as server:
        said = failure(at(server.port, "https"))
    assert said == "the answer was cut off; check that it runs, the URL and the network"


def test_a_connection_reset_is_named() -> None:
    with Raw([HEAD + b"Content-Length: 100\r\n\r\n[]"], "reset") as server:
        assert failure(at(server.port)).startswith("Connection reset by peer; ")


def test_a_connection_closed_without_an_answer_is_named() -> None:
    with Raw([b""]) as server:
        assert failure(at(server.port)).startswith("it closed the connection without an answer; ")


def test_an_answer_that_cannot_be_decompressed_is_named() -> None:
    with Raw([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]"]) as server:
        assert failure(at(server.port)).startswith("the answer cannot be decompressed; ")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\xff" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"x" * 100_000,
        HEAD + b"X: y\r\n" * 200 + b"\r\n",
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: str(answer[:30]),
)
def test_an_answer_that_is_not_http_is_named(answer: bytes) -> None:
    with Raw([answer]) as server:
        said = failure(at(server.port))
    assert said == "its answer is not HTTP; check that it runs, the URL and the network"


@pytest.mark.parametrize("sent", [b"", HEAD + b"Content-Length: 100\r\n\r\n["], ids=["at all", "to the end"])
def test_a_silent_server_times_out(sent: bytes) -> None:
    with Raw([sent], "silence") as server:
        said = failure(at(server.port), limits=Limits(retries=0, read=0.2))
    assert said == "no answer within 0.2 s; check that it is not overloaded"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A bound port without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_a_closed_port_is_named(protocol: str, closed_port: int) -> None:
    said = failure(at(closed_port, protocol))
    assert said == "Connection refused; check that it runs, the URL and the network"


# URLs in messages


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/api/", "https://h/api/"),
        (f"https://h:443/api/?code={SECRET}#{SECRET}", "https://h:443/api/"),
        (f"https://user:{SECRET}@h/", "https://h/"),
        (f"https://user:a@{SECRET}@h/", "https://h/"),
        ("/login/", "/login/"),
        (f"//{SECRET}@h", "//h"),
        (f"https://[{SECRET}", "an address that is no URL"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_possible_secrets(url: str, shown: str) -> None:
    assert https.without_query(url) == shown


def test_an_unresolvable_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> None:  # instead of a query to a nameserver
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    said = failure("https://phpipam.invalid/")
    assert said == "the name does not resolve (Name or service not known); check DNS and the name"
