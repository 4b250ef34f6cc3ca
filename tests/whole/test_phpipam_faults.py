"""Runs with faults of phpIPAM: outages, failures of single requests, another clock."""

import json
import re
import signal
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

import runs
from forked import ForkedSite
from listeners import silenced
from stand_ins.https import Answer, Request
from stand_ins.phpipam import address, refusal, subnet

HTML = {"Content-Type": "text/html; charset=UTF-8"}
BAD_GATEWAY = Answer(502, b"<h1>Bad Gateway</h1>", HTML)
OUT_OF_MEMORY = Answer(500, b"", HTML)


@pytest.fixture(autouse=True)
def two_subnets(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30"), subnet(11, "127.0.21.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]


def results(site: ForkedSite) -> dict[str, list[dict[str, Any]]]:
    return {each["scan"]["subnet"]: each["scan"]["results"] for each in site.scan_server.reports}


def switch_off(site: ForkedSite) -> None:
    """phpIPAM's port is closed."""
    site.enter_context(silenced(site.api))


# Outages


def test_without_phpipam_and_without_a_cache_the_run_fails(site: ForkedSite) -> None:
    switch_off(site)
    done = site.run_once()
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"phpipam-scan-agent: error: phpIPAM at https://127.0.0.1:{site.api.port}/api/branch/"
    )
    assert line.endswith(": Connection refused; check that it runs, the URL and the network")
    assert not site.server.requests


def test_a_fresh_cache_needs_no_phpipam(site: ForkedSite) -> None:
    site.run_once()
    switch_off(site)
    done = site.run_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(site.scan_server.reports) == 4


def test_an_expired_cache_is_unused_by_default(site: ForkedSite) -> None:
    site.run_once()
    switch_off(site)
    site.settings["epoch_time_offset"] = 3600
    done = site.run_once()
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert len(site.scan_server.reports) == 2


@pytest.mark.parametrize("away", [None, BAD_GATEWAY, OUT_OF_MEMORY], ids=["refused", "502", "empty 500"])
def test_stale_answers_are_used_while_phpipam_is_away(site: ForkedSite, away: Answer | None) -> None:
    site.run_once()
    if away:
        site.phpipam.instead["*"] = away
    else:
        switch_off(site)
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 1900}
    done = site.run_once()
    assert done.returncode == 0
    old = [line for line in done.stderr.splitlines() if "cache_stale_if_error" in line]
    assert len(old) == 1
    assert re.search("its answer of 60 minutes ago is used, see cache_stale_if_error$", old[0])
    assert [len(rows) for rows in results(site).values()] == [2, 2]
    assert results(site)["127.0.20.0/30"][0]["id"] == 101


def test_stale_answers_expire(site: ForkedSite) -> None:
    site.run_once()
    switch_off(site)
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 1700}
    done = site.run_once()
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_a_run_on_stale_answers_does_not_change_their_age(site: ForkedSite) -> None:
    site.run_once()
    switch_off(site)
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 3600}
    assert site.run_once().returncode == 0
    site.settings["epoch_time_offset"] = 5401
    assert site.run_once().returncode == 1


def test_stale_answers_are_replaced_once_phpipam_is_back(site: ForkedSite) -> None:
    site.run_once()
    site.settings |= {"cache_stale_if_error": 86400, "epoch_time_offset": 3600}
    site.phpipam.instead["*"] = BAD_GATEWAY
    site.run_once()
    site.phpipam.instead.clear()
    site.phpipam.subnets = site.phpipam.subnets[:1]
    site.scan_server.reports.clear()
    done = site.run_once()
    assert done.returncode == 0
    assert "minutes ago is used" not in done.stderr
    assert list(results(site)) == ["127.0.20.0/30"]


@pytest.mark.parametrize("message", ["Unauthorized", "Application disabled"])
def test_a_refusal_of_phpipam_is_not_an_outage(site: ForkedSite, message: str) -> None:
    site.run_once()
    site.phpipam.instead["*"] = refusal(401 if message == "Unauthorized" else 503, message)
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 86400}
    done = site.run_once()
    assert done.returncode == 1
    assert message in done.stderr
    assert len(site.scan_server.reports) == 2


def test_an_unreachable_phpipam_is_not_asked_for_each_subnet(site: ForkedSite) -> None:
    site.phpipam.subnets = [subnet(id_, f"127.0.{id_}.0/30") for id_ in range(20, 26)]
    site.run_once()
    site.phpipam.instead["*"] = BAD_GATEWAY
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 86400}
    site.api.requests.clear()
    done = site.run_once()
    assert done.returncode == 0
    assert len(site.api.requests) <= 3


