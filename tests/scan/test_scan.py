"""Scans from subnets to results: with the real nmap on loopback, and with nmaps that fail."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import configs
from phpipam_scan_agent.models import Address, ScanResult, Subnet
from phpipam_scan_agent.scan import Scan, batches
from phpipam_scan_agent.scan.nmap import find_nmap
from phpipam_scan_agent.scan.schedule import Start
from phpipam_scan_agent.scan.worker import Worker
from phpipam_scan_agent.system.parallel import ParallelMap
from runs import is_running, wait_for
from stand_ins.phpipam import address as address_row
from stand_ins.phpipam import subnet as subnet_row
from stand_ins.site import Site

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)

STUCK = 60
"""Maximum seconds of a wait for an effect; no test lasts so long."""


def subnet(network: str, id_: int = 10, discover: bool = True, **fields: Any) -> Subnet:
    return Subnet(id_, ip_network(network), discover=discover, **fields)


def known(*ips: str, exclude_ping: bool = False) -> tuple[Address, ...]:
    return tuple(Address(100 + at, ip_address(ip), exclude_ping) for at, ip in enumerate(ips))


def scan(*subnets: Subnet, **settings: object) -> list[ScanResult]:
    with scanning(subnets, **settings) as results:
        return list(results)


@contextmanager
def scanning(subnets: Sequence[Subnet], **settings: object) -> Iterator[Scan]:
    """The scan of subnets that arrive one after another."""
    with (
        ParallelMap[Subnet, Subnet](lambda each: each, subnets, 1) as come,
        Scan(come, subnets, configs.config(**settings), find_nmap(), lambda: NOW) as results,
    ):
        yield results


def ips(result: ScanResult) -> list[str]:
    return [str(host.ip) for host in result.hosts]


# Real nmap


def test_a_subnet_is_discovered_without_its_first_and_last_address() -> None:
    (result,) = scan(subnet("127.0.20.8/29"))
    assert ips(result) == [f"127.0.20.{last}" for last in range(9, 15)]
    assert (result.error, result.parts, result.seen) == (None, 1, NOW)
    assert result.seconds > 0
    assert all(host.reason for host in result.hosts)
    assert all(host.mac is None and host.name is None for host in result.hosts)


def test_a_check_finds_known_addresses_only() -> None:
    some = subnet("127.0.20.0/24", discover=False, ping=True, addresses=known("127.0.20.7", "127.0.20.99"))
    (result,) = scan(some)
    assert ips(result) == ["127.0.20.7", "127.0.20.99"]


def test_addresses_with_ping_exclude_are_not_found() -> None:
    (result,) = scan(subnet("127.0.20.0/29", addresses=known("127.0.20.2", exclude_ping=True)))
    assert ips(result) == [f"127.0.20.{last}" for last in (1, 3, 4, 5, 6)]


def test_a_host_comes_with_its_address_in_phpipam() -> None:
    addresses = known("127.0.20.7", "127.0.20.99")
    (result,) = scan(subnet("127.0.20.0/28", addresses=addresses))
    assert {str(host.ip): host.address for host in result.hosts if host.address} == {
        "127.0.20.7": addresses[0]
    }
    assert result.silent == ()


def test_known_addresses_that_do_not_answer_are_silent_if_they_were_probed(
    nmap: Callable[[str], None],
) -> None:
    nmap(say(START, HOST, END))
    addresses = (
        *known("127.0.20.1", "127.0.20.2", "127.0.21.1", "2001:db8::1"),
        *known("127.0.20.3", exclude_ping=True),
    )
    (result,) = scan(subnet("127.0.20.0/29", addresses=addresses))
    assert set(ips(result)) == {"127.0.20.1"}
    assert [str(address.ip) for address in result.silent] == ["127.0.20.2"]


def test_after_an_error_no_address_is_silent(nmap: Callable[[str], None]) -> None:
    nmap(say(START, HOST) + "exit 3")
    (result,) = scan(subnet("127.0.20.0/29", addresses=known("127.0.20.1", "127.0.20.2")))
    assert result.error
    assert result.silent == ()


def test_nothing_to_probe_is_a_result_without_hosts() -> None:
    (result,) = scan(subnet("127.0.20.0/24", discover=False, ping=True))
    assert (result.hosts, result.error) == ((), None)


def test_no_subnets_give_no_results() -> None:
    assert scan() == []


def test_every_subnet_has_its_own_hosts() -> None:
    subnets = [subnet(f"127.0.{20 + at}.0/29", at) for at in range(1, 31)]
    found = {result.subnet.id: ips(result) for result in scan(*subnets)}
    assert found == {at: [f"127.0.{20 + at}.{last}" for last in range(1, 7)] for at in range(1, 31)}


def test_the_parts_of_a_large_subnet_contain_all_of_it() -> None:
    results = scan(subnet("127.1.0.0/20"), max_rate=100_000)
    assert len(results) > 1
    assert {result.parts for result in results} == {len(results)}
    found = [ip for result in results for ip in ips(result)]
    assert len(found) == 4094
    assert set(found) == {str(ip) for ip in ip_network("127.1.0.0/20").hosts()}


def test_equal_subnets_of_two_vrfs_have_their_own_results() -> None:
    one = subnet("127.0.20.0/29", 1, vrf=1)
    other = subnet("127.0.20.0/29", 2, discover=False, ping=True, vrf=2, addresses=known("127.0.20.3"))
    found = {result.subnet.id: ips(result) for result in scan(one, other)}
    assert found == {1: [f"127.0.20.{last}" for last in range(1, 7)], 2: ["127.0.20.3"]}


def test_equal_subnets_of_two_vrfs_are_scanned_once_even_if_one_comes_later() -> None:
    twins = [subnet("127.0.20.0/29", 1, vrf=1), subnet("127.0.20.0/29", 2, vrf=2)]
    others = [subnet(f"127.0.{20 + at}.0/29", 10 + at) for at in (1, 2)]
    later, found = threading.Event(), list[list[int]]()

    def come(each: Subnet) -> Subnet:
        assert each is not twins[1] or later.wait(STUCK)
        return each

    with ParallelMap(come, [twins[0], *others, twins[1]], 4) as subnets:
        for batch in batches(subnets, [*twins, *others]):
            found.append(sorted(each.id for each in batch))
            if sum(map(len, found)) == len(others):
                later.set()
    *before, last = found
    assert (sorted(id_ for ids in before for id_ in ids), last) == ([11, 12], [1, 2])


def test_subnets_that_wait_for_a_process_are_scanned_before_the_last_one_arrives() -> None:
    subnets = [subnet(f"127.{at}.0.0/20", at) for at in (1, 2, 3)]
    scanned = threading.Event()

    def come(each: Subnet) -> Subnet:
        assert each is not subnets[-1] or scanned.wait(STUCK)
        return each

    config = configs.config(max_rate=1_000_000, parallel_scans=1)
    with (
        ParallelMap(come, subnets, 1) as coming,
        Scan(coming, subnets, config, find_nmap(), lambda: NOW) as results,
    ):
        found = iter(results)
        before = [next(found)]
        while len(before) < 2 * before[0].parts:
            before.append(next(found))
        assert {result.subnet.id for result in before} == {1, 2}
        scanned.set()
        assert {result.subnet.id for result in found} == {3}


def test_addresses_that_turn_out_to_be_excluded_are_not_expected(
    nmap: Callable[[str], None], tmp_path: Path
) -> None:
    """Half of the rate is left for the one address that is still to arrive, not two thirds for thousands."""
    nmap(f'echo "$@" >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/line; exec sleep 3600')
    subnets = [subnet("127.1.0.0/20", 1), subnet("127.2.0.1/32", 2)]
    excluded = known(*(str(ip) for ip in islice(ip_network("127.1.0.0/20").hosts(), 4000)), exclude_ping=True)
    later = threading.Event()

    def come(each: Subnet) -> Subnet:
        assert each.id == 1 or later.wait(STUCK)
        return each._replace(addresses=excluded)

    config = configs.config(max_rate=3000)
    with (
        ParallelMap(come, subnets, 1) as coming,
        Scan(coming, subnets, config, find_nmap(), lambda: NOW),
    ):
        assert wait_for((tmp_path / "line").exists)
        assert "--max-rate 1500.000" in (tmp_path / "line").read_text()
    later.set()


def test_a_subnet_that_cannot_be_scanned_is_a_result_with_the_reason() -> None:
    some = subnet("127.0.20.0/29", discover=False, ping=True, addresses_error="no answer")
    (result,) = scan(some)
    assert (result.hosts, result.error) == ((), "its known addresses cannot be checked: no answer")


def test_ipv6_is_scanned_beside_ipv4() -> None:
    found = {
        result.subnet.id: ips(result) for result in scan(subnet("::1/128", 1), subnet("127.0.20.4/32", 2))
    }
    assert found == {1: ["::1"], 2: ["127.0.20.4"]}


# nmaps that fail


REAL = next(f"{folder}/nmap" for folder in os.environ["PATH"].split(":") if Path(folder, "nmap").exists())

HOST = (
    '<host><status state="up" reason="echo-reply" reason_ttl="64"/>'
    '<address addr="127.0.20.1" addrtype="ipv4"/></host>'
)

START = '<?xml version="1.0"?><nmaprun scanner="nmap" args="nmap" start="1" version="7.93">'

END = '<runstats><finished time="1" exit="success"/><hosts up="1" down="5" total="6"/></runstats></nmaprun>'


def fake(folder: Path, script: str) -> str:
    """A PATH on which nmap is this script, with the version of the real nmap."""
    path = folder / "bin" / "nmap"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\n[ "$1" = -V ] && exec {REAL} -V\n{script}\n')
    path.chmod(0o755)
    return f"{path.parent}:{os.environ['PATH']}"


@pytest.fixture
def nmap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces nmap by a script."""
    return lambda script: monkeypatch.setenv("PATH", fake(tmp_path, script))


