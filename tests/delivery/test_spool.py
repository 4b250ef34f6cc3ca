"""Reports on disk: complete, merged, limited in age and size, and private."""

import json
import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import reduce
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW, Clock
from leftovers import CALLS, half_written, killed
from phpipam_scan_agent.delivery.report import merge
from phpipam_scan_agent.delivery.spool import Spool
from phpipam_scan_agent.delivery.spool_file import decode, decode_format_1, encode
from phpipam_scan_agent.delivery.spool_folder import Folder
from phpipam_scan_agent.errors import SpoolError
from phpipam_scan_agent.models import Report, ReportRow
from phpipam_scan_agent.system.files import INVALID
from reports import NOON, open_spool, report
from stand_ins.https import Answer
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site
from thorough import thorough

DAY = 86400.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool"


@pytest.fixture
def spool(folder: Path, clock: Clock) -> Spool:
    return opened(folder, clock)


def opened(
    folder: Path, clock: Clock, max_age: float = 7 * DAY, max_size: int = 10**8, owner: str = ""
) -> Spool:
    """The spool of a new run, without problems."""
    spool = Spool(folder, max_age, max_size, clock, owner)
    assert spool.open() == []
    return spool


def reported(clock: Clock, id_: int = 10, hosts: int = 1) -> Report:
    """The report of a scan that ends now."""
    return report(id_, hosts, datetime.fromtimestamp(clock(), timezone.utc))


def subnets(spool: Spool) -> list[int]:
    """The subnet ids of the waiting reports, oldest first."""
    return [spool.get(name)[1].subnet_id or 0 for name in spool.waiting()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Files


def test_a_report_is_read_as_it_was_written(spool: Spool, folder: Path, clock: Clock) -> None:
    row = ReportRow(ip_address("192.0.10.9"), NOON, 7, "gw.example.org", "AA:BB:CC:DD:EE:01")
    whole = report(10, hosts=3)._replace(rows=(row,), silent=(8, 9))
    name, version, kept = spool.put(whole)
    assert kept == whole
    assert spool.get(name) == (version, whole)
    assert opened(folder, clock).get(name)[1] == whole


def test_a_report_is_merged_with_its_subnets_waiting_report(spool: Spool, folder: Path, clock: Clock) -> None:
    spool.put(report(10, hosts=3, seen=NOON - timedelta(hours=1)))
    for one in (spool, opened(folder, clock)):
        _, _, kept = one.put(report(10, hosts=1))
        assert [row.seen for row in kept.rows] == [NOON, *[NOON - timedelta(hours=1)] * 2]
    assert len(opened(folder, clock).waiting()) == 1


def test_two_subnets_with_the_same_network_have_two_files(spool: Spool) -> None:
    spool.put(report(10))
    spool.put(report(10)._replace(subnet_id=11))
    assert subnets(spool) == [10, 11]


def test_another_agents_reports_in_the_same_folder_are_left_alone(folder: Path, clock: Clock) -> None:
    theirs = opened(folder, clock, owner="theirs")
    theirs.put(report(10, hosts=3))
    ours = opened(folder, clock, owner="ours")
    assert ours.waiting() == {}
    ours.put(report(10))
    assert [len(each.get(name)[1].rows) for each in (theirs, ours) for name in each.waiting()] == [3, 1]


def test_two_reports_of_one_name_in_a_run_have_two_versions(spool: Spool) -> None:
    """Otherwise the upload of the first report would count for the second."""
    name, first, _ = spool.put(report(10))
    spool.remove(name, first)
    again, second, _ = spool.put(report(10))
    assert again == name
    assert second > first


def test_a_report_that_changed_during_its_upload_stays(spool: Spool, folder: Path, clock: Clock) -> None:
    name, version, _ = spool.put(report(10, hosts=3))
    spool.put(report(10, hosts=4))
    spool.remove(name, version)
    assert spool.set_aside(name, "no", version) == folder / name
    assert len(opened(folder, clock).get(name)[1].rows) == 4


def test_a_report_of_an_earlier_run_that_changed_during_its_upload_stays(folder: Path, clock: Clock) -> None:
    opened(folder, clock).put(report(10, hosts=3))
    spool = opened(folder, clock)
    (name,) = spool.waiting()
    version, _ = spool.get(name)
    spool.put(report(10, hosts=4))
    assert spool.set_aside(name, "no", version) == folder / name
    assert list(spool.waiting()) == [name]


def test_an_empty_or_missing_folder_has_no_reports(spool: Spool, folder: Path, clock: Clock) -> None:
    assert spool.waiting() == {}
    folder.mkdir(parents=True, exist_ok=True)
    assert opened(folder, clock).waiting() == {}
    assert spool.facts() == (0, 0)


def test_files_and_folders_are_private_to_their_owner(folder: Path, clock: Clock) -> None:
    old = os.umask(0)
    try:
        spool = opened(folder, clock)
        refused = spool.set_aside(spool.put(report())[0], "no")
        waiting = folder / spool.put(report())[0]
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (waiting, refused)] == [0o600] * 2
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, refused.parent)] == [0o700] * 2


