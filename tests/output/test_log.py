"""Log messages on stderr and in the log file: levels, forms, masked secrets, escaped characters."""

import json
import logging
import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import configs
from phpipam_scan_agent import NAME, config, output
from phpipam_scan_agent.errors import ConfigError, PhpIpamError, UsageError
from phpipam_scan_agent.system import redact

pytestmark = pytest.mark.usefixtures("restored")

SECRET = "s3cret/väl ue+1"

log = logging.getLogger("phpipam_scan_agent.some_module")


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