def say(*parts: str) -> str:
    return f"cat <<'XML'\n{''.join(parts)}\nXML\n"


def failed(*subnets: Subnet, **settings: object) -> tuple[list[str], str]:
    """The hosts and the error of a scan with one result."""
    (result,) = scan(*(subnets or (subnet("127.0.20.0/29"),)), **settings)
    assert result.error
    assert len(result.error.splitlines()) == 1
    return ips(result), result.error


def test_the_message_of_a_failed_nmap_is_shown(nmap: Callable[[str], None]) -> None:
    nmap("echo 'Failed to open device' >&2; echo QUITTING! >&2; exit 1")
    assert failed() == ([], "nmap failed with exit code 1: Failed to open device QUITTING!")


def test_an_nmap_that_fails_without_a_message_is_an_error(nmap: Callable[[str], None]) -> None:
    nmap("exit 7")
    assert failed() == ([], "nmap failed with exit code 7: without a message")


def test_hosts_of_a_failed_nmap_are_reported(nmap: Callable[[str], None]) -> None:
    nmap(say(START, HOST) + "kill -SEGV $$")
    hosts, error = failed()
    assert hosts == ["127.0.20.1"]
    assert error.startswith("nmap failed with exit code -11")


def test_a_warning_of_nmap_is_no_failure(nmap: Callable[[str], None]) -> None:
    nmap(f"echo 'Warning: it is late' >&2; exec {REAL} \"$@\"")
    (result,) = scan(subnet("127.0.20.0/29"))
    assert (len(result.hosts), result.error) == (6, None)


