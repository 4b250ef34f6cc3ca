"""`--check` of the installed command: the line for each fault."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import runs
from forked import ForkedSite
from phpipam_scan_agent import VERSION
from phpipam_scan_agent.scan.nmap import may_open_raw_sockets
from stand_ins.https import Answer, Certificates, Server
from stand_ins.phpipam import refusal, subnet
from stand_ins.site import Site

NMAP = shutil.which("nmap") or ""

Done = subprocess.CompletedProcess[str]

NAMES = [
    *("versions", "configuration", "nmap", "iproute2", "cache folder", "spool folder", "reports waiting"),
    *("phpIPAM's certificate", "phpIPAM", "clock", "subnets", "Scan Server's certificate", "Scan Server"),
]


@pytest.fixture(autouse=True)
def three_subnets(site: Site) -> None:
    site.phpipam.subnets = [
        subnet(10, "127.0.20.0/30"),
        subnet(11, "127.0.21.0/30", discoverSubnet=0, pingSubnet=1),
        subnet(12, "127.0.22.0/30", discoverSubnet=0),
    ]


def lines(done: Done, mark: str = "") -> list[str]:
    """The lines with this mark; stderr must be empty."""
    assert done.stderr == ""
    assert all(re.match("[✓!✗] .+: .", line) for line in done.stdout.splitlines())
    return [line for line in done.stdout.splitlines() if line.startswith(mark)]


def marks(done: Done) -> dict[str, str]:
    """The mark of each check; nmap's raw sockets, which depend on the machine, count as passed."""
    raw = "✓" if may_open_raw_sockets(NMAP) else "!"
    shown = {line[2:].partition(": ")[0]: line[0] for line in lines(done)}
    return {name: "✓" if (name, mark) == ("nmap", raw) else mark for name, mark in shown.items()}


def the_fault(done: Done, mark: str = "✗") -> str:
    """The only line with this mark; all other checks have passed."""
    (line,) = [line for line in lines(done, mark) if mark == "✗" or not line.startswith("! nmap: /")]
    others = {name: shown for name, shown in marks(done).items() if not line.startswith(f"{mark} {name}: ")}
    assert set(others.values()) == {"✓"}
    assert done.returncode == (1 if mark == "✗" else 0)
    return line


# Without faults


def test_every_check_passes(site: Site) -> None:
    done = site.run("--check")

    assert done.returncode == 0
    assert marks(done) == dict.fromkeys(NAMES, "✓")


def test_check_shows_the_facts_of_a_bug_report(site: Site) -> None:
    shown = site.run("--check").stdout

    assert f"phpipam-scan-agent {VERSION}, Python 3." in shown
    assert re.search(rf"{NMAP}, version \d+\.\d+, ", shown)
    assert f"configuration: {site.config_file} (mode 0600)" in shown
    assert f"cache folder: {site.folder}/cache\n" in shown
    assert f"spool folder: {site.folder}/state/spool\n" in shown
    assert (
        f"phpIPAM: https://127.0.0.1:{site.api.port} takes the token and knows this scan agent as branch"
        in shown
    )
    assert re.search(r"phpIPAM's certificate: by trustme v\S+, \d+ days left\n", shown)
    assert (
        "subnets: 3 assigned: 1 with Discover new hosts, 1 with Check hosts status only, 1 with neither; 0 of IPv6\n"
        in shown
    )
    assert f"Scan Server: https://127.0.0.1:{site.server.port}/ takes the token" in shown