def test_spool_files_contain_no_secret(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]
    site.scan_server.instead = Answer(401, b"who are you?")
    assert site.run().returncode == 1
    (path,) = (site.folder / "state" / "spool").iterdir()
    content = path.read_text()
    assert "127.0.20.1" in content
    assert [secret for secret in site.secrets if secret in content] == []


def test_no_temporary_file_is_left(spool: Spool, folder: Path) -> None:
    name, version, _ = spool.put(report())
    assert os.listdir(folder) == [name]
    spool.remove(name, version)
    assert os.listdir(folder) == []


# Outages


def test_a_week_of_failed_runs_needs_the_space_of_one(folder: Path, clock: Clock) -> None:
    """With clock changes by hand, by an empty battery and by the end of summer time."""
    zones = [timezone(timedelta(hours=2)), timezone(timedelta(hours=1))]
    jumps = {40: 3600.0, 41: -3600.0, 80: -20 * 365 * DAY, 81: 20 * 365 * DAY}
    times: dict[int, datetime] = {}
    for hour in range(6 * 24):
        clock.now += 3600 + jumps.get(hour, 0)
        spool = opened(folder, clock)
        now = datetime.fromtimestamp(clock(), zones[hour > 100])
        for id_ in (1, 2):
            spool.put(report(id_, hosts=1 + hour % 3, seen=now))
        for last in range(1 + hour % 3):
            times[last] = max(now, times.get(last, now))
    spool = opened(folder, clock)
    assert len(spool.waiting()) == len(os.listdir(folder)) == 2
    for name in spool.waiting():
        rows = spool.get(name)[1].rows
        assert [row.seen for row in rows] == [times[last] for last in range(3)]