def test_an_error_in_nmaps_xml_is_an_error(nmap: Callable[[str], None]) -> None:
    nmap(say(START, HOST, END.replace('exit="success"', 'exit="error" errormsg="no such device"')))
    hosts, error = failed()
    assert (hosts, error) == (["127.0.20.1"], "nmap did not finish")


@pytest.mark.parametrize(
    "end", ["", END[:20], "<host><status st", END[:-5]], ids=["end", "stats", "host", "tail"]
)
def test_truncated_xml_is_an_error_and_its_hosts_are_reported(end: str, nmap: Callable[[str], None]) -> None:
    nmap(f"printf %s '{START}{HOST}{end}'")
    hosts, error = failed()
    assert hosts == ["127.0.20.1"]
    assert error in ("nmap did not finish", "nmap's answer is not the XML of a scan")


@pytest.mark.parametrize(
    "said", ["", "garbage", "<html></html>", "</host>", "<host></host>", f"{START}<host>&</host>"]
)
def test_garbage_is_an_error_without_hosts(said: str, nmap: Callable[[str], None]) -> None:
    nmap(f"printf %s '{said}'")
    hosts, error = failed()
    assert hosts == []
    assert "nmap" in error


def test_an_nmap_that_is_too_slow_is_ended_and_its_hosts_are_reported(
    nmap: Callable[[str], None], tmp_path: Path
) -> None:
    nmap(f"echo $$ >{tmp_path}/pid\n" + say(START, HOST) + "exec sleep 3600")
    hosts, error = failed(scan_timeout=1, max_rate=1_000_000)
    assert hosts == ["127.0.20.1"]
    assert error == "nmap was ended after 1 s (scan_timeout); it had found 1 hosts"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_slow_nmap_that_wrote_garbage_is_reported_as_slow(nmap: Callable[[str], None]) -> None:
    nmap("echo '<nmaprun><host><</host>'; exec sleep 3600")
    hosts, error = failed(scan_timeout=1, max_rate=1_000_000)
    assert hosts == []
    assert "scan_timeout" in error