def test_nothing_is_scanned_or_stored(site: Site, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    nmap = tmp_path / "bin" / "nmap"
    nmap.parent.mkdir()
    nmap.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexec {NMAP} "$@"\n')
    nmap.chmod(0o755)
    done = site.run("--check", PATH=f"{nmap.parent}:{os.environ['PATH']}")

    assert done.returncode == 0
    assert asked.read_text().splitlines() == ["-V"]
    assert site.scan_server.reports == []
    assert [path.name for path in (tmp_path / "state").rglob("*")] == ["spool"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_check_does_not_use_the_cache(site: Site) -> None:
    site.run()
    site.phpipam.token = "another"

    assert "Unauthorized" in the_fault(site.run("--check"))


def test_json_has_every_check(site: Site) -> None:
    site.scan_server.token = "another"
    done = site.run("--check", "--format", "json")
    shown = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (1, "")
    assert shown["version"] == VERSION
    assert [check["name"] for check in shown["checks"]] == NAMES
    assert [check["name"] for check in shown["checks"] if not check["passed"]] == ["Scan Server"]
    assert all(sorted(check) == ["advice", "detail", "name", "passed"] for check in shown["checks"])
    assert all(check["detail"] for check in shown["checks"])


# The machine


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_configuration_that_others_may_read_is_a_warning(site: Site, mode: int) -> None:
    command = site.command("--check")
    site.config_file.chmod(mode)
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)

    line = the_fault(done, "!")
    assert line.startswith("! configuration: ")
    assert f"(mode {mode:04o})" in line
    assert line.endswith(f": chmod 600 {site.config_file}")


def test_a_missing_nmap_is_a_fault(site: Site) -> None:
    line = the_fault(runs.without("nmap", site, "--check"))

    assert line.startswith("✗ nmap: nmap is not installed")
    assert "apt-get install nmap" in line


def test_an_unprivileged_nmap_is_a_warning(site: Site) -> None:
    done = run_without("net_raw", site)

    (line,) = lines(done, "! nmap: ")
    assert "may only make TCP connections → run the agent as root or give it CAP_NET_RAW" in line
    assert done.returncode == 0


def test_no_iproute2_is_a_warning(site: Site) -> None:
    line = the_fault(runs.without("ip", site, "--check"), "!")

    assert line.startswith("! iproute2: its command ip is not on PATH → install it for MAC addresses")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has CAP_NET_RAW")
def test_raw_sockets_refused_by_the_kernel_are_a_warning(site: Site) -> None:
    """In a user namespace every capability is set, but the network belongs to another namespace."""
    command = ["unshare", "--user", "--map-root-user", *site.command("--check")]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)

    (line,) = lines(done, "! nmap")
    assert (
        "may only make TCP connections: CAP_NET_RAW is set, but Operation not permitted → a container, seccomp or"
        in line
    )
    assert done.returncode == 0


