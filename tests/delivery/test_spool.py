"""Reports on disk: whole, in order, within bounds, and nobody else's business."""

import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import NOW, Clock
from leftovers import half_written
from phpipam_scan_agent.delivery.spool import Spool
from phpipam_scan_agent.errors import SpoolError
from reports import report
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


def opened(folder: Path, clock: Clock, max_age: float = 7 * DAY, max_size: int = 10**8) -> Spool:
    """The spool as a new run finds it."""
    return Spool(folder, max_age, max_size, clock)


def subnets(spool: Spool) -> list[int]:
    """Of which subnets reports wait, in the order in which they will be sent."""
    return [spool.get(path).network.network_address.packed[2] for path in spool.waiting()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What is kept, and how


def test_a_report_comes_out_as_it_went_in(spool: Spool, folder: Path, clock: Clock) -> None:
    path = spool.put(report(10, hosts=3))
    assert opened(folder, clock).get(path) == report(10, hosts=3)
    assert spool.waiting() == [path]


def test_an_empty_or_missing_folder_has_nothing(spool: Spool, folder: Path) -> None:
    assert spool.waiting() == []
    spool.tidy()
    folder.mkdir(parents=True)
    assert spool.waiting() == []
    assert spool.facts() == (0, 0)


def test_files_and_folders_are_for_their_owner_alone(spool: Spool, folder: Path) -> None:
    old = os.umask(0)
    try:
        waiting = spool.put(report())
        refused = spool.set_aside(spool.put(report()))
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (waiting, refused)] == [0o600] * 2
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, refused.parent)] == [0o700] * 2


def test_neither_token_nor_code_is_in_what_waits(site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]
    site.scan_server.instead = Answer(401, b"who are you?")
    assert site.run().returncode == 1
    (path,) = (site.folder / "state" / "spool").iterdir()
    content = path.read_text()
    assert "127.0.20.1" in content
    assert [secret for secret in site.secrets if secret in content] == []


def test_only_the_report_is_left_behind(spool: Spool, folder: Path) -> None:
    path = spool.put(report())
    assert os.listdir(folder) == [path.name]
    spool.remove(path)
    assert os.listdir(folder) == []


# Order


@pytest.mark.parametrize("jump", [-400 * DAY, -1.0, 0.0, 400 * DAY])
def test_a_clock_that_jumps_puts_nothing_out_of_order(folder: Path, clock: Clock, jump: float) -> None:
    for id_ in (30, 20, 10):
        opened(folder, clock).put(report(id_))
        clock.now += jump
    assert subnets(opened(folder, clock)) == [30, 20, 10]


def test_order_holds_beyond_ten_and_a_hundred(spool: Spool) -> None:
    for id_ in range(120):
        spool.put(report(id_))
    assert subnets(spool) == list(range(120))


def test_what_comes_later_is_sent_later_also_when_the_older_are_gone(spool: Spool) -> None:
    first, second = spool.put(report(1)), spool.put(report(2))
    spool.remove(first)
    spool.put(report(3))
    spool.set_aside(second)
    spool.put(report(4))
    assert subnets(spool) == [3, 4]