def test_a_failing_subnet_does_not_stop_the_others(nmap: Callable[[str], None]) -> None:
    nmap(f'targets=$(cat); case "$targets" in *127.0.21.*) exit 1;; esac; echo "$targets" | exec {REAL} "$@"')
    subnets = [subnet(f"127.0.{third}.0/24", third) for third in (20, 21, 22)]
    results = {result.subnet.id: result for result in scan(*subnets, max_rate=100_000)}
    assert {at: len(result.hosts) for at, result in results.items()} == {20: 254, 21: 0, 22: 254}
    assert {at: bool(result.error) for at, result in results.items()} == {20: False, 21: True, 22: False}


def test_a_fatal_error_of_one_subnet_does_not_affect_others_of_its_process(
    nmap: Callable[[str], None],
) -> None:
    nmap(
        'targets=$(cat); case "$targets" in *127.0.21.*) echo "dnet: Failed to open device tun9" >&2; exit 1;; esac;'
        f' echo "$targets" | exec {REAL} "$@"'
    )
    results = {
        result.subnet.id: result for result in scan(*(subnet(f"127.0.{at}.0/30", at) for at in range(20, 26)))
    }
    assert {at: len(result.hosts) for at, result in results.items()} == {
        20: 2,
        21: 0,
        22: 2,
        23: 2,
        24: 2,
        25: 2,
    }
    assert [at for at, result in results.items() if result.error] == [21]


