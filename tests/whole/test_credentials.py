"""Secret files, client certificate and CA file of the installed command."""

import os
import pty
import select
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from phpipam_scan_agent import config
from phpipam_scan_agent.errors import ConfigError, UsageError
from phpipam_scan_agent.https import Identity
from stand_ins.https import Certificates, Server
from stand_ins.phpipam import subnet
from stand_ins.site import Site

SECRETS = ["client_token", "auth_token", "scanagent_code"]


@pytest.fixture(autouse=True)
def one_subnet(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]


def refused(site: Site, *options: str, **environment: str) -> str:
    """The only line of a run that is refused before any connection."""
    done = site.run(*options, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert site.api.connections == site.server.connections == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: error: ")
    return line.removeprefix("phpipam-scan-agent: error: ").removeprefix(f"{site.config_file}: ")


def problems(site: Site) -> list[str]:
    """The configuration errors, one for each line of stderr."""
    path = site.write_config()
    with pytest.raises(ConfigError) as refusal:
        config.load(path)
    return [problem.removeprefix(f"{path}: ") for problem in refusal.value.problems]


# Secrets in files


def into_files(site: Site, folder: Path, end: bytes = b"\n") -> None:
    """Move the secrets from the configuration into files."""
    for key in SECRETS:
        folder.mkdir(exist_ok=True)
        (folder / key).write_bytes(site.settings.pop(key).encode() + end)
        site.settings[f"{key}_file"] = key


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_secret_files_beside_the_configuration(site: Site, end: bytes) -> None:
    into_files(site, site.folder, end)
    done = site.run("-q")

    assert (done.returncode, done.stderr) == (0, "")
    (report,) = site.scan_server.reports
    assert report["code"] == site.phpipam.agent["code"]


def test_secret_files_in_the_credentials_directory(site: Site) -> None:
    credentials = site.folder / "credentials"
    into_files(site, credentials)
    (site.folder / "client_token").write_text("what lies beside the configuration does not count then")

    assert site.run(CREDENTIALS_DIRECTORY=str(credentials)).returncode == 0
    assert len(site.scan_server.reports) == 1


def test_secret_files_by_absolute_path(site: Site) -> None:
    into_files(site, site.folder / "elsewhere")
    for key in SECRETS:
        site.settings[f"{key}_file"] = str(site.folder / "elsewhere" / key)

    assert site.run(CREDENTIALS_DIRECTORY=str(site.folder)).returncode == 0


def test_secrets_from_files_are_masked(site: Site) -> None:
    secrets = site.secrets
    into_files(site, site.folder)
    site.phpipam.agent["name"] = " ".join(secrets)
    done = site.run("--check", "-vv")

    assert "*** *** ***" in done.stdout
    assert [secret for secret in secrets if secret in done.stdout + done.stderr] == []


@pytest.mark.parametrize("key", SECRETS)
def test_a_missing_secret_file_is_refused(site: Site, key: str) -> None:
    into_files(site, site.folder)
    (site.folder / key).unlink()

    assert problems(site) == [f"{key}_file: {site.folder / key} cannot be read: No such file or directory"]


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_secret_file_is_refused(site: Site, key: str, content: bytes) -> None:
    into_files(site, site.folder)
    (site.folder / key).write_bytes(content)
    (line,) = problems(site)

    assert line.startswith(f"{key}_file: ")
    assert str(site.folder / key) in line


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_beside_its_file_is_refused(site: Site, key: str) -> None:
    before = dict(site.settings)
    into_files(site, site.folder)
    site.settings[key] = before[key]

    assert problems(site) == [f"{key}_file: {key} is set as well; keep one"]


def test_a_secret_file_that_is_not_text_is_refused(site: Site) -> None:
    into_files(site, site.folder)
    (site.folder / "client_token").write_bytes(b"\xff\xfet\0")

    assert refused(site) == (
        f"client_token_file: {site.folder / 'client_token'} cannot be read: it is not text in UTF-8"
    )  # the command's own line, for all the others


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("client_token", b"secret-one\nsecret-two\n"),
        ("auth_token", b" secret-one"),
        ("auth_token", "sécret-one".encode()),
        ("scanagent_code", b"secret-one\x00\n"),
    ],
)
def test_a_secret_file_with_invalid_characters_is_refused(site: Site, key: str, content: bytes) -> None:
    into_files(site, site.folder)
    (site.folder / key).write_bytes(content)
    (line,) = problems(site)

    assert line.startswith(f"{key}: has ")
    assert "secret-" not in line
    assert "cret-one" not in line


