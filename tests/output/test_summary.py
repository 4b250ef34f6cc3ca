"""The results of a run on stdout: table, lines and JSON."""

import json
import pty
import re
import sys

import pytest

from phpipam_scan_agent import VERSION, output
from phpipam_scan_agent.models import Outcome, Summary
from phpipam_scan_agent.system import redact

pytestmark = pytest.mark.usefixtures("restored")

SECRET = "s3cret/väl ue+1"

OUTCOMES = [
    Outcome("192.0.2.0/24", 10, up=5, known=3, seconds=2.3456, uploaded=True),
    Outcome("198.51.100.0/24", 11, up=2, seconds=0.04, error="Scan Server at http://h refuses"),
    Outcome("2001:db8::/64", 12, skipped="the Scan Server drops IPv6"),
    Outcome("203.0.113.0/24", 13, up=1, waiting=True),
    Outcome("printers/None", error="id 14 is not a network; correct it in phpIPAM"),
]


def summary(*outcomes: Outcome, problems: tuple[str, ...] = ()) -> Summary:
    return Summary(outcomes, problems)


def summarise(done: Summary, output_format: str | None, dry_run: bool, quiet: bool) -> None:
    """Show the subnets, or JSON."""
    view = "json" if output_format == "json" else "subnets"
    output.show(done, output.Findings(view), True if output_format else False if quiet else None, dry_run)


@pytest.mark.parametrize("output_format", ["json", "table"])
def test_secrets_are_masked_in_the_summary(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    redact.hide((SECRET,))
    done = Outcome(f"{SECRET}/None", error=f"refuses: {SECRET}")
    summarise(summary(done), output_format, dry_run=False, quiet=False)
    shown = capsys.readouterr().out
    assert "***/None" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize("output_format", ["json", "table"])
def test_the_summary_escapes_control_characters(
    output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summarise(summary(Outcome("a\x1b[2J/24", error="b\x9bJ")), output_format, dry_run=False, quiet=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert r"x1b[2J/24" in shown


@pytest.mark.parametrize(
    "name", ["[/red]/24", "[bold]x/24", "[link=http://h]x[/]/24", "2001:db8:a:ab::/64", r"\[x]/24"]
)
def test_the_table_does_not_interpret_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    summarise(summary(Outcome(name, error="no network")), "table", dry_run=False, quiet=False)
    assert name in capsys.readouterr().out


def test_without_a_terminal_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    summarise(summary(*OUTCOMES), None, dry_run=False, quiet=False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    summarise(summary(*OUTCOMES), "json", dry_run=True, quiet=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["version"], shown["dry_run"]) == (VERSION, True)
    assert shown["subnets"][0] == {
        "id": 10,
        "subnet": "192.0.2.0/24",
        "up": 5,
        "known": 3,
        "unknown": 0,
        "new": 2,
        "back": 0,
        "mac_changed": 0,
        "missing": 0,
        "seconds": 2.346,
        "uploaded": True,
        "waiting": False,
        "skipped": None,
        "error": None,
        "hosts": [],
        "silent": [],
        "excluded": [],
    }
    assert [done["error"] for done in shown["subnets"]] == [done.error for done in OUTCOMES]
    assert [done["skipped"] for done in shown["subnets"]] == [done.skipped for done in OUTCOMES]
    assert [done["waiting"] for done in shown["subnets"]] == [done.waiting for done in OUTCOMES]
    assert shown["problems"] == []


def test_other_failures_are_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    problem = "1 reports wait\x1b[2J"
    summarise(summary(problems=(problem,)), "json", dry_run=False, quiet=False)
    assert json.loads(capsys.readouterr().out)["problems"] == [r"1 reports wait\x1b[2J"]


def test_json_without_subnets_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    summarise(summary(), "json", dry_run=False, quiet=False)
    assert json.loads(capsys.readouterr().out)["subnets"] == []


def cells(shown: str) -> list[list[str]]:
    """The rows of the table, without borders."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    rows = [[cell.strip() for cell in re.split("[│┃|]", line)[1:-1]] for line in plain.splitlines()]
    return [row for row in rows if row]


TABLE = [
    ["subnet", "hosts up", "known", "new", "seconds", "uploaded"],
    ["192.0.2.0/24", "5", "3", "2", "2.3", "yes"],
    ["198.51.100.0/24", "2", "0", "2", "0.0", "failed"],
    ["203.0.113.0/24", "1", "0", "1", "0.0", "waiting"],
    ["2001:db8::/64", "", "", "", "", "skipped: the Scan Server drops IPv6"],
]


def test_the_table_has_a_row_for_each_subnet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    summarise(summary(*OUTCOMES[:4]), "table", dry_run=False, quiet=True)
    shown = capsys.readouterr().out
    assert cells(shown) == TABLE
    assert "\x1b" not in shown
    assert "dry run" not in shown


def test_the_table_of_a_dry_run_states_that_nothing_was_uploaded(capsys: pytest.CaptureFixture[str]) -> None:
    summarise(summary(Outcome("192.0.2.0/24", 10, up=1)), "table", dry_run=True, quiet=False)
    shown = capsys.readouterr().out
    assert cells(shown)[1] == ["192.0.2.0/24", "1", "0", "1", "0.0", "no"]
    assert "dry run: nothing was uploaded" in shown


def on_a_terminal(output_format: str | None, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """The output on a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    with (
        open(ours, "rb", buffering=0) as screen,
        open(theirs, "w", encoding="utf-8") as terminal,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "stdout", terminal)
        summarise(summary(*OUTCOMES[:4]), output_format, dry_run=False, quiet=quiet)
        terminal.write("\nend\n")
        terminal.flush()
        shown = b""
        while not shown.endswith(b"\nend\r\n"):
            shown += screen.read(65536)
    return shown.decode().removesuffix("\r\nend\r\n")


def test_a_terminal_gets_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cells(on_a_terminal(None, False, monkeypatch)) == TABLE


def test_a_terminal_gets_nothing_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_terminal(None, True, monkeypatch) == ""


def test_a_terminal_gets_json_if_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(json.loads(on_a_terminal("json", True, monkeypatch))["subnets"]) == 4


@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
@pytest.mark.parametrize("value", ["1" * 5000, "²", "٣", "0", "-1", "99999", ""])
def test_no_size_in_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    summarise(summary(*OUTCOMES), "table", dry_run=False, quiet=False)
    assert "192.0.2.0/24" in capsys.readouterr().out
