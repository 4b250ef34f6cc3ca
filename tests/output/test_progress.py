"""The run on a terminal: a progress bar, then only the table."""

import fcntl
import json
import os
import pty
import re
import struct
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyte
import pytest

from forked import ForkedSite
from phpipam_scan_agent.output import progress
from stand_ins.phpipam import subnet

BAR = "0/2 subnets"
"""The start of the bar before the first result."""

HEADINGS = ["subnet", "hosts up", "known", "new", "seconds", "uploaded"]


@pytest.fixture(autouse=True)
def two_subnets(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/25"), subnet(11, "127.0.21.0/25")]


@dataclass(frozen=True, slots=True)
class Shown:
    """The terminal after a run."""

    status: int
    sent: str
    """The whole output, with escape sequences."""

    lines: tuple[str, ...]
    """The visible lines at the end."""

    cursor_hidden: bool
    stdout: str
    """The content of stdout if stdout was not the terminal."""

    @property
    def rows(self) -> list[list[str]]:
        """The table's."""
        rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in self.lines]
        return [row for row in rows if row]


def everything(terminal: int) -> bytes:
    """Everything written to a terminal until it is closed."""
    sent = b""
    with (
        open(terminal, "rb", buffering=0) as screen,
        suppress(OSError),
    ):  # Linux's error for a closed terminal
        while piece := screen.read(65536):
            sent += piece
    return sent


