"""The systemd unit and timer: checked and run by systemd."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import network
from lab.network import Hosts, Namespace
from phpipam_scan_agent import NAME
from stand_ins.phpipam import subnet
from stand_ins.site import COMMAND

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "examples" / "systemd"
SERVICE = UNITS / f"{NAME}.service"
TIMER = UNITS / f"{NAME}.timer"


def analyze(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_systemd_accepts_the_units_and_finds_their_man_page(tmp_path: Path) -> None:
    installed = SERVICE.read_text().replace(f"/usr/local/bin/{NAME}", COMMAND)
    assert installed != SERVICE.read_text()
    (tmp_path / SERVICE.name).write_text(installed)
    shutil.copy(TIMER, tmp_path)
    done = analyze(
        "verify", tmp_path / SERVICE.name, tmp_path / TIMER.name, MANPATH=str(ROOT / "src" / "packaging")
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_units_exposure_level_is_at_most_1_5() -> None:
    done = analyze("security", "--offline=yes", "--threshold=15", SERVICE)
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout


def test_the_timer_starts_the_service_four_times_an_hour() -> None:
    lines = TIMER.read_text().splitlines()
    (calendar,) = [line.removeprefix("OnCalendar=") for line in lines if line.startswith("OnCalendar=")]
    done = analyze("calendar", "--iterations=5", "--base-time=2026-11-24 12:00:01 UTC", calendar, TZ="UTC")
    assert [
        hour for hour in ("12:15:00", "12:30:00", "12:45:00", "13:00:00") if hour not in done.stdout
    ] == []
    assert not any(line.startswith("Unit=") for line in lines)
    assert TIMER.stem == SERVICE.stem


def run_unit(scanner: Namespace, *options: str, **site: object) -> dict[str, Any]:
    """Run the agent by its unit, with booted.py's options, in a namespace."""
    lab = ROOT / "tests" / "support" / "lab"
    done = scanner.run(
        [sys.executable, str(lab / "inside.py")],
        input=json.dumps({"prefix": [sys.executable, str(lab / "booted.py"), *options], **site}),
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'support'}:{ROOT / 'examples'}"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_unit_finds_hosts_and_their_mac_addresses() -> None:
    """By raw sockets, the only right of its user; without it, or with too many restrictions, it warns."""
    network.require()
    here, there = ["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.10/24", "2001:db8::10/64"]
    with Namespace() as scanner, Hosts(scanner, there, here) as hosts:
        done = run_unit(
            scanner,
            subnets=[subnet(10, "192.0.2.0/28"), subnet(11, "2001:db8::/120")],
            settings={"ipv6": True},
        )
        own = json.loads(scanner.ip("-j", "link", "show", hosts.device))[0]["address"].upper()
        macs = {"192.0.2.1": own, "192.0.2.10": hosts.mac, "2001:db8::1": own, "2001:db8::10": hosts.mac}

    assert (done["status"], done["stderr"]) == (0, ""), done["stderr"]
    rows = [row for report in done["reports"] for row in report["results"]]
    assert {row["ip"]: row.get("mac") for row in rows} == macs


@pytest.mark.parametrize("options", [("--secrets",), ("--lxc", "--drop-in")])
def test_the_units_variants_find_hosts_too(options: tuple[str, ...], lab: None) -> None:
    """With secrets in separate files; and without credentials, as in LXC containers."""
    with Namespace() as scanner, Hosts(scanner, ["192.0.2.10/24"], ["192.0.2.1/24"]) as hosts:
        done = run_unit(scanner, *options, subnets=[subnet(10, "192.0.2.8/30")])
        mac = hosts.mac

    assert (done["status"], done["stderr"]) == (0, ""), done["stderr"]
    (row,) = done["reports"][0]["results"]
    assert (row["ip"], row["mac"]) == ("192.0.2.10", mac)


def test_a_unit_without_credentials_names_the_cause(lab: None) -> None:
    with Namespace() as scanner:
        done = run_unit(scanner, "--lxc", subnets=[])

    assert (done["status"], done["reports"]) == (2, [])
    (line,) = done["stderr"].splitlines()
    assert line == (
        "phpipam-scan-agent: error: /etc/phpipam/scan_agent.yaml: cannot be read: Permission denied;"
        " LoadCredential= has no effect here, as in LXC containers: add examples/systemd/lxc.conf to the unit"
    )