def test_an_nmap_of_a_snap_is_a_warning(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = "#!/bin/sh\necho 'Nmap version 7.95 ( https://nmap.org )'\n"
    (tmp_path / "snap").write_text(program)
    (tmp_path / "snap").chmod(0o755)
    (tmp_path / "bin" / "nmap").symlink_to(tmp_path / "snap")
    (line,) = lines(site.run("--check", PATH=f"{tmp_path}/bin:{os.environ['PATH']}"), "! nmap")

    assert "version 7.95, is a snap → a snap cannot open raw sockets: snap remove nmap" in line


def test_an_old_nmap_is_a_fault(site: Site, tmp_path: Path) -> None:
    (tmp_path / "nmap").write_text("#!/bin/sh\necho 'Nmap version 7.70 ( https://nmap.org )'\n")
    (tmp_path / "nmap").chmod(0o755)
    line = the_fault(site.run("--check", PATH=f"{tmp_path}:{os.environ['PATH']}"))

    assert line == f"✗ nmap: {tmp_path}/nmap is nmap 7.70; 7.80 or later is needed: upgrade it"


def test_a_metrics_file_in_a_missing_folder_is_a_fault(site: Site) -> None:
    site.settings["metrics_file"] = str(site.folder / "missing" / "agent.prom")
    line = the_fault(site.run("--check"))

    assert line.startswith(
        f"✗ metrics file: {site.folder}/missing cannot be written: No such file or directory → "
    )


@pytest.mark.parametrize(("name", "folder"), [("cache folder", "cache"), ("spool folder", "state/spool")])
def test_an_unwritable_folder_is_a_fault(site: Site, tmp_path: Path, name: str, folder: str) -> None:
    site.run("--check")
    (tmp_path / folder).chmod(0o500)
    line = the_fault(run_without("dac_override", site))

    assert line.startswith(f"✗ {name}: {tmp_path / folder} cannot be written: Permission denied → ")
    assert f"the user with id {os.geteuid()}" in line


def run_without(capability: str, site: Site) -> Done:
    """Run the check without one of root's capabilities."""
    less = ["setpriv", "--no-new-privs", *([f"--bounding-set=-{capability}"] if os.geteuid() == 0 else [])]
    return subprocess.run(
        [*less, *site.command("--check")], env=site.environment, capture_output=True, text=True, check=False
    )


def test_waiting_reports_are_counted(site: Site) -> None:
    site.scan_server.instead = Answer(401, b"Invalid authorization token")
    site.run()
    site.scan_server.instead = None

    assert re.match(
        r"! reports waiting: 2 with \d+ bytes → the next run sends them$", the_fault(site.run("--check"), "!")
    )
    assert site.scan_server.reports == []


def test_reports_for_another_app_are_named(site: Site) -> None:
    """After a change of the App id, earlier reports are not sent, and counted only here."""
    site.scan_server.instead = Answer(401, b"Invalid authorization token")
    site.run()
    site.scan_server.instead = None
    site.phpipam.app = site.settings["client_name"] = "renamed"

    checked = site.run("--check")

    assert "reports of another phpIPAM: 2 in " in the_fault(checked, "!")
    assert site.scan_server.reports == []


# phpIPAM


def test_a_wrong_token_is_a_fault(site: Site) -> None:
    site.phpipam.token = "another"

    assert "Unauthorized; check client_token" in phpipam_fault(site)


def test_an_unknown_app_is_a_fault(site: Site) -> None:
    site.phpipam.app = "another"

    assert "Invalid application id; check client_name" in phpipam_fault(site)


def test_an_unknown_scan_agent_is_a_fault(site: Site) -> None:
    site.phpipam.agent["code"] = "another"

    assert "no scan agent with this scanagent_code; copy the Code" in phpipam_fault(site)


def phpipam_fault(site: Site) -> str:
    line = the_fault(site.run("--check"))
    assert line.startswith("✗ phpIPAM: ")
    return line


def test_an_untrusted_certificate_is_a_fault(site: Site) -> None:
    with Server(site.phpipam.answer, Certificates().tls()) as stranger:
        site.settings["api_url"] = f"{stranger.url}:{stranger.port}"
        line = phpipam_fault(site)

    assert "its certificate is not trusted" in line
    assert stranger.requests == []


@pytest.mark.parametrize("whose", ["phpIPAM", "Scan Server"])
def test_a_certificate_that_ends_soon_is_a_warning(site: Site, whose: str) -> None:
    line = the_fault(with_certificate_for(site, whose, 13), "!")

    assert re.match(rf"! {whose}'s certificate: by trustme v\S+, 13 days left → renew it soon$", line)


def test_a_certificate_that_ends_later_is_no_warning(site: Site) -> None:
    assert marks(with_certificate_for(site, "phpIPAM", 15))["phpIPAM's certificate"] == "✓"


def with_certificate_for(site: Site, whose: str, days: int) -> Done:
    ends = datetime.now(timezone.utc) + timedelta(days=days, hours=12)
    answer = site.phpipam.answer if whose == "phpIPAM" else site.scan_server.answer
    with Server(answer, site.certificates.tls(not_after=ends)) as server:
        if whose == "phpIPAM":
            site.settings["api_url"] = f"{server.url}:{server.port}"
        else:
            site.settings["http_port"] = server.port
        return site.run("--check")


@pytest.mark.parametrize(("off", "words"), [(-600, "ahead of"), (600, "behind")])
def test_a_clock_difference_of_minutes_is_a_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch, off: int, words: str
) -> None:
    set_clock_of_servers(monkeypatch, off)
    done = site.run("--check", "--format", "json")
    (clock,) = [check for check in json.loads(done.stdout)["checks"] if not check["passed"]]

    assert done.returncode == 1
    assert clock["name"] == "clock"
    assert re.fullmatch(rf"(59\d|60\d) s {words} phpIPAM's", clock["detail"])
    assert "set the clocks" in clock["advice"]


def test_epoch_time_offset_corrects_the_clock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock_of_servers(monkeypatch, -600)
    site.settings["epoch_time_offset"] = -600

    assert marks(site.run("--check"))["clock"] == "✓"


def set_clock_of_servers(monkeypatch: pytest.MonkeyPatch, off: int) -> None:
    def date_time_string(_: BaseHTTPRequestHandler, timestamp: float | None = None) -> str:
        return formatdate(time.time() + off, usegmt=True)

    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", date_time_string)


def test_no_subnets_is_a_warning(site: Site) -> None:
    site.phpipam.subnets = []
    line = the_fault(site.run("--check"), "!")

    assert line.startswith("! subnets: 0 assigned: ")
    assert "set Check hosts status or Discover new hosts, then Select agent" in line


def test_subnets_without_discovery_or_check_are_a_warning(site: Site) -> None:
    site.phpipam.subnets = [subnet(12, "127.0.22.0/30", discoverSubnet=0)]

    assert "1 with neither" in the_fault(site.run("--check"), "!")


def test_disabled_ipv6_is_shown(site: Site) -> None:
    site.phpipam.subnets.append(subnet(13, "::1/128"))
    off = site.run("--check").stdout
    site.settings["ipv6"] = True
    on = site.run("--check").stdout

    assert "1 of IPv6, which is off\n" in off
    assert "1 of IPv6\n" in on


