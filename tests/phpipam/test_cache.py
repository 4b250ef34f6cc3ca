import hashlib
import itertools
import json
import logging
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from clock import NOW, Clock
from leftovers import half_written
from phpipam_scan_agent.phpipam import decode
from phpipam_scan_agent.phpipam.cache import FORMAT, Cache, Rows
from phpipam_scan_agent.phpipam.decode import Row
from thorough import thorough

ROWS: list[Row] = [{"id": 10, "subnet": "192.0.2.0", "mask": "24"}, {"id": "11", "nameservers": None}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "phpipam.json"


def loaded(path: Path, clock: Callable[[], float], **changes: object) -> Cache:
    """The cache of a new run."""
    cache = Cache(path, configs.config(**changes), clock)
    cache.load()
    return cache


def saved(path: Path, clock: Callable[[], float], **changes: object) -> Cache:
    """The cache after a run with one answer."""
    cache = loaded(path, clock, **changes)
    cache.set("subnets", ROWS)
    cache.save()
    return cache


def fresh(cache: Cache) -> dict[str, Rows]:
    """The fresh answers to the questions of these tests."""
    answers = {question: cache.get(question) for question in ("subnets", "agent")}
    return {question: rows for question, rows in answers.items() if rows is not None}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Age


def test_the_next_run_reads_the_saved_answers(path: Path, clock: Clock) -> None:
    saved(path, clock)
    assert fresh(loaded(path, clock)) == {"subnets": ROWS}


def test_a_missing_file_is_an_empty_cache_without_a_message(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert fresh(loaded(path, clock)) == {}
    assert caplog.records == []


def test_an_answer_is_used_until_it_expires(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=60)
    clock.now = NOW + 59
    assert "subnets" in fresh(loaded(path, clock, cache_expire_time=60))
    clock.now = NOW + 60
    assert "subnets" not in fresh(loaded(path, clock, cache_expire_time=60))


def test_each_answer_keeps_its_own_age_across_runs(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=60)
    clock.now = NOW + 40
    later = loaded(path, clock, cache_expire_time=60)
    later.set("agent", [{"id": 2}])
    later.save()
    clock.now = NOW + 61
    assert fresh(loaded(path, clock, cache_expire_time=60)) == {"agent": [{"id": 2}]}


def test_a_read_does_not_change_an_answers_age(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=60)
    clock.now = NOW + 50
    assert loaded(path, clock, cache_expire_time=60).get("subnets") == ROWS
    clock.now = NOW + 61
    assert fresh(loaded(path, clock, cache_expire_time=60)) == {}


def test_a_shorter_expire_time_applies_to_existing_answers(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=1800)
    clock.now = NOW + 100
    assert fresh(loaded(path, clock, cache_expire_time=60)) == {}
    assert "subnets" in fresh(loaded(path, clock, cache_expire_time=1800))


def test_expire_time_0_disables_the_cache(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=1800)
    assert fresh(loaded(path, clock, cache_expire_time=0)) == {}


def test_epoch_time_offset_shifts_the_clock(path: Path, clock: Clock) -> None:
    def shifted() -> float:
        return clock.now + 3600

    saved(path, shifted, cache_expire_time=60)
    clock.now = NOW + 59
    assert "subnets" in fresh(loaded(path, shifted, cache_expire_time=60))
    clock.now = NOW + 61
    assert "subnets" not in fresh(loaded(path, shifted, cache_expire_time=60))


def test_a_later_epoch_time_offset_ages_existing_answers(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=1800)
    assert fresh(loaded(path, lambda: clock() + 3600, cache_expire_time=1800)) == {}


def test_answers_from_the_future_are_dropped_with_a_warning(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    saved(path, clock)
    clock.now = NOW - 3600
    assert fresh(loaded(path, clock)) == {}
    assert warnings(caplog) == [f"cache {path} comes from the future; check the clock; asking phpIPAM again"]


def test_a_clock_set_back_by_seconds_is_tolerated(path: Path, clock: Clock) -> None:
    saved(path, clock)
    clock.now = NOW - 2
    assert "subnets" in fresh(loaded(path, clock))


@pytest.mark.parametrize("lifetime", range(1, 30))
def test_answers_may_expire_at_any_moment(path: Path, lifetime: int) -> None:
    seconds = itertools.count(int(NOW))  # a second passes with each reading of the clock
    cache = saved(path, lambda: float(next(seconds)), cache_expire_time=lifetime)
    assert 0 <= cache.age <= lifetime


# Credentials


@pytest.mark.parametrize(
    "change",
    [
        {"api_url": "https://other.example"},
        {"client_name": "agent2"},
        {"client_token": "another-app-code"},
        {"scanagent_code": "another-agent-code"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_credentials_invalidate_the_cache(change: dict[str, str], path: Path, clock: Clock) -> None:
    saved(path, clock)
    assert fresh(loaded(path, clock, **change)) == {}
    assert "subnets" in fresh(loaded(path, clock))


def test_credentials_are_compared_one_by_one(path: Path, clock: Clock) -> None:
    saved(path, clock, client_name="ab", client_token="c")
    assert fresh(loaded(path, clock, client_name="a", client_token="bc")) == {}


def test_other_settings_do_not_invalidate_the_cache(path: Path, clock: Clock) -> None:
    saved(path, clock)
    assert "subnets" in fresh(loaded(path, clock, http_port=443, http_server="https://h", auth_token="t"))


def test_answers_for_other_credentials_are_replaced_not_mixed(path: Path, clock: Clock) -> None:
    saved(path, clock)
    other = loaded(path, clock, client_name="agent2")
    other.set("agent", [{"id": 2}])
    other.save()
    assert fresh(loaded(path, clock, client_name="agent2")) == {"agent": [{"id": 2}]}
    assert fresh(loaded(path, clock)) == {}


# The file


def test_the_file_is_private_to_its_owner(path: Path, clock: Clock) -> None:
    old = os.umask(0)
    try:
        saved(path, clock)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_secret_is_in_the_file(path: Path, clock: Clock) -> None:
    saved(path, clock, http_server="https://h", auth_token=configs.SERVER_TOKEN)
    content = path.read_text()
    assert "192.0.2.0" in content
    secrets = (configs.APP_CODE, configs.AGENT_CODE, configs.SERVER_TOKEN)
    assert [secret for secret in secrets if secret in content] == []


def test_equal_credentials_have_different_hashes_in_two_files(path: Path, clock: Clock) -> None:
    saved(path, clock)
    first = json.loads(path.read_text())
    path.unlink()
    saved(path, clock)
    assert json.loads(path.read_text())["for"] != first["for"]


def test_only_one_file_is_left(path: Path, clock: Clock) -> None:
    saved(path, clock)
    saved(path, clock)
    assert os.listdir(path.parent) == [path.name]


def test_an_unchanged_cache_is_not_written_again(path: Path, clock: Clock) -> None:
    saved(path, clock)
    written = path.stat().st_ino
    loaded(path, clock).save()
    assert path.stat().st_ino == written


def test_the_file_is_replaced_atomically(path: Path, clock: Clock) -> None:
    """An open file descriptor still reads the old file."""
    saved(path, clock)
    with path.open() as reader:
        later = loaded(path, clock)
        later.set("agent", [{"id": 2}] * 10_000)
        later.save()
        assert dict(json.load(reader)["answers"]).keys() == {"subnets"}
    assert fresh(loaded(path, clock)).keys() == {"subnets", "agent"}


# Damaged files


def damages() -> dict[str, bytes]:
    answers = {"subnets": [NOW, [{"id": 1}]]}
    whole = {"format": FORMAT, "salt": "00", "for": "", "answers": answers, "tried": {}, "excluded": {}}
    return {
        "empty": b"",
        "binary": bytes(range(256)),
        "no JSON": b"subnets: []",
        "list": b"[]",
        "null": b"null",
        "number": b"1",
        "deep": b"[" * 100_000,
        "other JSON": b'{"name": "something else"}',
        "salt of another type": json.dumps({**whole, "salt": 5}).encode(),
        "salt without hex": json.dumps({**whole, "salt": "xyz"}).encode(),
        "answers as list": json.dumps({**whole, "answers": [1]}).encode(),
        "answer without time": json.dumps({**whole, "answers": {"subnets": [[]]}}).encode(),
        "time as text": json.dumps({**whole, "answers": {"subnets": ["noon", []]}}).encode(),
        "time beyond numbers": json.dumps({**whole, "answers": {"subnets": [10**400, []]}}).encode(),
        "excluded as list": json.dumps({**whole, "excluded": [1]}).encode(),
        "excluded as text": json.dumps({**whole, "excluded": {"subnets": "noon"}}).encode(),
        "tried as list": json.dumps({**whole, "tried": [1]}).encode(),
        "tried as text": json.dumps({**whole, "tried": {"subnets": "noon"}}).encode(),
        "rows as text": json.dumps({**whole, "answers": {"subnets": [NOW, "rows"]}}).encode(),
        "row as text": json.dumps({**whole, "answers": {"subnets": [NOW, ["row"]]}}).encode(),
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_dropped_with_a_warning_and_replaced(
    damage: str, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damages()[damage])
    cache = saved(path, clock)
    assert warnings(caplog) == [f"cache {path} is damaged; asking phpIPAM again"]
    assert fresh(cache) == fresh(loaded(path, clock)) == {"subnets": ROWS}


def test_a_truncated_file_gives_no_answers(path: Path, clock: Clock) -> None:
    saved(path, clock)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert fresh(loaded(path, clock)) == {}


def test_the_format_number_belongs_to_the_cached_fields() -> None:
    """Otherwise a new field would be missing in the answers of an older file."""
    kept = {
        "agent": decode.AGENT_FIELDS,
        "subnets": decode.SUBNET_FIELDS,
        "nested": decode.NESTED_FIELDS,
        "addresses": decode.ADDRESS_FIELDS,
        "nameservers": decode.NAMESERVER_FIELDS,
    }
    assert (FORMAT, {what: " ".join(sorted(fields)) for what, fields in kept.items()}) == (
        4,
        {
            "agent": "code id name",
            "subnets": "discoverSubnet id isFolder isPool mask masterSubnetId nameserverId nameservers pingSubnet"
            " resolveDNS scanAgent subnet vrfId",
            "nested": "isFolder mask subnet",
            "addresses": "excludePing hostname id ip lastSeen mac",
            "nameservers": "id namesrv1",
        },
    )


def test_a_file_of_another_format_is_ignored_without_a_warning(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    saved(path, clock)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({"format": FORMAT - 1, "salt": document["salt"], "answers": [1]}))
    assert fresh(loaded(path, clock)) == {}
    assert warnings(caplog) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_not_read(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    saved(path, clock)
    os.chown(path, 65534, 65534)
    assert fresh(loaded(path, clock)) == {}
    assert len(warnings(caplog)) == 1


@pytest.fixture
def scrypt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash the same credentials and salt once, since the hash is the slowest part of an example."""
    monkeypatch.setattr(hashlib, "scrypt", lru_cache(hashlib.scrypt))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.usefixtures("scrypt_once")
@thorough
@given(
    part=st.sampled_from(["format", "salt", "for", "answers", "answer", "rows", "tried", "none"]), value=_JSON
)
def test_any_json_in_the_file_gives_rows_or_nothing(
    part: str, value: object, path: Path, clock: Clock
) -> None:
    whole = path.with_name("whole.json")
    if not whole.exists():
        saved(whole, clock)
    document = json.loads(whole.read_text())
    if part in ("answer", "rows"):
        document["answers"]["subnets"] = value if part == "answer" else [NOW, value]
    path.write_text(json.dumps(value if part == "none" else {**document, part: value}))
    cache = loaded(path, clock, cache_stale_if_error=10**9)
    old = [found[1] for key in ("subnets", "0", "") if (found := cache.stale(key))]
    for rows in (*fresh(cache).values(), *old):
        assert all(isinstance(row, dict) for row in rows)


@thorough
@given(content=st.binary(max_size=200))
def test_any_bytes_in_the_file_are_ignored(content: bytes, path: Path, clock: Clock) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert fresh(loaded(path, clock)) == {}


def test_excluded_addresses_outlast_wrong_answers(path: Path, clock: Clock) -> None:
    cache = saved(path, clock)
    cache.exclude("subnets/10/addresses/", ROWS)
    cache.drop()
    cache.save()
    cache = loaded(path, clock)
    assert (fresh(cache), cache.excluded("subnets/10/addresses/")) == ({}, ROWS)


def test_excluded_addresses_outlast_a_clock_set_back(path: Path, clock: Clock) -> None:
    cache = saved(path, clock)
    cache.exclude("subnets/10/addresses/", ROWS)
    cache.save()
    clock.now = NOW - 3600
    cache = loaded(path, clock)
    assert (fresh(cache), cache.excluded("subnets/10/addresses/")) == ({}, ROWS)


# Stale answers


def test_a_stale_answer_comes_with_its_age_until_it_expires(path: Path, clock: Clock) -> None:
    wanted = {"cache_expire_time": 60, "cache_stale_if_error": 100}
    saved(path, clock, **wanted)
    clock.now = NOW + 159
    cache = loaded(path, clock, **wanted)
    assert "subnets" not in fresh(cache)
    assert cache.stale("subnets") == (159, ROWS)
    assert cache.stale("agent") is None
    clock.now = NOW + 160
    assert loaded(path, clock, **wanted).stale("subnets") is None


def test_stale_answers_keep_their_age_beside_new_answers(path: Path, clock: Clock) -> None:
    wanted = {"cache_expire_time": 60, "cache_stale_if_error": 100}
    saved(path, clock, **wanted)
    clock.now = NOW + 90
    cache = loaded(path, clock, **wanted)
    cache.set("agent", [{"id": 2}])
    cache.save()
    clock.now = NOW + 120
    later = loaded(path, clock, **wanted)
    assert fresh(later) == {"agent": [{"id": 2}]}
    assert later.stale("subnets") == (120, ROWS)


def test_a_new_answer_replaces_the_stale_answer(path: Path, clock: Clock) -> None:
    wanted = {"cache_expire_time": 60, "cache_stale_if_error": 100}
    saved(path, clock, **wanted)
    clock.now = NOW + 90
    cache = loaded(path, clock, **wanted)
    cache.set("subnets", [])
    assert cache.stale("subnets") == (0, [])


def test_without_the_setting_no_stale_answer_is_used(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_expire_time=60)
    clock.now = NOW + 60
    assert loaded(path, clock, cache_expire_time=60).stale("subnets") is None


def test_stale_answers_from_the_future_are_dropped(path: Path, clock: Clock) -> None:
    saved(path, clock, cache_stale_if_error=10**9)
    clock.now = NOW - 3600
    assert loaded(path, clock, cache_stale_if_error=10**9).stale("subnets") is None


def test_temporary_files_of_a_killed_run_are_removed(path: Path, clock: Clock) -> None:
    saved(path, clock)
    half_written(path, os.getpid())
    assert "subnets" in fresh(loaded(path, clock))
    assert os.listdir(path.parent) == [path.name]


# The order of questions


def test_questions_are_asked_in_the_order_of_their_last_requests(path: Path, clock: Clock) -> None:
    cache = loaded(path, clock, cache_expire_time=60)
    for question in ("answered", "failed", "fresh"):
        clock.now += 50
        if question == "failed":
            cache.tried(question)
        else:
            cache.set(question, ROWS)
    cache.save()
    later = loaded(path, clock, cache_expire_time=60)
    assert later.ordered(["failed", "answered", "fresh", "new"]) == ["fresh", "new", "answered", "failed"]


def test_a_request_in_the_future_does_not_count(path: Path, clock: Clock) -> None:
    cache = loaded(path, clock)
    clock.now = NOW + 3600
    cache.tried("failed")
    cache.save()
    clock.now = NOW
    cache = loaded(path, clock)
    cache.tried("later")
    assert cache.ordered(["later", "failed"]) == ["failed", "later"]


# Faults of the disk


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """A file size limit of the process, which has the effect of a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_keeps_the_old_file_and_is_a_warning(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    saved(path, clock)
    later = loaded(path, clock)
    later.set("agent", [{"id": 2}] * 10_000)
    with full_disk(100):
        later.save()
    assert warnings(caplog) == [f"cache {path} cannot be written (File too large); every run asks phpIPAM"]
    assert os.listdir(path.parent) == [path.name]
    assert fresh(loaded(path, clock)) == {"subnets": ROWS}
    assert len(later.get("agent") or ()) == 10_000


def test_a_folder_that_cannot_be_created_is_a_warning(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "phpipam.json"
    cache = saved(path, clock)
    assert cache.get("subnets") == ROWS
    assert warnings(caplog) == [
        f"cache {path} cannot be read (Not a directory); asking phpIPAM again",
        f"cache {path} cannot be written (Not a directory); every run asks phpIPAM",
    ]


def test_an_unwritable_folder_is_a_warning(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o555)
    for folder in (path.parents[1], path.parents[2]):
        folder.chmod(0o755)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root could write
        cache = saved(path, clock)
    finally:
        os.seteuid(user)
    assert cache.get("subnets") == ROWS
    assert [line.partition("; ")[2] for line in warnings(caplog)][-1] == "every run asks phpIPAM"
    assert os.listdir(path.parent) == []


def test_a_folder_instead_of_the_file_is_a_warning(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir(parents=True)
    assert saved(path, clock).get("subnets") == ROWS
    assert len(warnings(caplog)) == 2
    assert os.listdir(path.parent) == [path.name]