def test_all_errors_in_secret_files_are_reported_together(site: Site) -> None:
    into_files(site, site.folder)
    (site.folder / "client_token").unlink()
    (site.folder / "scanagent_code").write_bytes(b"\xff")
    done = site.run("-q")

    assert done.returncode == 2
    assert [line.split(": ")[3] for line in done.stderr.splitlines()] == [
        "client_token_file",
        "scanagent_code_file",
    ]


def test_a_token_of_a_file_is_never_sent_over_http(site: Site) -> None:
    into_files(site, site.folder)
    site.settings["http_server"] = "http://127.0.0.1"

    assert problems(site)[0].startswith("auth_token: is set, but http_server does not begin with https://; ")


# Client certificate


class Pair:
    """A client certificate and its key in two files."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        issued = authority.issue_cert("agent.example")
        self.both = folder / "both.pem"
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.locked = folder / "locked.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        issued.cert_chain_pems[0].write_to_path(str(self.cert))
        issued.private_key_pem.write_to_path(str(self.key))
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        self.locked.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"passphrase"),
            )
        )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The CA of client certificates."""
    return trustme.CA()


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> Pair:
    return Pair(tmp_path, authority)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def demanding(request: pytest.FixtureRequest, site: Site, authority: trustme.CA) -> Iterator[Server]:
    """A Scan Server that requires a client certificate."""
    tls = site.certificates.tls()
    tls.maximum_version = request.param
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    with Server(site.scan_server.answer, tls) as server:
        site.settings["http_port"] = server.port
        yield server


@pytest.mark.parametrize("names", [{"client_cert": "both"}, {"client_cert": "cert", "client_key": "key"}])
def test_the_client_certificate_is_sent_on_demand(
    site: Site, demanding: Server, pair: Pair, names: dict[str, str]
) -> None:
    site.settings |= {key: str(getattr(pair, name)) for key, name in names.items()}
    done = site.run("-q")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(site.scan_server.reports) == 1
    checked = site.run("--check")
    assert checked.returncode == 0
    assert f"✓ Scan Server: https://127.0.0.1:{demanding.port}/ takes the token" in checked.stdout


def test_a_missing_client_certificate_is_named(site: Site, demanding: Server) -> None:
    done = site.run("--check")

    assert done.returncode == 1
    assert f"✗ Scan Server: https://127.0.0.1:{demanding.port}/health: TLS fails (" in done.stdout
    assert demanding.requests == []


def test_an_untrusted_client_certificate_is_named(site: Site, demanding: Server) -> None:
    site.settings["client_cert"] = str(Pair(site.folder, trustme.CA()).both)
    done = site.run("--check")

    assert done.returncode == 1
    assert f"✗ Scan Server: https://127.0.0.1:{demanding.port}/health: " in done.stdout
    assert demanding.requests == []


def test_the_certificate_is_not_shown_to_phpipam(site: Site, pair: Pair, authority: trustme.CA) -> None:
    shown: list[object] = []

    class Asking(ssl.SSLContext):
        """Requests a client certificate without requiring it."""

        def wrap_socket(self, *arguments: object, **options: object) -> ssl.SSLSocket:
            connection = super().wrap_socket(*arguments, **options)  # type: ignore[arg-type]
            shown.append(connection.getpeercert())
            return connection

    tls = Asking(ssl.PROTOCOL_TLS_SERVER)
    trustme_identity = site.folder / "server.pem"
    site.certificates.write(trustme_identity)
    tls.load_cert_chain(trustme_identity)
    tls.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(tls)
    site.settings["client_cert"] = str(pair.both)
    with Server(site.phpipam.answer, tls) as api, Server(site.scan_server.answer, tls) as server:
        site.settings |= {"api_url": f"{api.url}:{api.port}", "http_port": server.port}
        done = site.run("-q")

    assert (done.returncode, done.stderr) == (0, "")
    assert [bool(certificate) for certificate in shown] == [False, True]


