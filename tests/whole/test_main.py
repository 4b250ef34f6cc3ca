"""The installed command as its users see it: real processes, real TLS, real nmap on loopback."""

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from stand_ins.https import Answer, Certificates, Server
from stand_ins.phpipam import address, refusal, subnet
from stand_ins.site import Site


@pytest.fixture(autouse=True)
def two_subnets(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]


def test_hosts_arrive_as_the_server_wants_them(site: Site) -> None:
    done = site.run()

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [report["code"] for report in site.scan_server.reports] == [site.settings["scanagent_code"]] * 2
    scan = next(
        report["scan"] for report in site.scan_server.reports if report["scan"]["subnet"] == "127.0.20.0/30"
    )
    assert scan["tz"] == "+0000"
    known = next(row for row in scan["results"] if row["ip"] == "127.0.20.1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", known.pop("lastSeen"))
    assert known == {"id": 101, "subnetId": "10", "ip": "127.0.20.1"}
    new = next(row for row in scan["results"] if row["ip"] == "127.0.20.2")
    assert sorted(new) == ["ip", "lastSeen", "subnetId"]


def test_the_request_is_what_the_server_expects(site: Site) -> None:
    site.run()
    request = site.server.requests[0]

    assert (request.method, request.path) == ("POST", "/")
    assert request.headers["authorization"] == f"Bearer {site.settings['auth_token']}"
    assert request.headers["content-type"] == "application/json"
    assert re.fullmatch(r"phpipam-scan-agent/\d+\.\d+\.\d+", request.headers["user-agent"])


def test_without_auth_token_the_servers_default_is_sent(site: Site) -> None:
    site.scan_server.token = None
    del site.settings["auth_token"]

    assert site.run().returncode == 0
    assert site.server.requests[0].headers["authorization"] == "Bearer no-token-set"


def test_the_local_time_goes_with_its_zone(site: Site) -> None:
    site.run(TZ="America/St_Johns")

    assert site.scan_server.reports[0]["scan"]["tz"] in ("-0330", "-0230")


def test_a_second_run_asks_the_cache(site: Site) -> None:
    site.run()
    asked = len(site.api.requests)

    assert site.run().returncode == 0
    assert len(site.api.requests) == asked
    assert len(site.scan_server.reports) == 4


@pytest.mark.parametrize(
    "settings", [{"cache_expire_time": 0}, {"epoch_time_offset": 3600}, {"epoch_time_offset": -3600}]
)
def test_phpipam_is_asked_again_when_the_cache_is_no_use(site: Site, settings: dict[str, int]) -> None:
    site.run()
    asked = len(site.api.requests)
    site.settings |= settings
    done = site.run()

    assert done.returncode == 0
    assert len(site.api.requests) == 2 * asked
    assert ("comes from the future" in done.stderr) == (settings.get("epoch_time_offset", 0) < 0)


def test_refresh_drops_the_cache(site: Site) -> None:
    site.run()
    asked = len(site.api.requests)
    site.run("--refresh")

    assert len(site.api.requests) == 2 * asked


def test_a_subnet_that_fails_does_not_stop_the_others(site: Site) -> None:
    first_only = iter([Answer(500, b"out of order"), None])
    accept = site.scan_server.answer
    site.server._answer = lambda request: next(first_only, None) or accept(request)
    done = site.run()

    assert done.returncode == 1
    assert len(site.scan_server.reports) == 1
    assert re.search(r"error: subnet 127\.0\.2[01]\.0/30: Scan Server .* HTTP 500: out of order", done.stderr)


def test_a_wrong_server_token_is_named_without_showing_it(site: Site) -> None:
    site.scan_server.token = "another-token"
    done = site.run()

    assert done.returncode == 1
    assert "HTTP 401: Invalid authorization token; check auth_token" in done.stderr
    assert site.settings["auth_token"] not in done.stderr


def test_no_subnets_is_said_and_is_no_failure(site: Site) -> None:
    site.phpipam.subnets = []
    done = site.run()

    assert done.returncode == 0
    assert "phpIPAM assigns no subnet to this agent" in done.stderr


@pytest.mark.parametrize("settings", [{"client_token": "wrong-token"}, {"client_name": "nobody"}])
def test_phpipams_refusal_is_one_line(site: Site, settings: dict[str, str]) -> None:
    site.settings |= settings
    done = site.run()

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: error: phpIPAM at https://127.0.0.1:")
    assert not site.server.requests