def test_a_phpipam_outage_during_the_run_costs_only_ids(site: ForkedSite) -> None:
    site.settings["phpipam_connections"] = 1
    site.phpipam.subnets = [subnet(id_, f"127.0.{id_}.0/30") for id_ in range(20, 40)]
    site.phpipam.addresses = [address(101, 20, "127.0.20.1")]
    accept = site.phpipam.answer
    site.api._answer = lambda request: accept(request) if len(site.api.requests) <= 3 else BAD_GATEWAY
    done = site.run_once()
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 19
    assert len(results(site)) == 20
    assert results(site)["127.0.20.0/30"][0]["id"] == 101
    assert len(site.api.requests) == 3 + 3 + 1


def test_refresh_keeps_the_cache_while_phpipam_is_away(site: ForkedSite) -> None:
    site.run_once()
    switch_off(site)
    done = site.run_once("--refresh")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    done = site.run_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(site.scan_server.reports) == 4


def test_refresh_uses_stale_answers_where_phpipam_goes_away_in_the_middle(site: ForkedSite) -> None:
    site.settings["cache_stale_if_error"] = 86400
    site.run_once()
    site.scan_server.reports.clear()
    site.phpipam.instead |= dict.fromkeys(("subnets/10/addresses/", "subnets/11/addresses/"), BAD_GATEWAY)
    done = site.run_once("--refresh")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.endswith("its answer of 0 minutes ago is used, see cache_stale_if_error")
    assert results(site)["127.0.20.0/30"][0]["id"] == 101


def test_refresh_keeps_the_answers_that_phpipam_does_not_renew(site: ForkedSite) -> None:
    site.run_once()
    site.phpipam.instead |= dict.fromkeys(("subnets/10/addresses/", "subnets/11/addresses/"), BAD_GATEWAY)
    assert site.run_once("--refresh").returncode == 1
    site.scan_server.reports.clear()
    switch_off(site)
    done = site.run_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert results(site)["127.0.20.0/30"][0]["id"] == 101


# Outages and the spool


