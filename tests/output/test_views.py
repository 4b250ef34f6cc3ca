"""The views of `--show`, printed and as JSON."""

import json
import re
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.markup import render

from clock import Clock
from phpipam_scan_agent import output
from phpipam_scan_agent.delivery.outcomes import Outcomes, Upload
from phpipam_scan_agent.models import Address, Host, Outcome, ScanResult, Subnet, Summary
from phpipam_scan_agent.output import changes, hosts
from phpipam_scan_agent.output.shown_changes import first_shown

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HOUR_AGO, DAYS_AGO = datetime(2026, 11, 24, 11), datetime(2026, 11, 21)

SCHEMA = json.loads((Path(__file__).parents[2] / "src/packaging/summary.schema.json").read_text())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which the shown changes are kept."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))


def address(last: int, **fields: Any) -> Address:
    return Address(100 + last, ip_address(f"192.0.2.{last}"), **fields)


KNOWN = (
    address(1, hostname="gw.example.org", mac="AA:BB:CC:DD:EE:01", last_seen=HOUR_AGO),
    address(2, hostname="web01.dmz.example.org", last_seen=DAYS_AGO),
    address(3, hostname="db", mac="AA:BB:CC:DD:EE:03", last_seen=HOUR_AGO),
    address(4),
    address(9, hostname="mail", last_seen=HOUR_AGO),
    address(10, hostname="old", last_seen=DAYS_AGO),
    address(11, exclude_ping=True, last_seen=HOUR_AGO),
)


def host(last: int, **fields: Any) -> Host:
    known = {each.ip: each for each in KNOWN}
    ip = ip_address(f"192.0.2.{last}")
    return Host(ip, **{"reason": "arp-response", "address": known.get(ip), **fields})


HOSTS = (
    host(1, mac="AA:BB:CC:DD:EE:01", vendor="Cisco Systems"),
    host(2, mac="AA:BB:CC:DD:EE:02", vendor="Hewlett Packard Enterprise"),
    host(3, mac="00:11:22:33:44:55", vendor="Acme"),
    host(4, reason="echo-reply"),
    host(77, mac="AA:BB:CC:DD:EE:77", name="printer.example.net", vendor="Brother"),
    *(host(last, reason="reset") for last in range(100, 180)),
)


def result(*hosts: Host, silent: tuple[Address, ...] = (KNOWN[4], KNOWN[5]), **fields: Any) -> ScanResult:
    subnet = Subnet(10, ip_network("192.0.2.0/24"), discover=True, addresses=KNOWN)
    return ScanResult(subnet, hosts, NOON, 2.3, probed=254, silent=silent, **fields)


def shown(
    view: str, capsys: pytest.CaptureFixture[str], *results: ScanResult, more: tuple[Outcome, ...] = ()
) -> str:
    """The printed view of these results, without a terminal."""
    findings, outcomes = output.Findings(view), Outcomes()
    for at, each in enumerate(results):
        findings.add(each)
        outcomes.expect(each, [Upload(str(at), 1)])
        outcomes.settle(Upload(str(at), 1, uploaded=True))
    output.show(Summary((*outcomes.finished(), *more)), findings, True, False)
    return capsys.readouterr().out


def without_addresses() -> ScanResult:
    """The result where phpIPAM did not give the addresses."""
    subnet = result().subnet._replace(addresses=(), addresses_error="HTTP 500")
    return result(*(each._replace(address=None) for each in HOSTS), silent=())._replace(subnet=subnet)


def test_equal_neighbouring_hosts_share_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = Outcome("198.51.100.0/24", 12, skipped="IPv6 is off")
    assert shown("hosts", capsys, result(*reversed(HOSTS)), more=(skipped,)).splitlines() == [
        "192.0.2.0/24: 85 up, 81 new, 2 back",
        "  192.0.2.1       known ARP     AA:BB:CC:DD:EE:01 gw.example.org        Cisco Systems",
        "  192.0.2.2       back  ARP     AA:BB:CC:DD:EE:02 web01.dmz.example.org Hewlett Packard Enterprise",
        "  192.0.2.3       known ARP     00:11:22:33:44:55 db                    Acme",
        "  192.0.2.4       back  ping",
        "  192.0.2.77      new   ARP     AA:BB:CC:DD:EE:77 printer.example.net   Brother",
        "  192.0.2.100-179 new   TCP RST",
        "198.51.100.0/24: skipped: IPv6 is off",
    ]