def test_every_mistake_in_the_configuration_at_once(site: Site) -> None:
    site.settings |= {"api_url": "127.0.0.1", "http_port": 99999, "client_tokn": "x", "client_name": ""}
    done = site.run()

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4
    assert "client_tokn: unknown key; did you mean client_token?" in done.stderr
    assert site.api.connections == site.server.connections == 0


def test_a_missing_configuration_file(site: Site) -> None:
    done = subprocess.run(
        [site.command()[0], "--config", "/nonexistent/x.yaml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("phpipam-scan-agent: error: /nonexistent/x.yaml: ")


def test_a_token_is_never_sent_over_http(site: Site) -> None:
    site.settings["http_server"] = "http://127.0.0.1"
    done = site.run()

    assert done.returncode == 2
    assert "auth_token: is set, but http_server is http://127.0.0.1" in done.stderr
    assert site.api.connections == site.server.connections == 0


def test_a_redirect_of_the_server_is_refused(site: Site) -> None:
    site.scan_server.instead = Answer(302, b"", {"Location": f"{site.api.url}:{site.api.port}/elsewhere"})
    done = site.run()

    assert done.returncode == 1
    assert re.search(r"redirects to https://127\.0\.0\.1:\d+/elsewhere \(HTTP 302\)", done.stderr)
    assert all(request.path != "/elsewhere" for request in site.api.requests)


def test_an_unknown_authority_is_not_trusted(site: Site) -> None:
    site.ca_file.write_bytes(Certificates().ca_pem)
    done = site.run()

    assert done.returncode == 1
    assert "its certificate is not trusted" in done.stderr
    assert not site.api.requests


def test_requests_ca_bundle_works_too(site: Site) -> None:
    del site.environment["SSL_CERT_FILE"]

    assert site.run(REQUESTS_CA_BUNDLE=str(site.ca_file)).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_an_authority_that_the_machine_trusts_needs_nothing_else(site: Site) -> None:
    del site.environment["SSL_CERT_FILE"]
    trusting = """
        mount -t tmpfs none /usr/local/share/ca-certificates
        cp --archive /etc/ssl/certs "$1/certs"
        mount --bind "$1/certs" /etc/ssl/certs
        cp "$2" /usr/local/share/ca-certificates/site.crt
        update-ca-certificates >/dev/null 2>&1
        shift 2
        exec "$@"
    """
    command = ["unshare", "--mount", "sh", "-ec", trusting, "sh", str(site.folder), str(site.ca_file)]
    done = subprocess.run(
        [*command, *site.command()], env=site.environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert site.run().returncode == 1, "outside the namespace the machine does not trust it"


def test_the_log_file_has_every_step_and_nobody_else_reads_it(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    done = site.run("--log-file", str(log))

    assert (done.returncode, done.stderr) == (0, "")
    assert log.stat().st_mode & 0o777 == 0o600
    assert "subnet 127.0.20.0/30: report uploaded" in log.read_text()


def test_ansible_log_path_names_the_log_file_as_ever(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    site.run(ANSIBLE_LOG_PATH=str(log))

    assert "report uploaded" in log.read_text()


def test_a_log_file_that_cannot_be_written(site: Site) -> None:
    done = site.run("--log-file", "/nonexistent/agent.log")

    assert done.returncode == 2
    assert "log file /nonexistent/agent.log cannot be written" in done.stderr
    assert not site.api.connections


def test_a_disk_that_fills_up_under_the_log_file_is_said_once_and_stops_nothing(site: Site) -> None:
    done = site.run("--log-file", "/dev/full")
    name = "phpipam-scan-agent: warning: "

    assert done.returncode == 0
    assert done.stderr == f"{name}log file /dev/full cannot be written: No space left on device\n"
    assert len(site.scan_server.reports) == 2


def test_dry_run_uploads_nothing(site: Site) -> None:
    done = site.run("--dry-run", "--format", "table")

    assert done.returncode == 0
    assert "nothing was uploaded" in done.stdout
    assert not site.server.requests


def test_only_the_subnet_asked_for(site: Site) -> None:
    site.run("--subnet", "127.0.21.0/24")

    assert [report["scan"]["subnet"] for report in site.scan_server.reports] == ["127.0.21.0/30"]


def test_a_subnet_asked_for_that_is_not_ours(site: Site) -> None:
    done = site.run("--subnet", "127.0.20.0/30", "--subnet", "127.0.99.0/24")

    assert done.returncode == 1
    assert "subnet 127.0.99.0/24: --subnet: phpIPAM assigns no such subnet" in done.stderr
    assert len(site.scan_server.reports) == 1


def test_a_subnet_that_makes_no_sense_is_named(site: Site) -> None:
    site.phpipam.subnets[0]["mask"] = ""
    done = site.run()

    assert done.returncode == 1
    assert "error: subnet 127.0.20.0/: is no network" in done.stderr
    assert len(site.scan_server.reports) == 1


def test_addresses_that_do_not_come_cost_the_ids_alone(site: Site) -> None:
    site.phpipam.instead["subnets/10/addresses/"] = Answer(500, b"", {"Content-Type": "text/html"})
    done = site.run()

    assert done.returncode == 1
    assert "error: subnet 127.0.20.0/30: scanned without the addresses that phpIPAM knows: " in done.stderr
    reports = {report["scan"]["subnet"]: report["scan"]["results"] for report in site.scan_server.reports}
    assert sorted(reports) == ["127.0.20.0/30", "127.0.21.0/30"]
    assert all("id" not in row for row in reports["127.0.20.0/30"])


def test_a_subnet_whose_nested_ones_do_not_come_is_left_and_the_others_go_on(site: Site) -> None:
    site.phpipam.instead["subnets/10/slaves/"] = refusal(500, "out of order")
    done = site.run()

    assert done.returncode == 1
    assert "error: subnet 127.0.20.0/30: phpIPAM at https://" in done.stderr
    assert [report["scan"]["subnet"] for report in site.scan_server.reports] == ["127.0.21.0/30"]


def test_json_summary(site: Site) -> None:
    document = json.loads(site.run("--format", "json").stdout)

    assert {row["subnet"]: (row["up"] > 0, row["known"], row["uploaded"]) for row in document["subnets"]} == {
        "127.0.20.0/30": (True, 1, True),
        "127.0.21.0/30": (True, 0, True),
    }


def test_a_terminal_gets_a_table(site: Site) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(site.command(), env=site.environment, stdout=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert done.returncode == 0
    assert all(word in shown for word in ("subnet", "hosts up", "known", "new", "seconds", "uploaded"))
    assert "127.0.20.0/30" in shown


def test_no_secret_is_shown_at_any_volume(site: Site, tmp_path: Path) -> None:
    # Both peers say back what they were told, as a talkative proxy would.
    everything = " ".join(site.secrets)
    site.scan_server.instead = Answer(400, everything.encode())
    log = tmp_path / "agent.log"
    shown = ""
    for options in (("-vv",), ("-vv", "--log-format", "json", "--format", "json"), ("--help",)):
        done = site.run(*options, "--log-file", str(log))
        shown += done.stdout + done.stderr
    site.forget()
    site.phpipam.instead["*"] = refusal(400, everything)
    done = site.run("-vv")
    shown += done.stdout + done.stderr + log.read_text()

    assert "***" in shown
    for secret in site.secrets:
        assert secret not in shown
        assert all(secret.encode() not in path.read_bytes() for path in (tmp_path / "cache").glob("*"))


def test_no_secret_in_the_process_list(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.16.0/22")]
    seen = b""
    with subprocess.Popen(site.command(), env=site.environment) as agent:
        while agent.poll() is None:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen += path.read_bytes()
                except OSError:  # it has ended meanwhile
                    continue
            time.sleep(0.01)

    assert b"nmap\0" in seen
    assert all(secret.encode() not in seen for secret in site.secrets)


def test_no_nmap(site: Site, tmp_path: Path) -> None:
    done = site.run(PATH=str(tmp_path))

    assert done.returncode == 2
    assert "nmap is not installed" in done.stderr


def test_a_private_server_without_tls_works_without_a_token(site: Site) -> None:
    del site.settings["auth_token"]
    site.scan_server.token = None
    with Server(site.scan_server.answer, None) as plain:
        site.settings |= {"http_server": plain.url, "http_port": plain.port}

        assert site.run().returncode == 0
    assert len(site.scan_server.reports) == 2


def test_the_example_configuration_is_right_but_for_what_must_be_filled_in(site: Site) -> None:
    example = Path(__file__).parents[2] / "examples" / "scan_agent.yaml"
    done = subprocess.run(
        [site.command()[0], "--config", str(example)], capture_output=True, text=True, check=False
    )
    missing = ["api_url", "client_token", "client_name", "scanagent_code"]

    assert done.returncode == 2
    assert [line.split(": ")[3] for line in done.stderr.splitlines()] == missing
    (settings,) = yaml.safe_load(example.read_text()).values()
    assert settings["cache_expire_time"] == 1800
