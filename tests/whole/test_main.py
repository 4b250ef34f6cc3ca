"""One run from the configuration to the upload: real processes, real TLS, real nmap on loopback.

The errors of a single stage are tested in the folder of that stage.
"""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from forked import ForkedSite
from stand_ins.https import Server
from stand_ins.phpipam import address, refusal, subnet
from stand_ins.scan_server import ScanServer
from stand_ins.site import Site

ERROR = "phpipam-scan-agent: error: "


@pytest.fixture(autouse=True)
def two_subnets(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]


def scanned(site: Site) -> list[str]:
    return sorted(report["scan"]["subnet"] for report in site.scan_server.reports)


def test_hosts_are_uploaded_in_the_scan_servers_format_and_nothing_is_printed(site: Site) -> None:
    done = subprocess.run(
        site.command(), env=site.environment | {"TZ": "America/St_Johns"}, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert scanned(site) == ["127.0.20.0/30", "127.0.21.0/30"]
    request = site.server.requests[0]
    assert (request.method, request.path) == ("POST", "/")
    assert request.headers["authorization"] == f"Bearer {site.settings['auth_token']}"
    assert request.headers["content-type"] == "application/json"
    report = next(each for each in site.scan_server.reports if each["scan"]["subnet"] == "127.0.20.0/30")
    assert report["code"] == site.settings["scanagent_code"]
    assert report["scan"]["tz"] in ("-0330", "-0230")
    known, new = sorted(report["scan"]["results"], key=lambda row: str(row["ip"]))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", known.pop("lastSeen"))
    assert known == {"id": 101, "subnetId": "10", "ip": "127.0.20.1"}
    assert sorted(new) == ["ip", "lastSeen", "subnetId"]


def test_without_tls_and_auth_token_the_servers_default_token_is_sent(site: Site) -> None:
    del site.settings["auth_token"]
    stand_in = ScanServer(token=None)
    with Server(stand_in.answer, None) as plain:
        site.settings |= {"http_server": plain.url, "http_port": plain.port}

        assert site.run().returncode == 0
    assert len(stand_in.reports) == 2
    assert plain.requests[0].headers["authorization"] == "Bearer no-token-set"


def test_the_second_run_uses_the_cache_unless_refresh_is_given(site: Site) -> None:
    site.run()
    asked = len(site.api.requests)

    assert site.run().returncode == 0
    assert len(site.api.requests) == asked
    site.run("--refresh")
    assert len(site.api.requests) == 2 * asked


def test_a_cached_list_without_subnets_to_scan_is_requested_again(site: Site) -> None:
    """A subnet is assigned, then its Discover is set, then another subnet is assigned, with a run after each step."""
    row = {**site.phpipam.subnets[0], "discoverSubnet": 0}
    site.phpipam.subnets = []
    done = site.run()
    said = [done.stderr]
    site.phpipam.subnets = [row]
    said += [site.run().stderr]
    row["discoverSubnet"] = 1
    said += [site.run().stderr]
    site.phpipam.subnets += [subnet(12, "127.0.22.0/30")]

    assert done.returncode == 0
    assert "phpIPAM assigns no subnet to this agent" in said[0]
    assert "assigns 1 subnets to this agent, none to be scanned: neither Discover new hosts nor" in said[1]
    assert said[2] == ""
    assert site.run("--subnet", "127.0.22.0/30").returncode == 0
    assert len(site.scan_server.reports) == 2


def test_a_cached_invalid_row_is_requested_again(site: Site) -> None:
    mask, site.phpipam.subnets[0]["mask"] = site.phpipam.subnets[0]["mask"], ""
    assert site.run().returncode == 1
    site.phpipam.subnets[0]["mask"] = mask

    assert site.run().returncode == 0


def test_each_configuration_error_is_one_line_before_any_connection(site: Site) -> None:
    site.settings |= {"http_port": 99999, "client_tokn": "x", "http_server": "http://127.0.0.1"}
    done = site.run()

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    assert all(line.startswith(ERROR) for line in done.stderr.splitlines())
    assert site.api.connections == site.server.connections == 0


def test_a_log_file_that_cannot_be_opened_is_a_usage_error(site: Site) -> None:
    done = site.run("--log-file", "/nonexistent/agent.log")

    assert done.returncode == 2
    assert "/nonexistent/agent.log" in done.stderr
    assert not site.api.connections


def test_a_log_file_on_a_full_disk_is_one_warning_and_the_run_goes_on(site: Site) -> None:
    done = site.run("--log-file", "/dev/full")

    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: warning: log file /dev/full ")
    assert len(site.scan_server.reports) == 2


def test_ansible_log_path_names_the_log_file(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    site.run(ANSIBLE_LOG_PATH=str(log))

    assert "subnet 127.0.20.0/30: report uploaded" in log.read_text()


def test_subnet_limits_the_run_and_names_unassigned_subnets(site: Site) -> None:
    done = site.run("--subnet", "127.0.20.0/24", "--subnet", "127.0.99.0/24", "--format", "json")

    assert done.returncode == 1
    assert done.stderr.startswith(f"{ERROR}subnet 127.0.99.0/24: ")
    assert scanned(site) == ["127.0.20.0/30"]
    row = next(row for row in json.loads(done.stdout)["subnets"] if row["subnet"] == "127.0.20.0/30")
    assert (row["up"], row["known"], row["uploaded"]) == (2, 1, True)


def test_a_failed_subnet_does_not_stop_the_others(site: Site) -> None:
    site.phpipam.subnets.append(subnet(12, "127.0.22.0/30") | {"mask": ""})
    site.phpipam.subnets[0] |= {"discoverSubnet": 0, "pingSubnet": 1}
    site.phpipam.instead["subnets/10/addresses/"] = refusal(500, "out of order")
    done = site.run()

    assert done.returncode == 1
    assert sorted(line[: len(ERROR) + 18] for line in done.stderr.splitlines()) == [
        f"{ERROR}subnet 127.0.20.0/",
        f"{ERROR}subnet 127.0.22.0/",
    ]
    assert scanned(site) == ["127.0.21.0/30"]


def test_no_secret_is_shown_at_any_verbosity(site: ForkedSite, tmp_path: Path) -> None:
    # Both peers repeat the request, as some proxies do in error pages.
    everything = " ".join(site.secrets)
    site.phpipam.subnets = site.phpipam.subnets[:1]
    site.server._answer = lambda request: refusal(400, everything)
    log = tmp_path / "agent.log"
    shown = ""
    for options in (("-vv",), ("-vv", "--log-format", "json", "--format", "json")):
        done = site.run(*options, "--log-file", str(log))
        shown += done.stdout + done.stderr
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").glob("*"))
    site.forget()
    site.phpipam.instead["*"] = refusal(400, everything)
    done = site.run("-vv")
    shown += done.stdout + done.stderr + log.read_text()

    assert "***" in shown
    for secret in site.secrets:
        assert secret not in shown
        assert secret.encode() not in kept


def test_no_secret_is_in_the_process_list(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.16.0/22")]  # large enough for a scan of some seconds
    seen = b""
    with subprocess.Popen(site.command(), env=site.environment) as agent:
        while agent.poll() is None:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen += path.read_bytes()
                except OSError:  # the process has ended
                    continue
            time.sleep(0.01)

    assert b"nmap\0" in seen
    assert all(secret.encode() not in seen for secret in site.secrets)
