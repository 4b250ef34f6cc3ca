"""The command under cron, also on restricted machines: it works, or names the restriction in one line."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable

import pytest

from stand_ins.phpipam import subnet
from stand_ins.site import Site

CRON = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root"}
OURS = ("CACHE_DIRECTORY", "STATE_DIRECTORY", "SSL_CERT_FILE")
"""Variables of the test's folders, which a crontab does not have."""


@pytest.fixture(autouse=True)
def subnets(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]


def run(
    site: Site, *arguments: str, prepare: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the agent like cron, without HOME and LANG, in a shell that first runs `prepare`."""
    given = CRON | {name: site.environment[name] for name in OURS} | environment
    return subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-ec", f'{prepare}\nexec "$@"', "sh", *site.command(*arguments)],
        env=given,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def reported(site: Site) -> int:
    return len(site.scan_server.reports)


def test_a_good_run_is_silent(site: Site) -> None:
    done = run(site)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert reported(site) == 2


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("stdout", "code", "said"),
    [
        (
            full_disk,
            1,
            ": error: stdout cannot be written (No space left on device); check its file or device",
        ),
        (closed_pipe, 0, ""),
    ],
)
def test_changes_that_could_not_be_printed_are_printed_by_the_next_run(
    site: Site, stdout: Callable[[], int], code: int, said: str
) -> None:
    with open(stdout(), "wb") as file:
        command = site.command("--show", "changes")
        done = subprocess.run(
            command, env=site.environment, stdout=file, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (code, f"phpipam-scan-agent{said}\n" if said else "")
    assert run(site, "--show", "changes").stdout.startswith("new: 4\n")
    assert run(site, "--show", "changes").stdout == ""


@pytest.mark.parametrize("stream", [full_disk, closed_pipe])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("-v",), 0), (("--check",), 0), (("--subnet", "10.0.0.0/8"), 1), (("--bogus",), 2)],
)
def test_the_exit_code_does_not_depend_on_stderr(
    site: Site, arguments: tuple[str, ...], code: int, stream: Callable[[], int]
) -> None:
    with open(stream(), "wb") as file:
        command = site.command(*arguments)
        done = subprocess.run(
            command, env=site.environment, stdout=subprocess.DEVNULL, stderr=file, check=False
        )
    assert done.returncode == code


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1"])
def test_any_locale_works_with_any_name(site: Site, locale: str) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30", description="Büro ☃")]
    site.phpipam.agent["name"] = "Außenstelle ☃"
    done = run(site, "--check", LC_ALL=locale)
    assert (done.returncode, done.stderr) == (0, "")


def test_nmap_is_found_outside_crons_path(site: Site) -> None:
    """An nmap in /usr/local/bin, as built from source."""
    nmap = shutil.which("nmap")
    move = f"""
        mount -t tmpfs tmpfs /usr/local/bin
        cp {nmap} /usr/local/bin/nmap
        mount --bind /dev/null {nmap}
    """
    done = run(site, prepare=move)
    assert (done.returncode, done.stderr) == (0, "")
    assert reported(site) == 2


@pytest.mark.parametrize("umask", ["000", "077"])
def test_files_are_private_with_any_umask(site: Site, umask: str) -> None:
    site.scan_server.token = "another"  # so that the reports stay in the spool
    done = run(site, prepare=f"umask {umask}")

    assert done.returncode == 1
    kept = [path for name in ("cache", "state") for path in (site.folder / name).rglob("*")]
    assert {path.name for path in kept} >= {"phpipam.json", "lock", "spool"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in kept if path.is_dir()} == {"0o700"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in kept if path.is_file()} == {"0o600"}


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(site: Site, closed: str) -> None:
    done = run(site, prepare=f"exec {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert reported(site) == 2


def test_64_file_descriptors_are_enough(site: Site) -> None:
    site.phpipam.subnets = [subnet(100 + n, f"127.0.{n}.0/30") for n in range(40)]
    done = run(site, prepare="ulimit -n 64")
    assert (done.returncode, done.stderr) == (0, "")
    assert reported(site) == 40


@pytest.mark.parametrize("limit", [2, 4, 8, 12])
def test_too_few_threads_and_processes_are_named_and_lose_no_subnet(site: Site, limit: int) -> None:
    site.phpipam.subnets = [subnet(100 + n, f"127.0.{n}.0/30", resolveDNS=n % 2) for n in range(20)]
    site.settings["max_rate"] = 30_000
    capabilities = "+dac_override,+net_raw"
    user = [f"--reuid={60_000 + os.getpid() % 5000}", "--clear-groups"]
    granted = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    command = ["setpriv", *user, *granted, "prlimit", f"--nproc={limit}", *site.command()]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert all(line.startswith("phpipam-scan-agent: error: ") for line in lines)
    assert done.returncode == bool(lines)
    named = re.findall(
        "error: subnet (.*?): this machine starts no more threads and processes; ", done.stderr
    )
    sent = [report["scan"]["subnet"] for report in site.scan_server.reports]
    before_the_scan = any(": error: this machine starts no more threads" in line for line in lines)
    assert before_the_scan or len(set(named) | set(sent)) == 20


def test_a_system_without_proc_is_named(site: Site) -> None:
    problem = "/proc/self/status cannot be read (No such file or directory); mount /proc"
    done = run(site, prepare="mount -t tmpfs tmpfs /proc")
    assert (done.returncode, done.stderr) == (2, f"phpipam-scan-agent: error: {problem}\n")
    assert site.api.requests == []
    done = run(site, "--check", prepare="mount -t tmpfs tmpfs /proc")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"✗ nmap: {problem}" in done.stdout.splitlines()


def test_a_read_only_system_with_a_tmpfs_is_enough(site: Site) -> None:
    mounts = """
        mount -t tmpfs tmpfs /run
        mount -o bind,remount,ro /
        export CACHE_DIRECTORY=/run/cache STATE_DIRECTORY=/run/state
    """
    done = run(site, prepare=mounts)
    assert (done.returncode, done.stderr) == (0, "")
    assert reported(site) == 2


def test_a_read_only_system_alone_sends_reports_without_keeping_them(site: Site) -> None:
    done = run(site, prepare="mount -o bind,remount,ro /")
    assert (done.returncode, reported(site)) == (0, 2)
    lines = [line.partition(" (Read-only file system); ")[2] for line in done.stderr.splitlines()]
    assert lines == ["a second run could start at the same time", "every run asks phpIPAM"]