@pytest.mark.parametrize(
    "names",
    [
        {"client_cert": "cert"},
        {"client_cert": "key"},
        {"client_cert": "cert", "client_key": "cert"},
        {"client_cert": "cert", "client_key": "other"},
        {"client_cert": "cert", "client_key": "locked"},
        {"client_cert": "junk"},
        {"client_cert": "empty"},
    ],
)
def test_a_certificate_without_its_key_is_refused(tmp_path: Path, pair: Pair, names: dict[str, str]) -> None:
    (tmp_path / "junk.pem").write_bytes(b"\xffno certificate")
    (tmp_path / "empty.pem").touch()
    trustme.CA().issue_cert("x.example").private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    files = {key: tmp_path / f"{name}.pem" for key, name in names.items()}

    with pytest.raises(UsageError) as refusal:
        Identity(**files).context()
    assert str(refusal.value) == (
        f"client_cert: {files['client_cert']} and client_key are no certificate with its key in PEM form,"
        " without a passphrase"
    )


def test_a_certificate_without_its_key_ends_the_run_before_any_connection(site: Site, pair: Pair) -> None:
    site.settings["client_cert"] = str(pair.cert)

    assert refused(site).startswith(
        f"client_cert: {pair.cert} and client_key are no certificate with its key"
    )


def test_a_key_with_a_passphrase_does_not_prompt(site: Site, pair: Pair) -> None:
    site.settings |= {"client_cert": str(pair.cert), "client_key": str(pair.locked)}
    ours, theirs = pty.openpty()
    try:
        # OpenSSL asks on the controlling terminal, independent of stdin and stderr.
        done = subprocess.run(
            ["setsid", "--ctty", "--wait", *site.command()],
            env=site.environment,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        asked, _, _ = select.select([ours], [], [], 0)
    finally:
        os.close(theirs)
        os.close(ours)

    assert done.returncode == 2
    assert "without a passphrase" in done.stderr
    assert not asked


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_key"])
@pytest.mark.parametrize(
    ("place", "why"), [("nowhere.pem", "No such file or directory"), ("", "it is not a regular file")]
)
def test_an_unreadable_file_is_refused(site: Site, key: str, place: str, why: str) -> None:
    site.settings[key] = str(site.folder / place)

    assert problems(site) == [f"{key}: {site.folder / place} cannot be read: {why}"]


# CA file


def test_ca_file_is_trusted_by_this_agent_only(site: Site) -> None:
    del site.environment["SSL_CERT_FILE"]
    without = site.run()
    site.settings["ca_file"] = str(site.ca_file)
    done = site.run("-q")

    assert without.returncode == 1
    assert "its certificate is not trusted" in without.stderr
    assert (done.returncode, done.stderr) == (0, "")
    assert site.run("--check").returncode == 0


def test_the_machines_authorities_stay_trusted(site: Site) -> None:
    own = Certificates()
    (site.folder / "own.pem").write_bytes(own.ca_pem)
    site.settings["ca_file"] = str(site.folder / "own.pem")
    with Server(site.scan_server.answer, own.tls()) as server:
        site.settings["http_port"] = server.port
        done = site.run("-q")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.requests) == 1


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_another_authority_is_not_trusted(site: Site, options: tuple[str, ...]) -> None:
    (site.folder / "own.pem").write_bytes(Certificates().ca_pem)
    site.settings["ca_file"] = str(site.folder / "own.pem")
    del site.environment["SSL_CERT_FILE"]
    done = site.run(*options)

    assert done.returncode == 1
    assert "its certificate is not trusted" in done.stdout + done.stderr
    assert site.api.requests == site.server.requests == []


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n!\n", b"0\x82\x01\n"]
)
def test_a_file_without_an_authority_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "own.pem"
    file.write_bytes(content)

    with pytest.raises(UsageError) as refusal:
        Identity(file).context()
    assert str(refusal.value) == f"ca_file: {file} holds no certificate in PEM form"


def test_a_file_without_an_authority_ends_the_run_before_any_connection(site: Site) -> None:
    file = site.folder / "own.pem"
    file.touch()
    site.settings["ca_file"] = str(file)

    assert refused(site) == f"ca_file: {file} holds no certificate in PEM form"
    checked = site.run("--check")
    assert checked.returncode == 1
    assert f"ca_file: {file} holds no certificate in PEM form" in checked.stdout
