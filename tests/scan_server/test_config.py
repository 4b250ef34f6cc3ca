"""The configuration file: valid settings, and the messages about mistakes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from scan_server.config import Config, ConfigError, load
from scan_server_lab import EXAMPLE, Row, start_command

MYSQL = {"mysql_host": "127.0.0.1", "mysql_user": "scan_server", "mysql_password": "secret-9fK"}


def read(folder: Path, settings: Row | str) -> Config:
    file = folder / "scan_server.yaml"
    document = {"nofusscomputing_phpipam_scan_server": settings}
    file.write_text(settings if isinstance(settings, str) else yaml.safe_dump(document))
    return load(file)


def problems(folder: Path, settings: Row | str) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        read(folder, settings)
    lines = str(wrong.value).splitlines()
    assert all(line.startswith(f"{folder / 'scan_server.yaml'}: ") for line in lines)
    assert "secret" not in str(wrong.value)
    return [line.partition(": ")[2] for line in lines]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Row:
    folder = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


def test_configuration_of_the_ansible_collection_is_accepted(tmp_path: Path) -> None:
    config = read(tmp_path, MYSQL | {"auth_token": "secret-token"})
    assert (config.mysql_port, config.mysql_database) == (3306, "phpipam")
    assert (config.host, config.http_port, config.timezone) == ("127.0.0.1", 5000, None)


def test_sample_file_is_valid_with_other_secrets(tmp_path: Path, tls: Row) -> None:
    sample = (EXAMPLE / "scan_server.yaml").read_text().replace("tls.crt", tls["tls_cert"])
    sample = sample.replace("tls.key", tls["tls_key"])
    assert problems(tmp_path, sample) == ["mysql_password: is still the sample's; change it"]
    sample = sample.replace("CHANGE-ME", "x", 1)
    assert problems(tmp_path, sample) == ["auth_token: is still the sample's; change it"]
    assert read(tmp_path, sample.replace("CHANGE-ME", "y")).host == "0.0.0.0"


def test_readme_names_every_variable() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    assert [name for name in Config.model_fields if f"`{name}`" not in readme] == []


def test_values_stay_text(tmp_path: Path) -> None:
    text = (
        "nofusscomputing_phpipam_scan_server:\n  mysql_host: db\n  mysql_user: on\n  mysql_password: 0123\n"
        "  mysql_port: 3307\n  auth_token: 1e3\n"
        "nofusscomputing_phpipam_scan_agent: {}\n"
    )
    config = read(tmp_path, text)
    assert (config.mysql_user, config.mysql_port) == ("on", 3307)
    assert config.mysql_password.get_secret_value() == "0123"
    assert config.auth_token.get_secret_value() == "1e3"


def test_secrets_are_not_in_its_repr(tmp_path: Path) -> None:
    assert "secret" not in repr(read(tmp_path, MYSQL | {"auth_token": "secret-token"}))


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(
    tmp_path: Path, tls: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    key = load_pem_private_key(Path(tls["tls_key"]).read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    (tmp_path / "locked.pem").write_bytes(locked)
    (problem,) = problems(tmp_path, MYSQL | tls | {"tls_key": str(tmp_path / "locked.pem")})
    assert problem.startswith("tls_cert, tls_key: cannot be used: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("missing", MYSQL)
def test_database_settings_must_be_complete(tmp_path: Path, missing: str) -> None:
    for nothing in (MYSQL.keys() - {missing}, MYSQL.keys()):
        settings = {key: MYSQL[key] for key in nothing} | ({missing: ""} if missing in nothing else {})
        assert problems(tmp_path, settings) == [f"{missing}: missing or empty"]


def test_sqlite_replaces_the_database(tmp_path: Path) -> None:
    assert read(tmp_path, {"sqlite_file": "hosts.db"}).sqlite_file == tmp_path / "hosts.db"
    assert problems(tmp_path, MYSQL | {"sqlite_file": "x"}) == [
        "sqlite_file: leave it out if mysql_host is set"
    ]


def test_every_error_is_named(tmp_path: Path) -> None:
    wrong = {
        "http_port": "x",
        "mysql_port": "65536",
        "timezone": "Mars/Olympus",
        "tls_cert": "none",
        "htp": 1,
    }
    found = problems(tmp_path, MYSQL | wrong)
    assert sorted(line.partition(":")[0] for line in found) == sorted(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "x: [",
        "\x00",
        "a: 1",
        "nofusscomputing_phpipam_scan_server:",
        "nofusscomputing_phpipam_scan_server: 5",
    ],
)
def test_file_without_settings_is_refused(tmp_path: Path, text: str) -> None:
    assert len(problems(tmp_path, text)) == 1


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "scan.example.org"])
def test_token_without_tls_is_refused_beyond_loopback(tmp_path: Path, tls: Row, host: str) -> None:
    settings = MYSQL | {"auth_token": "secret-token", "http_host": host}
    (problem,) = problems(tmp_path, settings)
    assert problem.startswith("auth_token: would cross the network unencrypted")
    assert read(tmp_path, settings | tls).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", ""])
@pytest.mark.parametrize("token", [{}, {"auth_token": "no-token-set"}])
def test_default_token_is_accepted_on_loopback_only(tmp_path: Path, tls: Row, host: str, token: Row) -> None:
    (problem,) = problems(tmp_path, MYSQL | tls | {"http_host": host} | token)
    assert problem.startswith("auth_token: is needed")
    read(tmp_path, MYSQL | token)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("mysql_host: x\n  mysql_host: y", "line 2: mysql_host occurs more than once"),
        ("tls_cert: [a]", "tls_cert: must be a single value"),
        ("mysql_user: {a: b}", "mysql_user: must be a single value"),
        ('tls_cert: "a\\0b"', "tls_cert: must not have NUL characters"),
        ('mysql_user: "a\\0b"', "mysql_user: must not have NUL characters"),
        ("? [a]\n  : b", "is not YAML; put values with special characters in quotes"),
        ("mysql_ssl_ca: none.pem", "mysql_ssl_ca: Path does not point to a file"),
    ],
)
def test_wrong_value_is_one_line(tmp_path: Path, lines: str, problem: str) -> None:
    assert problems(tmp_path, f"nofusscomputing_phpipam_scan_server:\n  {lines}\n") == [problem]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_token_may_be_sent_on_loopback(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, MYSQL | {"auth_token": "secret-token", "http_host": host}).host == host


def test_with_tls_it_listens_on_all_addresses(tmp_path: Path, tls: Row) -> None:
    assert read(tmp_path, MYSQL | {"auth_token": "secret-token"} | tls).host == "0.0.0.0"


def test_certificate_and_key_belong_together(tmp_path: Path, tls: Row) -> None:
    for key in tls:
        for prefix in ("tls", "mysql_ssl"):
            assert problems(tmp_path, MYSQL | {key.replace("tls", prefix): tls[key]}) == [
                f"{prefix}_cert and {prefix}_key belong together; set both or none"
            ]
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    (problem,) = problems(tmp_path, MYSQL | tls | {"tls_key": "other.pem"})
    assert problem.startswith("tls_cert, tls_key: cannot be used")


@pytest.mark.parametrize("settings", [{}, {"sqlite_file": "/nowhere/phpipam.db"}])
def test_wrong_configuration_ends_the_service_with_one_line(tmp_path: Path, settings: Any) -> None:
    done = subprocess.run(
        start_command(tmp_path, settings), cwd=EXAMPLE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert next(iter(settings), "mysql_host") in done.stderr