def test_an_invalid_subnet_is_named(site: Site) -> None:
    site.phpipam.subnets[0]["mask"] = ""
    done = site.run("--check")

    assert done.returncode == 1
    assert lines(done, "✗")[0].startswith("✗ subnets: 127.0.20.0/: is not a network ")
    assert "✓ subnets: 2 assigned" in done.stdout


# The Scan Server


def test_a_token_rejected_by_the_scan_server_is_a_fault(site: Site) -> None:
    site.scan_server.token = "another"

    line = the_fault(site.run("--check"))
    assert line.startswith("✗ Scan Server: ")
    assert "HTTP 401: Invalid authorization token; check auth_token" in line


@pytest.mark.parametrize("status", [404, 405, 200, 400])
def test_a_web_server_instead_of_the_scan_server_is_a_fault(site: Site, status: int) -> None:
    line = with_web_server(site, status)

    assert line.startswith("✗ Scan Server: no Scan Server answers at https://127.0.0.1:")
    assert f": HTTP {status} 'The plain HTTP request was sent to HTTPS port' (Server: " in line
    assert line.endswith("; check http_server, http_port and any proxy")


def test_a_body_limit_of_a_proxy_is_a_fault(site: Site) -> None:
    assert with_web_server(site, 413).endswith("; raise the body size that the server or a proxy accepts")


def with_web_server(site: Site, status: int) -> str:
    page = Answer(status, b"<html><h1>The plain HTTP request was sent to HTTPS port</h1></html>", HTML)
    with Server(lambda _: page, site.certificates.tls()) as web:
        site.settings["http_port"] = web.port
        return the_fault(site.run("--check"))


HTML = {"Content-Type": "text/html; charset=UTF-8"}


def test_a_port_without_https_is_a_fault(site: Site) -> None:
    with Server(site.scan_server.answer, None) as plain:
        site.settings["http_port"] = plain.port

        assert "check that the port serves https" in the_fault(site.run("--check"))


@pytest.mark.parametrize(
    ("whose", "setting", "form"),
    [("phpIPAM", "api_url", "https://127.0.0.1:{}"), ("Scan Server", "http_port", "{}")],
)
def test_an_unreachable_peer_is_a_fault(site: ForkedSite, whose: str, setting: str, form: str) -> None:
    with socket.socket() as taken:  # reserves the port, without a listener
        taken.bind(("127.0.0.1", 0))
        site.settings[setting] = form.format(taken.getsockname()[1])
        line = the_fault(site.run_once("--check"))

    assert line.startswith(f"✗ {whose}: https://127.0.0.1:")
    assert line.endswith("Connection refused; check that it runs, the URL and the network")


def test_a_proxy_without_its_scan_server_is_a_fault(site: ForkedSite) -> None:
    site.scan_server.instead = Answer(503, b"<html>Service Unavailable</html>", HTML)
    line = the_fault(site.run_once("--check"))

    assert line.startswith("✗ Scan Server: https://127.0.0.1:")
    assert "HTTP 503" in line


# Wrong configuration, and secrets


def test_a_wrong_configuration_is_an_error_before_any_connection(site: Site) -> None:
    site.settings["http_port"] = 0
    done = site.run("--check")

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"phpipam-scan-agent: error: {site.config_file}: http_port: ")
    assert site.api.connections == site.server.connections == 0


@pytest.mark.parametrize("options", [("-vv",), ("--format", "json", "-vv", "--log-format", "json")])
def test_secrets_repeated_by_a_peer_are_masked(site: Site, options: tuple[str, ...]) -> None:
    everything = " ".join(site.secrets)
    site.phpipam.subnets.append(subnet(13, "127.0.23.0/30") | {"subnet": everything})
    site.phpipam.agent["name"] = everything
    site.scan_server.instead = Answer(404, everything.encode())
    known = site.run("--check", *options)
    site.phpipam.instead["*"] = refusal(400, everything)
    refused = site.run("--check", *options)

    for done in (known, refused):
        shown = done.stdout + done.stderr
        assert done.returncode == 1
        assert "***" in shown
        assert [secret for secret in site.secrets if secret in shown] == []


def test_control_characters_in_a_name_are_escaped(site: Site) -> None:
    site.phpipam.agent["name"] = "a\n✓ b\x1b[2J"

    assert r"knows this scan agent as a\n✓ b\x1b[2J" in "\n".join(lines(site.run("--check")))


def test_an_answer_without_a_date_is_not_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: "some day")

    assert "✓ clock: phpIPAM's answers have no Date header" in site.run("--check").stdout