def test_a_row_fits_80_columns_by_shortening_the_vendor() -> None:
    findings, done = output.Findings("hosts"), Outcome("192.0.2.0/24", 10, up=5)
    findings.add(result(*HOSTS[:5]))
    terminal = Console(width=80, force_terminal=True)
    lines = [render(line).plain for line in hosts.lines(done, findings.of(10), terminal)]
    assert lines[2] == "  192.0.2.2  back  ARP  AA:BB:CC:DD:EE:02 web01.dmz.example.org Hewlett Packard…"
    assert max(map(cell_len, lines)) <= 80


def test_only_differences_from_phpipam_are_changes_and_mac_addresses_come_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown("changes", capsys, result(*HOSTS)).splitlines() == [
        "another MAC address: 1",
        "  192.0.2.3 192.0.2.0/24 db AA:BB:CC:DD:EE:03 in phpIPAM, now 00:11:22:33:44:55 (Acme)",
        "new: 81",
        "  192.0.2.77      192.0.2.0/24 printer.example.net AA:BB:CC:DD:EE:77 (Brother)",
        "  192.0.2.100-179 192.0.2.0/24",
        "back: 2",
        "  192.0.2.2 192.0.2.0/24 web01.dmz.example.org last seen 2026-11-21 00:00:00",
        "  192.0.2.4 192.0.2.0/24                       never seen before",
        "silent: 1",
        "  192.0.2.9 192.0.2.0/24 mail last seen 2026-11-24 11:00:00",
    ]


def test_without_changes_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("changes", capsys, result(HOSTS[0], silent=(KNOWN[5],))) == ""


def test_a_lasting_change_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert "new: 1" in shown("changes", capsys, result(host(77), silent=()))
    assert shown("changes", capsys, result(host(77), silent=())) == ""
    both = shown("changes", capsys, result(host(77), host(3, mac="00:11:22:33:44:55"), silent=(KNOWN[4],)))
    assert [line for line in both.splitlines() if line[0] != " "] == ["another MAC address: 1", "silent: 1"]
    # A failed part does not end the changes that were shown.
    assert shown("changes", capsys, result(silent=(), error="nmap failed")) == ""
    assert shown("changes", capsys, result(host(77), silent=(KNOWN[4],))) == ""
    assert shown("changes", capsys, result(silent=())) == ""
    assert "new: 1\n" in shown("changes", capsys, result(host(77), silent=()))


def test_without_phpipams_addresses_no_change_is_printed_or_forgotten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "new: 1" in shown("changes", capsys, result(host(77), silent=()))
    assert shown("changes", capsys, without_addresses()) == ""
    assert shown("changes", capsys, result(host(77), silent=())) == ""


def test_a_change_is_printed_again_after_a_day_or_with_a_damaged_file(tmp_path: Path, clock: Clock) -> None:
    def printed() -> list[str]:
        findings = output.Findings("changes")
        findings.add(result(host(77), silent=()))
        with first_shown(tmp_path / "changes.json", changes.of(findings), {10}, clock()) as shown:
            return [change.kind for change in shown]

    assert (printed(), printed()) == (["new"], [])
    clock.now += 86401
    assert (printed(), printed()) == (["new"], [])
    for damage in (b"", b"[]", b'{"format": 1, "shown": {"new 10 192.0.2.77 ": 3}}', b"\xff"):
        (tmp_path / "changes.json").write_bytes(damage)
        assert (printed(), printed()) == (["new"], [])