def slowly(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """Answer after the agent has noticed phpIPAM's outage."""

    def later(request: Request) -> Answer:
        time.sleep(0.3)
        return answer(request)

    return later


def test_waiting_reports_are_sent_while_phpipam_is_away(site: ForkedSite) -> None:
    site.scan_server.instead = Answer(503)
    site.run_once()
    site.forget()
    site.scan_server.instead = None
    site.server._answer = slowly(site.server._answer)
    switch_off(site)
    done = site.run_once()
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert sorted(results(site)) == ["127.0.20.0/30", "127.0.21.0/30"]
    assert not list((site.folder / "state" / "spool").iterdir())


def test_with_both_away_both_are_named(site: ForkedSite) -> None:
    site.scan_server.instead = Answer(503, b"busy")
    site.run_once()
    site.forget()
    switch_off(site)
    done = site.run_once()
    assert done.returncode == 1
    (one,) = [
        line
        for line in done.stderr.splitlines()
        if "reports kept for the next run: 2, with 4 hosts of 127.0.2" in line
    ]
    assert "HTTP 503: busy" in one
    assert any("Connection refused" in line for line in done.stderr.splitlines())


# Failures of single requests


@pytest.mark.parametrize("option", ["--format=table", "--refresh"])
def test_excluded_addresses_stay_excluded_if_phpipam_fails_later(site: ForkedSite, option: str) -> None:
    site.phpipam.addresses.append(address(102, 10, "127.0.20.2", excludePing=1))
    site.settings["cache_expire_time"] = 0
    site.run_once()
    site.scan_server.reports.clear()
    site.phpipam.instead["subnets/10/addresses/"] = OUT_OF_MEMORY
    done = site.run_once(option, "--format=table")
    assert [row["ip"] for row in results(site)["127.0.20.0/30"]] == ["127.0.20.1"]
    assert "not to be pinged" not in done.stderr
    assert "yes (error)" in done.stdout


def test_a_subnet_too_large_for_phpipam_is_reported_without_ids(site: ForkedSite) -> None:
    site.phpipam.instead["subnets/10/addresses/"] = OUT_OF_MEMORY
    done = site.run_once("--format", "json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "phpipam-scan-agent: error: subnet 127.0.20.0/30: scanned without the addresses that phpIPAM knows: phpIPAM"
    )
    assert "its database is down or PHP ran out of memory, see its log" in line
    assert "its addresses with Ping exclude are not known either" in line
    assert sorted(row["ip"] for row in results(site)["127.0.20.0/30"]) == ["127.0.20.1", "127.0.20.2"]
    assert all("id" not in row for row in results(site)["127.0.20.0/30"])
    rows = {row["subnet"]: row for row in json.loads(done.stdout)["subnets"]}
    assert rows["127.0.20.0/30"]["uploaded"]
    assert rows["127.0.20.0/30"]["error"]
    assert rows["127.0.21.0/30"]["error"] is None


@pytest.mark.parametrize(
    "failing", [OUT_OF_MEMORY, Answer(200, b'{"code": 200, "succ')], ids=["memory", "cut off"]
)
def test_a_failed_address_list_does_not_affect_other_subnets(site: ForkedSite, failing: Answer) -> None:
    site.settings["phpipam_connections"] = 1
    site.phpipam.subnets = [subnet(id_, f"127.0.{id_}.0/30") for id_ in range(20, 30)]
    site.phpipam.addresses = [address(100 + id_, id_, f"127.0.{id_}.1") for id_ in range(20, 30)]
    for id_ in range(20, 27):
        site.phpipam.instead[f"subnets/{id_}/addresses/"] = failing
    done = site.run_once()
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 7
    known = {network for network, rows in results(site).items() if "id" in rows[0]}
    assert known == {f"127.0.{id_}.0/30" for id_ in range(27, 30)}


def test_a_subnet_is_scanned_and_reported_while_phpipam_is_still_asked_about_others(site: ForkedSite) -> None:
    gate = runs.Gate(site.phpipam.answer, lambda request: request.path.endswith("subnets/11/addresses/"))
    site.api._answer = gate
    agent = runs.start(site)
    assert runs.wait_for(lambda: bool(site.scan_server.reports))
    assert list(results(site)) == ["127.0.20.0/30"]
    gate.opened.set()
    assert runs.end(agent)[0] == 0
    assert sorted(results(site)) == ["127.0.20.0/30", "127.0.21.0/30"]


def test_answers_before_a_signal_are_cached(site: ForkedSite) -> None:
    site.settings["phpipam_connections"] = 1
    gate = runs.Gate(site.phpipam.answer, lambda request: request.path.endswith("subnets/11/addresses/"))
    site.api._answer = gate
    agent = runs.start(site)
    assert gate.reached.wait(runs.LONGEST)
    agent.terminate()
    assert runs.end(agent)[0] == 128 + signal.SIGTERM
    gate.opened.set()
    site.api.requests.clear()
    assert site.run_once().returncode == 0
    assert [request.path.partition("branch/")[2] for request in site.api.requests] == [
        "subnets/11/addresses/"
    ]


def test_a_status_check_without_its_addresses_has_failed(site: ForkedSite) -> None:
    site.phpipam.subnets[0] |= {"discoverSubnet": 0, "pingSubnet": 1}
    site.phpipam.instead["subnets/10/addresses/"] = OUT_OF_MEMORY
    done = site.run_once()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("phpipam-scan-agent: error: subnet 127.0.20.0/30: ")
    assert "PHP ran out of memory" in line
    assert list(results(site)) == ["127.0.21.0/30"]


def test_earlier_addresses_are_used_if_phpipam_runs_out_of_memory(site: ForkedSite) -> None:
    site.run_once()
    site.scan_server.reports.clear()
    site.phpipam.instead["subnets/10/addresses/"] = OUT_OF_MEMORY
    site.settings |= {"epoch_time_offset": 3600, "cache_stale_if_error": 86400}
    done = site.run_once()
    assert done.returncode == 0
    assert results(site)["127.0.20.0/30"][0]["id"] == 101


# The clock


@pytest.mark.parametrize(("offset", "words"), [(90, "ahead of"), (-3600, "behind")])
def test_a_clock_difference_to_phpipam_is_one_warning(site: ForkedSite, offset: int, words: str) -> None:
    site.settings["epoch_time_offset"] = offset
    done = site.run_once()
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    said = re.fullmatch(
        rf"phpipam-scan-agent: warning: this machine's clock is (\d+) s {words} phpIPAM's, .*; set the clocks, or"
        " epoch_time_offset",
        line,
    )
    assert said, line
    assert abs(int(said[1]) - abs(offset)) < 30


@pytest.mark.parametrize("offset", [30, -30])
def test_a_small_clock_difference_to_phpipam_is_ignored(site: ForkedSite, offset: int) -> None:
    site.settings["epoch_time_offset"] = offset
    done = site.run_once()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_clock_set_back_does_not_extend_the_cache(site: ForkedSite) -> None:
    site.settings["epoch_time_offset"] = 86400
    site.run_once()
    asked = len(site.api.requests)
    site.settings |= {"epoch_time_offset": 0, "cache_stale_if_error": 10**9}
    done = site.run_once()
    assert done.returncode == 0
    assert len(site.api.requests) == 2 * asked
    assert "comes from the future; check the clock" in done.stderr


def test_times_are_reported_in_the_configured_time_zone(site: ForkedSite) -> None:
    site.settings["timezone"] = "Asia/Kathmandu"
    site.environment["TZ"] = "America/St_Johns"
    assert site.run_once().returncode == 0
    for each in site.scan_server.reports:
        last_seen = f"{each['scan']['results'][0]['lastSeen']} {each['scan']['tz']}"
        assert last_seen.endswith(" +0545")
        age = time.time() - datetime.strptime(last_seen, "%Y-%m-%d %H:%M:%S %z").timestamp()
        assert 0 <= age < 60


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "Europe", "../../etc/passwd", "+01:00", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused_before_any_connection(site: ForkedSite, zone: str) -> None:
    site.settings["timezone"] = zone
    done = site.run_once()
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert ": timezone: " in line
    assert site.api.connections == site.server.connections == 0