def test_a_report_never_takes_the_place_of_one_set_aside(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    aside = {spool.set_aside(spool.put(report(id_))).name: id_ for id_ in (1, 2, 3)}
    assert len(aside) == 3
    spool = opened(folder, clock)
    kept = spool.put(report(4))
    assert kept.name not in aside
    spool.set_aside(kept)
    assert len(list((folder / "refused").iterdir())) == 4


# Bounds


def test_what_is_too_old_is_dropped_with_a_warning_that_counts_hosts(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in (10, 20, 30):
        opened(folder, clock).put(report(id_, hosts=id_))
        clock.now += 3 * DAY
    clock.now = NOW + 10.5 * DAY
    spool = opened(folder, clock)
    spool.tidy()
    assert subnets(spool) == [30]
    assert warnings(caplog) == [
        f"{folder}: 2 of the oldest reports with 30 hosts are dropped, see spool_max_age and spool_max_size"
    ]


def test_what_is_of_age_but_not_over_it_stays(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    opened(folder, clock).put(report())
    clock.now += 7 * DAY
    opened(folder, clock).tidy()
    assert opened(folder, clock).waiting()
    clock.now += 1
    opened(folder, clock).tidy()
    assert not opened(folder, clock).waiting()
    assert len(warnings(caplog)) == 1


def test_what_is_too_much_is_dropped_oldest_first_until_it_fits(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in range(10):
        opened(folder, clock).put(report(id_, hosts=100))
    _, size = opened(folder, clock).facts()
    most = size * 35 // 100
    spool = opened(folder, clock, max_size=most)
    spool.tidy()
    assert subnets(spool) == [7, 8, 9]
    assert spool.facts()[1] <= most
    assert "7 of the oldest reports with 700 hosts are dropped" in warnings(caplog)[0]


def test_what_is_set_aside_is_bounded_too(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    aside = spool.set_aside(spool.put(report(1, hosts=100)))
    spool.put(report(2, hosts=100))
    opened(folder, clock, max_size=spool.facts()[1]).tidy()
    assert not aside.exists()
    assert subnets(spool) == [2]
    aside = spool.set_aside(spool.put(report(3)))
    clock.now += 8 * DAY
    opened(folder, clock).tidy()
    assert not aside.exists()


def test_a_damaged_report_counts_with_its_size(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    damaged = spool.set_aside(spool.put(report(1)))
    damaged.write_bytes(b"x" * 10_000)
    spool.put(report(2))
    opened(folder, clock, max_size=5_000).tidy()
    assert not damaged.exists()
    assert subnets(spool) == [2]


def test_within_bounds_nothing_is_dropped_nor_said(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in range(3):
        opened(folder, clock).put(report(id_))
    opened(folder, clock).tidy()
    assert subnets(opened(folder, clock)) == [0, 1, 2]
    assert caplog.records == []


def test_a_clock_set_back_drops_nothing(folder: Path, clock: Clock) -> None:
    opened(folder, clock).put(report())
    clock.now -= 400 * DAY
    opened(folder, clock).tidy()
    assert len(opened(folder, clock).waiting()) == 1


# What is no report


WHOLE = {
    "format": 1,
    "made": NOW,
    "subnet": "192.0.10.0/24",
    "hosts": 1,
    "scan": '{"subnet": "192.0.10.0/24", "tz": "+0000", "results": []}',
}

DAMAGES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "no JSON": b"subnets: []",
    "list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "other JSON": b'{"name": "something else"}',
    "other format": json.dumps(WHOLE | {"format": 2}).encode(),
    "no network": json.dumps(WHOLE | {"subnet": "office"}).encode(),
    "subnet as number": json.dumps(WHOLE | {"subnet": 5}).encode(),
    "subnet as list": json.dumps(WHOLE | {"subnet": ["192.0.10.0/24"]}).encode(),
    "hosts as text": json.dumps(WHOLE | {"hosts": "many"}).encode(),
    "hosts beyond numbers": json.dumps(WHOLE | {"hosts": 1e999}).encode(),
    "hosts as list": json.dumps(WHOLE | {"hosts": []}).encode(),
    "scan as object": json.dumps(WHOLE | {"scan": {}}).encode(),
    "scan no JSON": json.dumps(WHOLE | {"scan": "{"}).encode(),
    "scan a list": json.dumps(WHOLE | {"scan": "[]"}).encode(),
    "scan without results": json.dumps(WHOLE | {"scan": "{}"}).encode(),
    "results no list": json.dumps(WHOLE | {"scan": '{"results": 5}'}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_no_report_and_no_crash(damage: str, spool: Spool) -> None:
    path = spool.put(report())
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(SpoolError) as refused:
        spool.get(path)
    assert str(refused.value) == f"{path} holds no report"
    spool.tidy()
    assert spool.waiting() == [path]


def test_a_file_cut_anywhere_is_no_report(spool: Spool) -> None:
    path = spool.put(report(hosts=3))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SpoolError):
            spool.get(path)
        spool.tidy()


def test_a_folder_in_a_reports_place_is_set_aside(spool: Spool, folder: Path) -> None:
    (folder / "000000000001.json").mkdir(parents=True)
    (path,) = spool.waiting()
    with pytest.raises(SpoolError, match="cannot be read \\(it is not a regular file\\)"):
        spool.get(path)
    spool.tidy()
    spool.set_aside(path)
    assert spool.waiting() == []
    assert spool.put(report()).name == "000000000002.json"


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "report.json",
        ".hidden.json",
        "1.json",
        "\N{ARABIC-INDIC DIGIT ONE}" * 12 + ".json",
        "9" * 200 + ".json",
        "-1.json",
    ],
)
def test_somebody_elses_file_is_left_alone_and_changes_no_order(
    name: str, spool: Spool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_text("not ours")
    spool.tidy()
    spool.put(report(1))
    spool.put(report(2))
    assert subnets(spool) == [1, 2]
    assert (folder / name).read_text() == "not ours"
    assert caplog.records == []


def test_what_a_killed_run_left_half_written_is_cleared_away(spool: Spool, folder: Path) -> None:
    path = spool.put(report())
    half_written(folder / "000000000009.json", os.getpid())
    assert spool.waiting() == [path]
    spool.tidy()
    assert os.listdir(folder) == [path.name]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@thorough
@given(part=st.sampled_from([*WHOLE, "everything"]), value=_JSON | _JSON.map(json.dumps))
def test_any_json_in_a_file_is_a_report_or_none(part: str, value: object, folder: Path, clock: Clock) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "000000000001.json"
    path.write_text(json.dumps(value if part == "everything" else WHOLE | {part: value}))
    spool = opened(folder, clock, max_age=10**12)
    spool.tidy()
    try:
        found = spool.get(path)
    except SpoolError:
        return
    assert isinstance(json.loads(found.scan), dict)


@thorough
@given(content=st.binary(max_size=200))
def test_any_bytes_in_a_file_are_no_crash(content: bytes, folder: Path, clock: Clock) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "000000000001.json"
    path.write_bytes(content)
    opened(folder, clock).tidy()
    with pytest.raises(SpoolError):
        opened(folder, clock).get(path)


# Trouble with the disk


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
        kept.append(spool.put(report(len(kept), hosts=100)))
except SpoolError as error:
    print(error)
assert len(kept) > 2
assert spool.waiting() == kept
assert [spool.get(path) for path in kept] == [report(id_, hosts=100) for id_ in range(len(kept))]
assert sorted(folder.iterdir()) == kept, "something half written is left"
spool.remove(kept[0])
spool.put(report(99, hosts=100))
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
spool.tidy()
(path,) = spool.waiting()
assert spool.get(path) == report()
try:
    spool.put(report())
except SpoolError as error:
    print(error)
assert spool.set_aside(path) == path
spool.remove(path)
"""


def inside(mount: str, folder: Path, program: str) -> list[str]:
    """What a program says where only it sees what is mounted at the folder."""
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
def test_a_full_disk_keeps_what_is_there_whole_and_leaves_no_half(folder: Path) -> None:
    said = inside('mount -t tmpfs -o size=64k none "$1"', folder, FILL)
    assert said == [f"{folder} cannot keep it (No space left on device)", "goes on"]


@as_root
def test_a_full_table_of_files_is_a_full_disk(folder: Path) -> None:
    said = inside('mount -t tmpfs -o nr_inodes=6 none "$1"', folder, FILL)
    assert said == [f"{folder} cannot keep it (No space left on device)", "goes on"]


@as_root
def test_a_read_only_folder_can_be_read_and_nothing_else(spool: Spool, folder: Path) -> None:
    path = spool.put(report())
    said = inside('mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', folder, LOOK)
    assert said == [
        f"{folder} cannot keep it (Read-only file system)",
        f"{path} cannot be set aside (Read-only file system)",
        f"{path} cannot be removed (Read-only file system); the next run sends it again",
    ]
    assert spool.waiting() == [path]


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    spool = opened(tmp_path / "file" / "spool", clock)
    spool.tidy()
    with pytest.raises(SpoolError, match="file/spool cannot keep it \\("):
        spool.put(report())
    assert spool.waiting() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_searched_keeps_nothing(folder: Path, clock: Clock) -> None:
    spool = opened(folder, clock)
    spool.put(report())
    folder.parent.chmod(0)
    try:
        os.seteuid(65534)
        spool.tidy()
        assert spool.waiting() == []
        with pytest.raises(SpoolError, match="cannot keep it \\(Permission denied\\)"):
            spool.put(report())
    finally:
        os.seteuid(0)
    folder.parent.chmod(0o700)
    assert len(spool.waiting()) == 1