def test_a_map_has_a_character_for_each_address(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown("map", capsys, result(*HOSTS, error="nmap failed", silent=(KNOWN[4],))).splitlines()
    assert lines[:3] == [
        "192.0.2.0/24: 85 up, 81 new, failed",
        "192.0.2.0       .####....-?x....................................................",
        "192.0.2.64      .............+......................++++++++++++++++++++++++++++",
    ]
    assert len(lines) == 6
    assert {len(line) for line in lines[1:5]} == {80}
    assert lines[5] == "# up, known   + up, new   * up   - silent   x excluded   ? not probed   . free"


def test_without_phpipams_addresses_no_host_is_known_or_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    up, *rows = shown("hosts", capsys, without_addresses()).splitlines()
    assert up == "192.0.2.0/24: 85 up, 0 new, 0 back, 85 unknown, failed"
    assert {row.split()[1] for row in rows} == {"unknown"}
    up, first, *_ = shown("map", capsys, without_addresses()).splitlines()
    assert up == "192.0.2.0/24: 85 up, 0 new, 85 unknown, failed"
    assert first == "192.0.2.0       .****..........................................................."
    (row,) = [line for line in shown("subnets", capsys, without_addresses()).splitlines() if "/24" in line]
    assert re.findall(r"[0-9?]+", row.partition("/24")[2])[:3] == ["85", "?", "?"]
    document = json.loads(shown("json", capsys, without_addresses()))
    jsonschema.validate(document, SCHEMA)
    (subnet,) = document["subnets"]
    assert [subnet[key] for key in ("up", "known", "new", "unknown")] == [85, 0, 0, 85]
    assert {each["status"] for each in subnet["hosts"]} == {"unknown"}


@pytest.mark.parametrize(
    ("network", "lines"),
    [
        ("10.0.0.0/20", 64),
        ("10.0.0.0/19", 0),
        ("10.0.0.7/32", 1),
        ("2001:db8::/116", 64),
        ("2001:db8::/64", 0),
    ],
)
def test_a_map_is_limited_to_a_20(network: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    subnet = Subnet(10, ip_network(network), discover=True)
    printed = shown("map", capsys, ScanResult(subnet, (Host(subnet.network[0]),), NOON, 1.0)).splitlines()
    assert len(printed) == 1 + lines + 1
    assert all(len(line) <= 80 for line in printed)
    assert ("too large to be drawn" in printed[0]) == (not lines)


def test_json_has_every_host_and_change_and_fits_its_schema(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = Outcome("printers/None", error="id 14 is not a network")
    document = json.loads(shown("json", capsys, result(*HOSTS), more=(failed,)))
    jsonschema.validate(document, SCHEMA)
    (subnet, _) = document["subnets"]
    counts = {key: subnet[key] for key in ("up", "known", "new", "back", "mac_changed", "missing")}
    assert counts == {"up": 85, "known": 4, "new": 81, "back": 2, "mac_changed": 1, "missing": 1}
    assert len(subnet["hosts"]) == 85
    assert subnet["hosts"][2] == {
        "ip": "192.0.2.3",
        "status": "known",
        "name": "db",
        "mac": "00:11:22:33:44:55",
        "vendor": "Acme",
        "reason": "arp-response",
        "id": 103,
        "phpipam_mac": "AA:BB:CC:DD:EE:03",
        "mac_changed": True,
        "last_seen": "2026-11-24 11:00:00",
    }
    assert [(each["ip"], each["missing"]) for each in subnet["silent"]] == [
        ("192.0.2.9", True),
        ("192.0.2.10", False),
    ]
    assert subnet["excluded"] == ["192.0.2.11"]


@pytest.mark.parametrize("view", ["hosts", "changes", "json"])
def test_untrusted_names_stay_in_one_line_and_column(view: str, capsys: pytest.CaptureFixture[str]) -> None:
    wild = "a\x1b[2J\n[red]\u202e漢字"
    odd = Address(101, ip_address("192.0.2.5"), hostname=wild)
    rtl = Address(102, ip_address("192.0.2.6"), hostname="מדפסת")
    hosts = [
        Host(each.ip, reason="\x1b[1m", address=each, mac="AA:BB:CC:DD:EE:05", vendor="v\x07")
        for each in (odd, rtl)
    ]
    printed = shown(view, capsys, result(*hosts, silent=()))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", printed)
    if view == "hosts":
        _, first, second = printed.splitlines()
        assert r"a\x1b[2J\n[red]\u202e漢字 v\x07" in first
        # A mark without width keeps the following columns in order.
        assert "מדפסת\u200e " in second


def test_only_the_requested_views_are_kept() -> None:
    """The hosts of a /16 would take 20 MiB."""
    for view, kept in (("subnets", 0), ("changes", 84), ("hosts", 85)):
        findings = output.Findings(view)
        findings.add(result(*HOSTS))
        assert sum(len(each.hosts) for each in findings) == kept