def on_a_terminal(
    site: ForkedSite, *options: str, columns: int = 80, table: bool = True, **more: str
) -> Shown:
    """Run the agent on a terminal of 200 lines; `table`: stdout is the terminal too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    stdout = site.folder / "stdout"
    screen = Path(os.ttyname(theirs))
    agent = site.start(
        *options,
        stdout=screen if table else stdout,
        stderr=screen,
        environment={"TERM": "xterm-256color"} | more,
    )
    with ThreadPoolExecutor() as reader:
        sent = reader.submit(everything, ours)
        agent.wait()
        os.close(theirs)
    elsewhere = "" if table else stdout.read_text()
    terminal = pyte.Screen(columns, 200)
    pyte.ByteStream(terminal).feed(sent.result())
    lines = "\n".join(line.rstrip() for line in terminal.display).rstrip("\n").split("\n")
    return Shown(agent.wait(), sent.result().decode(), tuple(lines), terminal.cursor.hidden, elsewhere)


def test_the_bar_is_gone_before_the_table(site: ForkedSite) -> None:
    shown = on_a_terminal(site)

    assert shown.status == 0
    assert shown.sent.index(BAR) < shown.sent.rindex("2/2 subnets") < shown.sent.index("┏")
    assert re.search(r"100 %.*252 hosts up", shown.sent)
    assert not any("2/2 subnets" in line for line in shown.lines)
    assert shown.lines[0].startswith("┏")
    assert shown.rows[0] == HEADINGS
    assert [[row[0], *row[1:4], row[5]] for row in shown.rows[1:]] == [
        ["127.0.20.0/25", "126", "0", "126", "yes"],
        ["127.0.21.0/25", "126", "0", "126", "yes"],
    ]
    assert not shown.cursor_hidden


def test_a_failed_run_restores_the_cursor_and_removes_the_bar(site: ForkedSite) -> None:
    nmap = site.folder / "bin" / "nmap"
    nmap.parent.mkdir()
    nmap.write_text(
        "#!/bin/sh\ncase $* in *-V*) echo 'Nmap version 7.93 ( https://nmap.org )';; *) exit 3;; esac\n"
    )
    nmap.chmod(0o755)
    shown = on_a_terminal(site, PATH=f"{nmap.parent}:{os.environ['PATH']}")

    assert shown.status == 1
    assert BAR in shown.sent
    assert not any(line.startswith(("0/2", "1/2", "2/2")) for line in shown.lines)
    assert not shown.cursor_hidden
    assert [row[5] for row in shown.rows[1:]] == ["failed", "failed"]


def test_quiet_shows_nothing(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "-q")

    assert (shown.status, shown.sent) == (0, "")


def test_quiet_shows_a_requested_table_without_the_bar(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "-q", "--format", "table")

    assert "subnets " not in shown.sent
    assert shown.rows[0] == HEADINGS


def test_a_dry_run_states_that_nothing_was_uploaded(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "--dry-run")

    assert [line.split()[:2] for line in shown.lines[:2]] == [
        ["127.0.20.0/25:", "126"],
        ["127.0.20.1-126", "new"],
    ]
    assert shown.lines[-1] == "dry run: nothing was uploaded"
    assert site.scan_server.reports == []


def test_without_a_terminal_there_is_no_bar(site: ForkedSite) -> None:
    done = site.run("--format", "table", FORCE_COLOR="1", TERM="xterm-256color")

    assert done.stderr == ""
    assert "2/2 subnets" not in done.stdout
    assert "┏" in done.stdout


def test_json_goes_into_a_file_while_the_bar_is_on_the_terminal(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "--format", "json", table=False)

    assert BAR in shown.sent
    assert shown.lines == ("",)
    assert [row["up"] for row in json.loads(shown.stdout)["subnets"]] == [126, 126]


def test_nothing_is_printed_to_a_stdout_without_a_terminal(site: ForkedSite) -> None:
    shown = on_a_terminal(site, table=False)

    assert (shown.status, shown.stdout, shown.lines) == (0, "", ("",))


@pytest.mark.parametrize("columns", [250, 60])
def test_messages_stay_whole_lines_above_the_bar(site: ForkedSite, columns: int) -> None:
    shown = on_a_terminal(site, "-v", columns=columns)
    plain = re.sub(r"\x1b\[\d*[A-K]|\r\n", "\n", re.sub(r"\x1b\[([0-9;]*m|\?25l)", "", shown.sent))
    prefix = "phpipam-scan-agent: info: subnet 127.0.20.0/25: "

    for line in ("126 hosts up after", "report uploaded ("):
        (whole,) = [each for each in plain.splitlines() if each.startswith(prefix + line)]
        assert re.search(r"( s|\d bytes\))$", whole)
    assert [line for line in shown.lines if "/2 subnets" in line] == []


def test_json_messages_stay_valid_above_the_bar(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "-v", "--log-format", "json", columns=400)
    events = [json.loads(line) for line in shown.lines if line.startswith("{")]

    assert sorted(event["subnet"] for event in events if "bytes" in event) == [
        "127.0.20.0/25",
        "127.0.21.0/25",
    ]


def test_colours_on_a_terminal(site: ForkedSite) -> None:
    site.scan_server.token = "another"

    assert "\x1b[33mwaiting" in on_a_terminal(site, columns=300).sent


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_no_color_removes_colours(site: ForkedSite, options: tuple[str, ...]) -> None:
    site.scan_server.token = "another"
    shown = on_a_terminal(site, *options, columns=300, NO_COLOR="1")

    assert "waiting" in shown.sent
    assert not re.search(r"\x1b\[(\d+;)*[349]\d", shown.sent)


def test_a_check_marks_in_colour(site: ForkedSite) -> None:
    assert "\x1b[32m✓" in on_a_terminal(site, "--check").sent


def test_lines_of_a_check_are_not_wrapped_on_a_narrow_terminal(site: ForkedSite) -> None:
    shown = on_a_terminal(site, "--check", columns=40)

    assert f"✓ configuration: {site.config_file} (mode 0600)\n" in re.sub(
        r"\x1b\[[0-9;]*m|\r", "", shown.sent
    )


@pytest.mark.parametrize("columns", [40, 20])
def test_the_bar_fits_a_narrow_terminal(site: ForkedSite, columns: int) -> None:
    shown = on_a_terminal(site, columns=columns)

    assert shown.status == 0
    assert shown.sent.count("0/2 s") >= 1
    assert not any(line.startswith(("0/2", "1/2", "2/2")) for line in shown.lines)
    assert shown.lines[0].startswith("127.0.2")


def test_a_narrow_terminal_shows_a_line_per_subnet(site: ForkedSite) -> None:
    shown = on_a_terminal(site, columns=40)

    for network in ("127.0.20.0/25", "127.0.21.0/25"):
        assert f"{network}: 126 up, 0 known, 126 new, uploaded: yes\r\n" in shown.sent


def test_a_dumb_terminal_gets_no_escape_sequences(site: ForkedSite) -> None:
    shown = on_a_terminal(site, TERM="dumb")

    assert "\x1b" not in shown.sent
    assert shown.lines[0].startswith("┏")


def test_the_log_file_has_no_escape_sequences(site: ForkedSite, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    on_a_terminal(site, "-v", "--log-file", str(log))

    assert "\x1b" not in log.read_text()
    assert "subnets " not in log.read_text()


def test_questions_are_counted_until_phpipam_has_answered_all() -> None:
    answered = 312
    questions = progress._Questions(lambda: answered, 1003)
    assert str(questions.__rich__()) == "asking phpIPAM: 312 of 1,003 subnets "
    answered = 1003
    assert str(questions.__rich__()) == ""