def test_addresses_older_than_the_limit_are_dropped_with_a_warning(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    opened(folder, clock).put(reported(clock, 10, hosts=3))
    for _ in range(8):
        clock.now += DAY
        opened(folder, clock).put(reported(clock, 10, hosts=1))
    (name,) = opened(folder, clock).waiting()
    assert len(opened(folder, clock).get(name)[1].rows) == 1
    assert warnings(caplog) == [f"{folder}: hosts dropped, see spool_max_age: 2 of 192.0.10.0/24"]


def test_files_of_format_1_are_merged(folder: Path, clock: Clock) -> None:
    format_1(folder, 30)
    (folder / "000000000099.json").write_text("{")
    spool = Spool(folder, 7 * DAY, 10**8, clock)
    (problem,) = spool.open()
    assert problem.startswith(f"{folder}/000000000099.json contains no report; it is set aside as ")
    (name,) = spool.waiting()
    assert sorted(os.listdir(folder)) == sorted([name, "refused"])
    (_, kept) = spool.get(name)
    assert (kept.network, kept.subnet_id, kept.made.timestamp()) == (
        ip_network("192.0.10.0/24"),
        10,
        NOW + 29,
    )
    assert sorted((str(row.ip), row.hostname, row.seen.isoformat()) for row in kept.rows) == [
        ("192.0.10.1", None, "2026-09-21T10:00:29-02:00"),
        ("192.0.10.2", None, "2026-09-21T10:00:28-02:00"),
    ]


def format_1(folder: Path, number: int) -> None:
    """Files of version 0.1, one for each report: of one subnet, with one of two hosts."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for n in range(number):
        host = {
            "id": 101,
            "subnetId": "10",
            "ip": f"192.0.10.{2 - n % 2}",
            "lastSeen": f"2026-09-21 10:00:{n:02}",
        }
        host |= {"hostname": "gw"} if n == 1 else {}
        scan = {"subnet": "192.0.10.0/24", "tz": "-0200", "results": [host]}
        document = {
            "format": 1,
            "made": NOW + n,
            "subnet": scan["subnet"],
            "hosts": 1,
            "scan": json.dumps(scan),
        }
        (folder / f"{n + 1:012d}.json").write_text(json.dumps(document))


def test_sigkill_at_any_moment_of_the_migration_loses_nothing(folder: Path, clock: Clock) -> None:
    moments = 0
    for moment in range(50):
        format_1(folder, 44)
        moments += killed(moment, CALLS, open_spool, folder) is not None
        spool = Spool(folder, 7 * DAY, 10**8, clock)
        spool.load()
        kept = [
            *(spool.get(name)[1] for name in spool.waiting()),
            *(found for path in folder.glob("0*.json") for found in decode_format_1(path.read_bytes())),
        ]
        rows = reduce(merge, kept).rows
        assert sorted((str(row.ip), row.seen.second) for row in rows) == [
            ("192.0.10.1", 43),
            ("192.0.10.2", 42),
        ]
        for path in folder.iterdir():
            path.unlink()
    assert 40 < moments < 50  # each call was reached, and the end


# Refused reports


def test_refused_reports_wait_again_after_a_change(folder: Path, clock: Clock) -> None:
    def run(settings: str) -> Spool:
        spool = Spool(folder, 7 * DAY, 10**8, clock)
        assert spool.open(lambda salt: f"{salt}{settings}") == []
        return spool

    spool = run("one")
    spool.set_aside(spool.put(report(10))[0], "not yours")
    assert [(str(entry.network), entry.refusal) for entry in spool.refused()] == [
        ("192.0.10.0/24", "not yours")
    ]
    assert subnets(run("one")) == []
    assert subnets(run("two")) == [10]
    spool = run("two")
    assert spool.refused() == []
    spool.put(report(10, hosts=2))
    spool.set_aside(next(iter(spool.waiting())), "not yours")
    assert subnets(run("two")) == []
    assert subnets(run("one")) == [10]


def test_refused_reports_that_wait_again_count_once_for_max_size(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    ids = list(range(10, 18))
    for id_ in ids:
        spool.set_aside(spool.put(reported(clock, id_, hosts=20))[0], "no")
        clock.now += 1
    _, size = Folder(folder / "refused", "").facts()
    spool = Spool(folder, 7 * DAY, size, clock)
    assert spool.open(lambda _: "another configuration") == []
    assert (subnets(spool), spool.refused()) == (ids, [])


def test_the_readmes_command_returns_refused_reports_to_the_spool(folder: Path, clock: Clock) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^rm .*/spool/(refused/\*_settings)$", readme, re.MULTILINE)
    spool = opened(folder, clock)
    spool.set_aside(spool.put(report(10, hosts=2))[0], "no")
    spool.put(report(10, hosts=1))
    for path in folder.glob(pattern):
        path.unlink()

    spool = opened(folder, clock)
    ((name, _),) = spool.waiting().items()
    assert (spool.refused(), len(spool.get(name)[1].rows)) == ([], 2)


def test_two_refused_reports_of_a_subnet_are_merged(spool: Spool) -> None:
    for hosts in (3, 2):
        aside = spool.set_aside(spool.put(report(10, hosts))[0], "no")
    assert len(decode(aside.read_bytes()).rows) == 3
    assert len(spool.refused()) == 1


# Limits


def test_reports_beyond_max_age_are_dropped_with_a_warning(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in (10, 20, 30):
        opened(folder, clock).put(reported(clock, id_, hosts=id_))
        clock.now += 3 * DAY
    clock.now = NOW + 10.5 * DAY
    assert subnets(opened(folder, clock)) == [30]
    assert warnings(caplog) == [
        f"{folder}: 2 of the oldest reports with 30 hosts are dropped, see spool_max_age and spool_max_size"
    ]


def test_a_report_exactly_at_max_age_stays(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    opened(folder, clock).put(reported(clock))
    clock.now += 7 * DAY
    assert opened(folder, clock).waiting()
    clock.now += 1
    assert not opened(folder, clock).waiting()
    assert len(warnings(caplog)) == 1


def test_the_oldest_reports_beyond_max_size_are_dropped(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in range(1, 11):
        opened(folder, clock).put(reported(clock, id_, hosts=100))
        clock.now += 1
    _, size = opened(folder, clock).facts()
    most = size * 35 // 100
    spool = opened(folder, clock, max_size=most)
    assert subnets(spool) == [8, 9, 10]
    assert spool.facts()[1] <= most
    assert "7 of the oldest reports with 700 hosts are dropped" in warnings(caplog)[0]


def test_a_new_report_counts_for_max_size(folder: Path, clock: Clock) -> None:
    size = len(encode(reported(clock, 10, hosts=100)))
    spool = opened(folder, clock, max_size=size * 23 // 10)
    for id_ in range(10, 20):
        spool.put(reported(clock, id_, hosts=100))
        clock.now += 1
    assert subnets(spool) == [18, 19]
    with pytest.raises(SpoolError, match="larger than spool_max_size"):
        spool.put(reported(clock, 10, hosts=254))


def test_refused_reports_count_for_the_limits(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    aside = spool.set_aside(spool.put(reported(clock, 1, hosts=100))[0], "no")
    clock.now += 1
    spool.put(reported(clock, 2, hosts=100))
    opened(folder, clock, max_size=spool.facts()[1])
    assert not aside.exists()
    assert subnets(opened(folder, clock)) == [2]
    aside = spool.set_aside(spool.put(reported(clock, 3))[0], "no")
    clock.now += 8 * DAY
    opened(folder, clock)
    assert not aside.exists()


def test_within_the_limits_nothing_is_dropped_or_logged(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in (1, 2, 3):
        opened(folder, clock).put(reported(clock, id_))
    assert subnets(opened(folder, clock)) == [1, 2, 3]
    assert caplog.records == []


@pytest.mark.parametrize("days", [30, 400, 10_000])
def test_a_clock_set_back_drops_nothing(folder: Path, clock: Clock, days: int) -> None:
    opened(folder, clock).put(reported(clock))
    clock.now -= days * DAY
    assert len(opened(folder, clock).waiting()) == 1


def test_a_clock_that_is_not_set_for_a_run_changes_nothing(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    before = reported(clock)
    opened(folder, clock).put(before)
    clock.now -= 10_000 * DAY
    opened(folder, clock)
    clock.now = NOW + DAY
    spool = opened(folder, clock)
    assert [spool.get(name)[1] for name in spool.waiting()] == [before]
    assert warnings(caplog) == []


def test_a_report_from_the_future_counts_as_made_now(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened(folder, clock)
    clock.now += 30 * DAY
    spool.put(reported(clock, 10, hosts=3))
    spool.set_aside(spool.put(reported(clock, 20))[0], "no")
    clock.now = NOW
    spool = opened(folder, clock)
    assert warnings(caplog) == [
        f"{folder}: reports from the future, which count as made now: 2; check this machine's clock"
    ]
    (waiting,), (refused,) = spool.waiting().values(), spool.refused()
    assert [waiting.made.timestamp(), refused.made.timestamp(), refused.refusal] == [NOW, NOW, "no"]
    clock.now += 7 * DAY + 1
    spool = opened(folder, clock)
    assert (spool.waiting(), spool.refused()) == ({}, [])


def test_a_report_from_the_future_hides_no_later_result(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    clock.now += 30 * DAY
    spool.put(reported(clock, hosts=2))
    clock.now = NOW
    spool = opened(folder, clock)
    clock.now += 900
    _, _, kept = spool.put(reported(clock, hosts=3))
    assert [row.seen.timestamp() for row in kept.rows] == [NOW + 900] * 3


# Invalid files

ROW = ["192.0.10.1", "2026-11-24T12:00:00+00:00", 101, "gw", "AA:BB:CC:DD:EE:01"]
HEADER = json.loads(encode(report(10, hosts=1)).partition(b"\n")[0])
BODY = {"silent": [], "rows": [ROW]}


def content(header: object = HEADER, body: object = BODY) -> bytes:
    return f"{json.dumps(header)}\n{json.dumps(body)}\n".encode()


def rows(*values: object) -> bytes:
    return content(body=BODY | {"rows": values})


def changed(at: int, value: object) -> bytes:
    return rows([*ROW[:at], value, *ROW[at + 1 :]])


DAMAGES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "no JSON": b"subnets: []",
    "list": b"[]",
    "null": b"null\nnull",
    "deep": b"[" * 100_000,
    "a long line": b"x" * 1_000_000,
    "other JSON": b'{"name": "something else"}\n{}',
    "other format": content(HEADER | {"format": 3}),
    "no network": content(HEADER | {"subnet": "office"}),
    "subnet as number": content(HEADER | {"subnet": 5}),
    "subnet as list": content(HEADER | {"subnet": ["192.0.10.0/24"]}),
    "hosts as text": content(HEADER | {"hosts": "many"}),
    "hosts beyond numbers": content(HEADER | {"hosts": 1e999}),
    "a time without zone": content(HEADER | {"made": "2026-11-24T12:00:00"}),
    "no time": content(HEADER | {"made": "noon"}),
    "id 0": content(HEADER | {"id": 0}),
    "no rows": content(body={"silent": []}),
    "rows as text": content(body=BODY | {"rows": "none"}),
    "silent as text": content(body=BODY | {"silent": "all"}),
    "silent below 1": content(body=BODY | {"silent": [0]}),
    "a row too short": rows(ROW[:3]),
    "a row twice": rows(ROW, ROW),
    "another subnet's address": changed(0, "192.0.11.1"),
    "no address": changed(0, "gw"),
    "an address as number": changed(0, 3221228033),
    "an address seen at no time": changed(1, None),
    "an id as text": changed(2, "101"),
    "an id that is true": changed(2, True),
    "a name for SQL": changed(3, "x', note='PWNED"),
    "a name with a line break": changed(3, "gw\n"),
    "a name as number": changed(3, 5),
    "no MAC address": changed(4, "aa:bb:cc:dd:ee:01"),
}


def test_an_undamaged_file_is_a_report() -> None:
    assert decode(content()).rows[0].hostname == "gw"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside(
    damage: str, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    name, _, _ = opened(folder, clock).put(report())
    (folder / name).write_bytes(DAMAGES[damage])
    spool = opened(folder, clock, max_age=1e9)
    assert list(spool.waiting()) == [name]
    with pytest.raises(SpoolError) as refused:
        spool.get(name)
    assert str(refused.value) == f"{folder / name} contains no report"
    spool.put(report(10, hosts=2))
    assert (folder / "refused" / name).read_bytes() == DAMAGES[damage]
    assert len(spool.get(name)[1].rows) == 2
    assert "contains no report; it is set aside as " in warnings(caplog)[0]


def test_a_truncated_file_is_no_report(spool: Spool, folder: Path, clock: Clock) -> None:
    name, _, _ = spool.put(report(hosts=3))
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole) - 2, 3):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(SpoolError):
            opened(folder, clock, max_age=1e9).get(name)


def test_a_folder_instead_of_a_report_is_named_and_stays(folder: Path, clock: Clock) -> None:
    name, _, _ = opened(folder, clock).put(report())
    (folder / name).unlink()
    (folder / name).mkdir()
    spool = Spool(folder, 1e9, 10**9, clock)
    assert spool.open() == [f"{folder / name} cannot be read (it is not a regular file)"]
    assert spool.waiting() == {}
    with pytest.raises(SpoolError, match="cannot keep the report \\(Is a directory\\)"):
        spool.put(report())


@pytest.mark.parametrize("name", ["notes.txt", "report.json", ".hidden.json", "1.json", "9" * 200 + ".json"])
def test_other_files_in_the_folder_are_ignored(
    name: str, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).write_text("not ours")
    spool = opened(folder, clock)
    spool.put(report(1))
    assert subnets(spool) == [1]
    assert (folder / name).read_text() == "not ours"
    assert caplog.records == []


def test_temporary_files_of_a_killed_run_are_removed(folder: Path, clock: Clock) -> None:
    name, _, _ = opened(folder, clock).put(report())
    half_written(folder / name, os.getpid())
    assert list(opened(folder, clock).waiting()) == [name]
    assert os.listdir(folder) == [name]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@thorough
@given(part=st.sampled_from([*HEADER, *BODY, "header", "body"]), value=_JSON)
def test_any_json_is_a_report_or_refused(part: str, value: object) -> None:
    header = value if part == "header" else HEADER | ({part: value} if part in HEADER else {})
    body = value if part == "body" else BODY | ({part: value} if part in BODY else {})
    with suppress(*INVALID):
        assert encode(decode(content(header, body)))


@thorough
@given(part=st.integers(0, 4), value=_JSON | st.text())
def test_any_row_is_valid_or_refused(part: int, value: object) -> None:
    with suppress(*INVALID):
        (row,) = decode(changed(part, value)).rows
        assert row.hostname is None or re.fullmatch("[A-Za-z0-9_.-]+", row.hostname)


@thorough
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    for read in (decode, lambda content: list(decode_format_1(content))):
        with pytest.raises(INVALID):
            read(content)


# Faults of the disk


FILL = """
import sys
from pathlib import Path
from phpipam_scan_agent.errors import SpoolError
from phpipam_scan_agent.delivery.spool import Spool
from reports import report

folder = Path(sys.argv[1])
spool = Spool(folder, 1e9, 10**9, lambda: 0.0)
kept = []
try:
    while True:
        kept.append(spool.put(report(len(kept) + 1, hosts=50)))
except SpoolError as error:
    print(error)
assert len(kept) > 2
assert set(spool.waiting()) == {name for name, _, _ in kept}
assert all(spool.get(name) == (version, report(id_ + 1, hosts=50)) for id_, (name, version, _) in enumerate(kept))
assert {path.name for path in folder.iterdir()} == set(spool.waiting()), "something half written is left"
for name, version, _ in kept[:2]:
    spool.remove(name, version)
spool.put(report(99, hosts=50))
print("goes on")
"""

LOOK = """
import logging, sys
from pathlib import Path
from phpipam_scan_agent.errors import SpoolError
from phpipam_scan_agent.delivery.spool import Spool
from reports import report

logging.basicConfig(stream=sys.stdout, format="%(message)s")
spool = Spool(Path(sys.argv[1]), 1e9, 10**9, lambda: 0.0)
assert spool.open() == []
(name,) = spool.waiting()
version, kept = spool.get(name)
assert kept == report()
try:
    spool.put(report())
except SpoolError as error:
    print(error)
assert spool.set_aside(name, "no") == spool.folder / name
spool.remove(name, version)
try:
    spool.probe()
except OSError as error:
    print(error.strerror)
"""


def inside(mount: str, folder: Path, program: str) -> list[str]:
    """The output of a program in a mount namespace."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount", "sh", "-ec", f'{mount}; exec "$2" -c "$3" "$1"', "sh"]
    done = subprocess.run(
        [*command, str(folder), sys.executable, program],
        env=os.environ | {"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@as_root
def test_a_full_disk_damages_no_report(folder: Path) -> None:
    said = inside('mount -t tmpfs -o size=64k none "$1"', folder, FILL)
    assert said == [f"{folder} cannot keep the report (No space left on device)", "goes on"]


@as_root
def test_a_full_inode_table_is_reported_as_a_full_disk(folder: Path) -> None:
    said = inside('mount -t tmpfs -o nr_inodes=6 none "$1"', folder, FILL)
    assert said == [f"{folder} cannot keep the report (No space left on device)", "goes on"]


@as_root
def test_a_read_only_folder_can_be_read(spool: Spool, folder: Path) -> None:
    name, _, _ = spool.put(report())
    path = folder / name
    said = inside('mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', folder, LOOK)
    assert said == [
        f"{folder} cannot keep the report (Read-only file system)",
        f"{path} cannot be set aside (Read-only file system)",
        f"{path} cannot be removed (Read-only file system); the next run sends it again",
        "Read-only file system",
    ]
    assert list(spool.waiting()) == [name]


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    spool = opened(tmp_path / "file" / "spool", clock)
    with pytest.raises(SpoolError, match="file/spool cannot keep the report \\("):
        spool.put(report())
    assert spool.waiting() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_of_another_user_is_named_with_the_chown_command(clock: Clock) -> None:
    with tempfile.TemporaryDirectory(
        dir="/tmp"
    ) as anywhere:  # the other user has no access to pytest's folders
        Path(anywhere).chmod(0o755)
        check_foreign_files(Path(anywhere) / "spool", clock)


def check_foreign_files(folder: Path, clock: Clock) -> None:
    name, _, _ = opened(folder, clock).put(report())
    (folder / "000000000001.json").touch(mode=0o600)
    os.chown(folder, 65534, 65534)
    try:
        os.seteuid(65534)
        spool = Spool(folder, 1e9, 10**9, clock)
        problems = spool.open()
    finally:
        os.seteuid(0)
    assert problems == [
        f"{folder / each} belongs to the user with id 0 and is not sent; as root: chown -R 65534 {folder}"
        for each in (name, "000000000001.json")
    ]
    assert spool.refused() == []
    assert len(os.listdir(folder)) == 2