def test_after_several_failures_further_subnets_are_not_tried(
    nmap: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phpipam_scan_agent.scan.PAUSES", (STUCK,))  # one batch, so one process
    nmap(f"echo run >>{tmp_path}/runs; exit 1")
    results = scan(*(subnet(f"127.0.{at}.0/30", at) for at in range(20, 40)))
    assert len(results) == 20
    assert all(result.error for result in results)
    assert len((tmp_path / "runs").read_text().split()) == 4


def test_a_defect_in_one_job_is_the_failure_of_its_subnets(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Worker._results

    def broken(worker: Worker, start: Start) -> list[ScanResult]:
        if start.job.label.startswith("127.0.21."):
            raise KeyError("addresses")
        return whole(worker, start)

    monkeypatch.setattr(Worker, "_results", broken)
    results = scan(subnet("127.0.20.0/24", 20), subnet("127.0.21.0/24", 21), max_rate=100_000)
    assert {result.subnet.id: len(result.hosts) for result in results} == {20: 254, 21: 0}
    assert {result.subnet.id: result.error for result in results} == {
        20: None,
        21: "the agent failed, please report it: KeyError: 'addresses'",
    }


def test_never_more_nmaps_than_allowed(nmap: Callable[[str], None], tmp_path: Path) -> None:
    """Each nmap counts the running ones."""
    running = tmp_path / "running"
    running.mkdir()
    nmap(
        f"touch {running}/$$; ls {running} | wc -l >>{tmp_path}/counts\n"
        f'{REAL} "$@"; done=$?; rm {running}/$$; exit $done'
    )
    results = scan(subnet("127.1.0.0/18"), max_rate=1_000_000, parallel_scans=2)
    assert all(result.error is None for result in results)
    counts = list(map(int, (tmp_path / "counts").read_text().split()))
    assert len(counts) > 2
    assert max(counts) <= 2


def test_closing_the_results_ends_the_scan(nmap: Callable[[str], None], tmp_path: Path) -> None:
    nmap(
        f"echo $$ >>{tmp_path}/pids\n"
        "targets=$(cat)\n"
        f'case "$targets" in *127.0.20.*) echo "$targets" | {REAL} "$@"; exit;; esac\n'
        "exec sleep 3600"
    )
    subnets = [subnet(f"127.0.{third}.0/24", third) for third in (20, 21, 22)]
    with scanning(subnets, max_rate=1_000_000) as results:
        assert next(iter(results)).subnet.id == 20
    pids = (tmp_path / "pids").read_text().split()
    assert [pid for pid in pids if Path("/proc", pid).exists()] == []


def test_no_thread_waits_for_a_process_after_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is never begun does not give its process back."""
    taken, before = threading.Event(), set(threading.enumerate())

    def leave(_worker: Worker, _start: Start) -> list[ScanResult]:
        taken.set()
        return []

    monkeypatch.setattr(Worker, "_results", leave)
    with scanning([subnet("127.1.0.0/19")], parallel_scans=1):
        assert taken.wait(STUCK)
    assert wait_for(lambda: set(threading.enumerate()) <= before)


# The agent ended by a signal


def pids_in(path: Path, number: int) -> list[int]:
    """Wait until this number of nmaps has begun; return their pids."""
    assert wait_for(lambda: path.exists() and len(path.read_text().split()) >= number)
    return list(map(int, path.read_text().split()))


@pytest.fixture
def slow_site(site: Site, tmp_path: Path) -> Site:
    """A site with an nmap that finds a host and then never ends."""
    site.phpipam.subnets = [subnet_row(at, f"127.0.{at}.0/24") for at in (20, 21, 22)]
    site.phpipam.addresses = [address_row(101, 20, "127.0.20.1")]
    site.settings["max_rate"] = 1_000_000
    site.environment["PATH"] = fake(
        tmp_path,
        f"trap '' TERM INT HUP\n{say(START, HOST)}echo $$ >>{tmp_path}/pids\nwhile :; do sleep 1; done",
    )
    return site


@contextmanager
def started(site: Site) -> Iterator["subprocess.Popen[str]"]:
    """A running agent, killed at the end of the block also if the test fails."""
    pipe = subprocess.PIPE
    with subprocess.Popen(site.command(), env=site.environment, stdout=pipe, stderr=pipe, text=True) as agent:
        try:
            yield agent
        finally:
            agent.kill()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGINT, "ended by SIGINT"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_a_signal_ends_the_agent_and_every_nmap(
    number: signal.Signals, said: str, slow_site: Site, tmp_path: Path
) -> None:
    with started(slow_site) as agent:
        pids = pids_in(tmp_path / "pids", 3)
        agent.send_signal(number)
        out, err = agent.communicate(timeout=STUCK)
    assert (agent.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1] == f"phpipam-scan-agent: error: {said}"
    assert "Traceback" not in err
    assert not any(map(is_running, pids))


def test_a_killed_agent_leaves_no_nmap(slow_site: Site, tmp_path: Path) -> None:
    with started(slow_site) as agent:
        pids = pids_in(tmp_path / "pids", 3)
        agent.kill()
    assert wait_for(lambda: not any(map(is_running, pids)))
