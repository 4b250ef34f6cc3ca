import json
import logging
import os
import pty
import re
import stat
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from phpipam_scan_agent import NAME, VERSION, config, output
from phpipam_scan_agent.errors import ConfigError, PhpIpamError, UsageError
from phpipam_scan_agent.models import Outcome, Summary
from phpipam_scan_agent.system import redact

SECRET = "s3cret/väl ue+1"

OUTCOMES = [
    Outcome("192.0.2.0/24", 10, up=5, known=3, seconds=2.3456, uploaded=True),
    Outcome("198.51.100.0/24", 11, up=2, seconds=0.04, error="Scan Server at http://h refuses"),
    Outcome("2001:db8::/64", 12, skipped="the Scan Server drops IPv6"),
    Outcome("203.0.113.0/24", 13, up=1, waiting=True),
    Outcome("printers/None", error="id 14 is not a network; correct it in phpIPAM"),
]

log = logging.getLogger("phpipam_scan_agent.some_module")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the process's logging and masking."""
    ours, every = logging.getLogger("phpipam_scan_agent"), logging.getLogger()
    before = (ours.handlers, ours.level, ours.propagate, logging.raiseExceptions)
    yield
    for handler in ours.handlers:
        handler.close()
    ours.handlers, ours.propagate, logging.raiseExceptions = before[0], before[2], before[3]
    ours.setLevel(before[1])
    for handler in [handler for handler in every.handlers if isinstance(handler, logging.NullHandler)]:
        every.removeHandler(handler)
    redact.hide(())


def summary(*outcomes: Outcome, problems: tuple[str, ...] = ()) -> Summary:
    return Summary(outcomes, problems)


def summarise(done: Summary, output_format: str | None, dry_run: bool, quiet: bool) -> None:
    """Show the subnets, or JSON."""
    view = "json" if output_format == "json" else "subnets"
    output.show(done, output.Findings(view), True if output_format else False if quiet else None, dry_run)


def say_everything() -> None:
    log.debug("a detail")
    log.info("a step")
    log.warning("a warning")
    log.error("an error")


# Messages


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (-1, ["error: an error"]),
        (0, ["warning: a warning", "error: an error"]),
        (1, ["info: a step", "warning: a warning", "error: an error"]),
        (2, ["debug: a detail", "info: a step", "warning: a warning", "error: an error"]),
        (3, ["debug: a detail", "info: a step", "warning: a warning", "error: an error"]),
    ],
)
def test_stderr_shows_the_requested_levels_and_stdout_nothing(
    verbosity: int, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output.start_logging(verbosity, "text", None)
    say_everything()
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"{NAME}: {line}" for line in shown]
    assert printed.out == ""


def test_a_json_line_has_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    output.start_logging(1, "json", None)
    log.info("büro: %d hosts\n", 5)
    (line,) = capsys.readouterr().err.splitlines()
    made = json.loads(line)
    assert made == {"time": made["time"], "level": "info", "event": r"büro: 5 hosts\n"}
    assert datetime.fromisoformat(made["time"]).utcoffset() == timedelta(0)


def test_a_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.start_logging(-1, "text", None)
    output.failed(PhpIpamError("phpIPAM refuses"))
    assert capsys.readouterr().err == f"{NAME}: error: phpIPAM refuses\n"


def test_every_configuration_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.start_logging(-1, "text", None)
    output.failed(ConfigError(Path("a.yaml"), ["api_url: missing", "http_port: wrong"]))
    assert capsys.readouterr().err.splitlines() == [
        f"{NAME}: error: a.yaml: api_url: missing",
        f"{NAME}: error: a.yaml: http_port: wrong",
    ]


def test_a_line_break_in_a_key_of_the_configuration_makes_no_second_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output.start_logging(-1, "text", None)
    path = configs.write(tmp_path, configs.text() + '  "a\\nb": x\n')
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    output.failed(refused.value)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(rf"{NAME}: error: {path}: a\nb: unknown key")


