from ipaddress import ip_network
from pathlib import Path

import pytest

from phpipam_scan_agent import NAME, VERSION, arguments
from phpipam_scan_agent.arguments import Options


def test_no_arguments_give_the_defaults() -> None:
    assert arguments.parse([]) == Options(
        config=Path("/etc/phpipam/scan_agent.yaml"),
        check=False,
        dry_run=False,
        only=(),
        refresh=False,
        format=None,
        show=None,
        log_file=None,
        log_format="text",
        verbosity=0,
    )


def test_every_flag_is_read() -> None:
    given = "--config a.yaml --dry-run --subnet 192.0.2.0/24 --subnet 2001:db8::/64 --refresh"
    given += " --format json --show changes --log-file a.log --log-format json -vv"
    assert arguments.parse(given.split()) == Options(
        config=Path("a.yaml"),
        check=False,
        dry_run=True,
        only=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")),
        refresh=True,
        format="json",
        show="changes",
        log_file=Path("a.log"),
        log_format="json",
        verbosity=2,
    )


@pytest.mark.parametrize(
    ("flags", "verbosity"), [("-q", -1), ("--quiet", -1), ("-v", 1), ("--verbose", 1), ("-v -v -v", 3)]
)
def test_verbosity(flags: str, verbosity: int) -> None:
    assert arguments.parse(flags.split()).verbosity == verbosity


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--subnet 192.0.2.1/24", "192.0.2.1/24 has host bits set; write it like 192.0.2.0/24"),
        ("--subnet printers", "write it like 192.0.2.0/24"),
        ("--subnet 192.0.2.0/33", "write it like 192.0.2.0/24"),
        ("--format xml", "invalid choice: 'xml'"),
        ("--show everything", "invalid choice: 'everything'"),
        ("--log-format syslog", "invalid choice: 'syslog'"),
        ("-q -v", "not allowed with argument"),
        ("--conf a.yaml", "unrecognized arguments: --conf a.yaml"),
        ("--insecure", "unrecognized arguments: --insecure"),
        ("scan", "unrecognized arguments: scan"),
        ("--config", "expected one argument"),
    ],
)
def test_a_wrong_argument_exits_with_2_and_a_reason(
    flags: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(flags.split())
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert not printed.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{NAME} {VERSION}\n"


def test_help_names_the_flags_the_default_file_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    flags = [
        "config",
        "dry-run",
        "subnet",
        "refresh",
        "format",
        "show",
        "log-file",
        "log-format",
        "verbose",
        "quiet",
        "version",
    ]
    assert [flag for flag in flags if f"--{flag}" not in shown] == []
    assert "/etc/phpipam/scan_agent.yaml" in shown
    assert "exit codes: 0 no error; 1 the run ended, but a part of it failed" in shown


def test_no_flag_takes_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """The process list shows arguments to all users."""
    for flag in ("--auth-token", "--client-token", "--scanagent-code"):
        with pytest.raises(SystemExit):
            arguments.parse([flag, "x"])
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["--dry-run", "--refresh", "--subnet=192.0.2.0/24", "--show=hosts"])
def test_check_refuses_options_about_a_scan(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments.parse(["--check"]).check
    with pytest.raises(SystemExit) as refused:
        arguments.parse(["--check", other])
    assert refused.value.code == 2
    assert "--check scans nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "view", "wanted"),
    [
        ("", "subnets", None),
        ("--dry-run", "hosts", None),
        ("--dry-run --show subnets", "subnets", True),
        ("--show map", "map", True),
        ("--show changes -q", "changes", True),
        ("--format table", "subnets", True),
        ("--dry-run --format table", "hosts", True),
        ("--show hosts --format json", "json", True),
        ("-q", "subnets", False),
    ],
)
def test_the_view_and_whether_it_needs_a_terminal(flags: str, view: str, wanted: bool | None) -> None:
    options = arguments.parse(flags.split())
    assert (options.view, options.wanted) == (view, wanted)
