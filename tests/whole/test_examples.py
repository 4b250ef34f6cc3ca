"""The example files, run where possible, otherwise linted. The systemd units: test_systemd.py."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import yaml

from listeners import free_ports, nginx
from phpipam_scan_agent import NAME, arguments, config
from phpipam_scan_agent.output.metrics import LAST_SUCCESS
from stand_ins.https import Server
from stand_ins.phpipam import subnet
from stand_ins.site import Site

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
DOCKERFILE = EXAMPLES / "docker" / "Dockerfile"
NGINX = EXAMPLES / "nginx" / "scan-server.conf"
RULES = EXAMPLES / "prometheus" / f"{NAME}.rules.yml"


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command, which must succeed, and return its output."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_yamllint_accepts_the_examples() -> None:
    style = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    assert run(BIN / "yamllint", "--strict", "--config-data", style, EXAMPLES) == ""


# cron and logrotate


def test_cron_accepts_the_crontab_and_its_command_exists() -> None:
    table = EXAMPLES / "cron.d" / NAME
    assert "." not in table.name, "cron passes over names with a dot"
    text = table.read_text()
    assert text.endswith("\n"), "cron drops a last line without an end"
    (job,) = [line for line in text.splitlines() if line.startswith("*")]
    *_, user, command, options = job.split(maxsplit=7)[4:]
    assert (user, command) == ("root", NAME)
    assert arguments.parse(options.split()).log_file == Path(f"/var/log/{NAME}.log")


def test_logrotate_keeps_the_log_of_a_running_agent(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    log = logs / f"{NAME}.log"
    text = (EXAMPLES / "logrotate" / NAME).read_text()
    assert f"/var/log/{NAME}.log {{" in text
    rules = tmp_path / "rules"
    rules.write_text(text.replace("/var/log/", f"{logs}/"))
    rules.chmod(0o644)

    with log.open("a") as running:
        running.write("before\n")
        running.flush()
        rotate = ("logrotate", "--state", tmp_path / "state")
        assert "error" not in run(*rotate, "--debug", rules)
        run(*rotate, "--force", rules)
        running.write("after\n")

    assert Path(f"{log}.1").read_text() == "before\nafter\n"
    assert (log.read_text(), log.stat().st_mode & 0o777) == ("", 0o600)


# Containers


def test_hadolint_accepts_the_dockerfile() -> None:
    assert run(BIN / "hadolint", "--no-color", DOCKERFILE) == ""


def test_the_dockerfile_copies_existing_files_that_are_not_ignored() -> None:
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    copies = [line.split()[1:-1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
    sources = {source for copied in copies for source in copied if not copied[0].startswith("--from")}
    assert sources == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert [source for source in sources if not (EXAMPLES.parent / source).exists()] == []


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    """The manifest's documents by their kind."""
    text = (EXAMPLES / "kubernetes" / f"{NAME}.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_manifests_match_kubernetes_schemas() -> None:
    said = run(BIN / "kubernetes-validate", "--strict", EXAMPLES / "kubernetes" / f"{NAME}.yaml")
    assert said.count(" passed ") == 4


def test_the_cronjobs_configuration_is_valid(manifests: dict[str, Any], tmp_path: Path) -> None:
    """As in the pod, secrets and configuration are in one folder."""
    for name, text in (manifests["ConfigMap"]["data"] | manifests["Secret"]["stringData"]).items():
        (tmp_path / name).write_text(text)
    settings = config.load(tmp_path / arguments.DEFAULT_PATH.name)
    assert settings.client_token.get_secret_value() == manifests["Secret"]["stringData"]["client_token"]


def test_the_cronjob_fits_the_image(manifests: dict[str, Any]) -> None:
    pod = manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    dockerfile = DOCKERFILE.read_text()

    arguments.parse(container["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert Path(mounts["configuration"]) == arguments.DEFAULT_PATH.parent
    assert f"VOLUME {mounts['state']}\n" in dockerfile
    user = pod["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in dockerfile


# nginx


@contextmanager
def example_nginx(folder: Path, backend: int) -> Iterator[int]:
    """Serve the example on a loopback port, in front of a Scan Server on another port."""
    (port,) = free_ports(1)
    text = NGINX.read_text()
    for said, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("    listen [::]:443 ssl;\n", ""),
        ("/etc/ssl/scan-server/fullchain.pem", f"{folder}/server.pem"),
        ("/etc/ssl/scan-server/key.pem", f"{folder}/server.pem"),
        ("proxy_pass http://127.0.0.1:5000;", f"proxy_pass http://127.0.0.1:{backend};"),
    ):
        assert said in text
        text = text.replace(said, here)
    with nginx(folder, text, port):
        yield port


@pytest.fixture
def proxied(site: Site, tmp_path: Path) -> Iterator[Site]:
    """A site whose Scan Server without TLS is behind nginx."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    site.ca_file.write_bytes(site.ca_file.read_bytes() + ca.cert_pem.bytes())
    with Server(site.scan_server.answer, None) as backend, example_nginx(folder, backend.port) as port:
        site.settings["http_port"] = port
        yield site


def test_reports_go_through_nginx(proxied: Site) -> None:
    proxied.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    done = proxied.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert [report["scan"]["subnet"] for report in proxied.scan_server.reports] == ["127.0.20.0/30"]


def test_nginx_does_not_limit_the_size_of_a_report(proxied: Site) -> None:
    url = f"https://127.0.0.1:{proxied.settings['http_port']}/"
    headers = {"Authorization": f"Bearer {proxied.scan_server.token}"}

    def post(size: int) -> requests.Response:
        body = json.dumps("x" * (size - 2)).encode()
        return requests.post(url, body, headers=headers, verify=str(proxied.ca_file), timeout=30)

    assert post(1024 * 1024).status_code == 200
    above = post(1024 * 1024 + 1)
    assert (above.status_code, above.text) == (413, "Maximum request body size 1048576 exceeded.")
    assert "nginx" in post(2 * 1024 * 1024 + 1).text


def test_nginx_forwards_only_reports(proxied: Site) -> None:
    url = f"https://127.0.0.1:{proxied.settings['http_port']}"
    said = [
        requests.request(method, url + path, verify=str(proxied.ca_file), timeout=30).status_code
        for method, path in (("POST", "/"), ("GET", "/"), ("POST", "/endpoint"))
    ]
    assert said == [401, 403, 404]


# Prometheus


def alerts(folder: Path, values: str, at: str) -> list[str]:
    """The alerts that fire at a time by promtool, given the metric's value of each minute."""
    shutil.copy(RULES, folder)
    names = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]
    firing = []
    for name in names:
        expectation = {"eval_time": at, "alertname": name, "exp_alerts": []}
        series = {"series": f'{LAST_SUCCESS}{{instance="branch"}}', "values": values}
        test = {
            "rule_files": [RULES.name],
            "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": [series], "alert_rule_test": [expectation]}],
        }
        (folder / "test.yml").write_text(yaml.safe_dump(test))
        done = subprocess.run(
            [BIN / "promtool", "test", "rules", "test.yml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or "got:[\n" in done.stdout + done.stderr, done
        if done.returncode:
            firing.append(name)
    return firing


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS: 2 rules found" in run(BIN / "promtool", "check", "rules", RULES)


@pytest.mark.parametrize(
    ("values", "at", "firing"),
    [
        ("0+60x300", "4h", []),  # a success each minute
        ("0x300", "59m", []),
        ("0x300", "62m", ["PhpIpamScanAgentNotSucceeding"]),
        ("0x70 3600+60x300", "3h", []),  # it has succeeded again
        ("0+60x60", "90m", []),
        ("0+60x60", "3h", ["PhpIpamScanAgentGone"]),  # the machine is gone
        ("_x300", "4h", []),  # no agent at all
    ],
)
def test_the_alerts_fire(tmp_path: Path, values: str, at: str, firing: list[str]) -> None:
    assert alerts(tmp_path, values, at) == firing