@pytest.mark.parametrize("library", ["urllib3.connectionpool", "asyncio", "dns"])
def test_libraries_stay_silent(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as process:
        process.setattr(
            logging.getLogger(), "handlers", []
        )  # pytest's handler, which would catch the message
        output.start_logging(2, "text", None)
        logging.getLogger(library).error("GET /?filter_value=%s", SECRET)
    assert capsys.readouterr().err == ""


# Secrets


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked_in_text_urls_and_json(
    log_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(2, log_format, file)
    redact.hide((SECRET, "short-one"))
    in_urls = ("s3cret/v%C3%A4l%20ue%2B1", "s3cret%2Fv%C3%A4l%20ue%2B1", "s3cret%2Fv%C3%A4l+ue%2B1")
    forms = (SECRET, *in_urls, r"s3cret/v\u00e4l ue+1", "short-one")
    for form in forms:
        log.error("phpIPAM says: %s.", form)
        output.failed(f"phpIPAM says: {form}.")
    for shown in (capsys.readouterr().err, file.read_text()):
        assert shown.count("phpIPAM says: ***.") == 2 * len(forms)
        assert [form for form in forms if form in shown] == []


def test_a_secret_within_another_is_masked_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.start_logging(0, "text", None)
    redact.hide(("token", "token-and-more"))
    log.error("token-and-more token")
    assert capsys.readouterr().err == f"{NAME}: error: *** ***\n"


def test_without_secrets_nothing_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    output.start_logging(0, "text", None)
    redact.hide(("", "token"))
    redact.hide(())
    log.error("a token")
    assert capsys.readouterr().err == f"{NAME}: error: a token\n"


@pytest.mark.parametrize("output_format", ["json", "table"])
def test_secrets_are_masked_in_the_summary(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    redact.hide((SECRET,))
    done = Outcome(f"{SECRET}/None", error=f"refuses: {SECRET}")
    summarise(summary(done), output_format, dry_run=False, quiet=False)
    shown = capsys.readouterr().out
    assert "***/None" in shown
    assert "s3cret" not in shown


# Untrusted text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\0\x07\x08\x7fb", r"a\x00\x07\x08\x7fb"),
        ("a\x9b2Jb", r"a\x9b2Jb"),
        ("a\u2028b", r"a\u2028b"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("büro 🖨 ünï", "büro 🖨 ünï"),
        ("100 % %s %d", "100 % %s %d"),
    ],
)
def test_control_characters_are_escaped(
    said: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(0, "text", file)
    log.error("%s", said)
    assert capsys.readouterr().err == f"{NAME}: error: {shown}\n"
    assert file.read_text(encoding="utf-8").endswith(f" ERROR   {shown}\n")


@given(said=st.text())
def test_safe_text_is_one_printable_line(said: str) -> None:
    shown = redact.safe(said)
    assert len(f"{shown}.".splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)


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


# The log file


def test_each_step_is_in_the_log_file_with_its_time_but_not_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(0, "text", file)
    say_everything()
    lines = [line.split(" ", 1) for line in file.read_text().splitlines()]
    assert [rest for _, rest in lines] == ["INFO    a step", "WARNING a warning", "ERROR   an error"]
    assert all(datetime.fromisoformat(time).tzinfo for time, _ in lines)
    assert "a step" not in capsys.readouterr().err


def test_a_quiet_run_logs_its_steps(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(-1, "text", file)
    say_everything()
    assert len(file.read_text().splitlines()) == 3


def test_the_log_file_has_debug_lines_if_requested(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(2, "json", file)
    say_everything()
    events = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert events == ["a detail", "a step", "a warning", "an error"]


def test_a_new_log_file_is_private_to_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    old = os.umask(0)
    try:
        output.start_logging(0, "text", file)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_existing_log_file_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    file.write_text("before\n")
    file.chmod(0o640)
    output.start_logging(0, "text", file)
    log.error("after")
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["before", "after"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640  # set by logrotate or the administrator


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("no-folder/agent.log", "No such file or directory"),
        ("", "Is a directory"),
        ("file/agent.log", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_log_file_that_cannot_be_written_is_refused(place: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as refused:
        output.start_logging(0, "text", tmp_path / place)
    assert str(refused.value) == f"log file {tmp_path / place} cannot be written: {why}"
    assert refused.value.exit_code == 2


def test_undecodable_bytes_can_be_logged(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    output.start_logging(-1, "text", file)
    log.info("a\udcffb")
    assert file.read_text().endswith("a\\udcffb\n")


# The summary


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
