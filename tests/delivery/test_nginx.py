"""A real web server instead of the Scan Server: every report is kept."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import configs
from clock import NOW
from listeners import free_ports, nginx
from phpipam_scan_agent.delivery import Delivery
from phpipam_scan_agent.delivery.server import ScanServer
from phpipam_scan_agent.delivery.spool import Spool
from phpipam_scan_agent.https import Limits
from reports import result, waiting
from stand_ins.https import Certificates

SERVERS = {
    "a page for 403": ("location / { deny all; }", "HTTP 403 '403 Forbidden"),
    "the page of a new installation": ("location / { root FOLDER; try_files /index.html =404; }", "HTTP 40"),
    "a portal": (
        "default_type text/html; location / { return 200 '<h1>Please log in</h1>'; }",
        "HTTP 200 'Please",
    ),
    "a rule against bodies": ("location / { return 400; }", "HTTP 400 '400 Bad Request"),
    "another application": ('location / { return 422 \'{"detail": "no"}\'; }', "HTTP 422 '{"),
    "a backend that is away": ("location / { proxy_pass http://127.0.0.1:1; }", "HTTP 502: 502 Bad Gateway"),
}
"""nginx's configuration and the agent's message for each kind of server."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[dict[str, int]]:
    """The port of each server by its name; one nginx with TLS serves all."""
    certificates = Certificates()
    certificates.write(folder / "server.pem")
    (folder / "ca.pem").write_bytes(certificates.ca_pem)
    (folder / "index.html").write_text("<h1>Welcome to nginx!</h1>")
    found = dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True))
    tls = f"ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;"
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{found[name]} ssl; {tls} {text.replace('FOLDER', str(folder))} }}"
        for name, (text, _) in SERVERS.items()
    )
    with nginx(folder, servers, next(iter(found.values()))):
        yield found


@pytest.fixture(autouse=True)
def trusted_nginx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{folder}/ca.pem")


def problem(folder: Path, url: str, port: int) -> str:
    """The message about two reports that this server does not store; both are kept."""
    config = configs.config(http_server=url, http_port=port)
    spool = Spool(folder / "state" / "spool", 1e9, 10**9, lambda: NOW)
    with (
        closing(ScanServer(config, Limits(retries=0))) as server,
        Delivery(spool, server, dry_run=False) as run,
    ):
        run.deliver(result(1))
        run.deliver(result(2))
        assert [(done.uploaded, done.waiting, done.error) for done in run.finish()] == [
            (False, True, None)
        ] * 2
    assert [report.subnet_id for report in waiting(folder / "state")] == [1, 2]
    assert not (folder / "state" / "spool" / "refused").exists()
    (said,) = run.problems
    return said


@pytest.mark.parametrize("name", SERVERS)
def test_a_web_server_instead_of_the_scan_server_loses_no_report(
    name: str, ports: dict[str, int], tmp_path: Path
) -> None:
    said = problem(tmp_path, "https://127.0.0.1", ports[name])
    assert SERVERS[name][1] in said
    if "HTTP 502" not in said:
        assert f"no Scan Server answers at https://127.0.0.1:{ports[name]}/" in said
        assert "(Server: nginx" in said


def test_plain_http_on_a_tls_port_is_no_scan_server(ports: dict[str, int], tmp_path: Path) -> None:
    said = problem(tmp_path, "http://127.0.0.1", ports["a portal"])
    assert "HTTP 400 '400 The plain HTTP request was sent to HTTPS port" in said
