"""phpIPAM's local times: their moments and their zone."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan_server.php_time import OFFSETS, PhpTime, Zone

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
CHANGES = {
    "Europe/Berlin": ("2026-03-29 01:00", "2026-10-25 01:00"),
    "America/New_York": ("2026-03-08 07:00", "2026-11-01 06:00"),
    "Australia/Lord_Howe": ("2026-10-03 15:30", "2026-04-04 15:00"),
    "Asia/Kolkata": ("2026-03-29 01:00", "2026-10-25 01:00"),
}
"""The clock changes to summer time and back, in UTC."""


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("which", [0, 1])
def test_every_run_is_later_than_the_one_before(zone: str, which: int) -> None:
    """Runs of an agent every seven minutes, from three hours before a clock change to three hours after it."""
    moment = datetime.fromisoformat(f"{CHANGES[zone][which]}:00+00:00") - timedelta(hours=3)
    before = PhpTime(moment, ZoneInfo(zone)).text(moment)
    for _ in range(52):
        moment += timedelta(minutes=7)
        php = PhpTime(moment, ZoneInfo(zone))
        last = php.moment(before)
        assert last is None or last < moment
        before = php.text(moment)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 24)), st.sampled_from([*CHANGES, "UTC"]))
def test_stored_time_is_read_in_phpipams_zone(local: datetime, name: str) -> None:
    moment = local.replace(microsecond=0, tzinfo=UTC)
    php = PhpTime(datetime(2026, 11, 25, tzinfo=UTC), ZoneInfo(name))
    meant = php.moment(php.text(moment))
    assert meant is not None
    assert php.text(meant) == php.text(moment)
    assert meant - moment in (timedelta(), timedelta(hours=1), timedelta(minutes=30))


@pytest.mark.parametrize(
    "stored", [None, "", "0000-00-00 00:00:00", "1970-01-01 00:00:01", "1970-01-01 01:00:00"]
)
def test_phpipams_times_for_never_are_no_moment(stored: object) -> None:
    assert PhpTime(datetime(2026, 11, 25, tzinfo=UTC), BERLIN).moment(stored) is None


@pytest.mark.parametrize("stored", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
@pytest.mark.parametrize("hours", [-5, 2])
def test_stored_time_outside_the_calendar_is_no_moment(stored: str, hours: int) -> None:
    php = PhpTime(datetime(2026, 11, 25, tzinfo=UTC), timezone(timedelta(hours=hours)))
    assert php.moment(stored) is None


@pytest.mark.parametrize(("minutes", "news"), [(4, True), (6, False), (60, False), (1e6, False)])
def test_stored_time_in_the_future_is_ignored(minutes: float, news: bool) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    php = PhpTime(now, BERLIN)
    assert (php.moment(php.text(now + timedelta(minutes=minutes))) is not None) == news


@given(
    st.sampled_from(OFFSETS),
    st.integers(0, 23 * 60),
    st.lists(st.integers(0, 55), min_size=1, max_size=5),
    st.integers(-90, 90),
)
def test_offset_is_found_from_the_second_api_request(
    offset: timedelta, age: int, later: list[int], skew: int
) -> None:
    """The time of the first request may be hours old when it is read, of later requests at most a minute."""
    now = datetime(2026, 11, 25, tzinfo=UTC)
    zone = Zone(None)

    def access(moment: datetime) -> datetime:
        return (moment + offset + timedelta(seconds=skew)).replace(tzinfo=None)

    others = {access(now - timedelta(minutes=age)), access(now - timedelta(days=9))}
    zone.observe(frozenset(others), now)
    assert zone.at(now).zone.utcoffset(None) is not None
    for seconds in later:
        now += timedelta(minutes=1)
        zone.observe(frozenset(others | {access(now - timedelta(seconds=seconds))}), now)
    assert zone.at(now).zone.utcoffset(now) == offset


def test_one_recent_request_determines_most_zones() -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    for hours, age in ((0, 0), (1, 0), (1, 55), (-5, 0), (-5, 55), (5.5, 0), (5.5, 10)):
        zone = Zone(None)
        zone.observe(frozenset([now.replace(tzinfo=None) + timedelta(hours=hours, minutes=-age)]), now)
        assert zone.at(now).zone.utcoffset(now) == timedelta(hours=hours)


def test_reading_that_comes_late_changes_no_offset() -> None:
    """Two reports read the table at once, one before and one after the hour's first API request."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    zone = Zone(None)
    before, after = (frozenset([datetime(2026, 11, 25, hour)]) for hour in (11, 12))
    zone.observe(before, now - timedelta(minutes=59))
    zone.observe(before, now - timedelta(minutes=1))
    for reading in (after, before, after, before):
        zone.observe(reading, now)
        assert zone.at(now).zone.utcoffset(now) == timedelta()


def test_offset_follows_the_change_of_the_clock() -> None:
    now = datetime(2026, 10, 25, tzinfo=UTC)
    zone = Zone(None)
    requests = {"agent": datetime(2026, 10, 25), "another app": datetime(2026, 10, 25)}
    for minute in range(1, 180):
        now += timedelta(minutes=1)
        requests["agent"] = now.astimezone(BERLIN).replace(tzinfo=None)
        if minute == 59:  # later than all times of the next hour
            requests["another app"] = requests["agent"]
        zone.observe(frozenset(requests.values()), now)
        assert zone.at(now).text(now) == PhpTime(now, BERLIN).text(now)


def test_zone_without_a_request_is_utc() -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    zone = Zone(None)
    zone.observe(frozenset(), now)
    assert zone.at(now).zone.utcoffset(now) == timedelta()


def test_configured_zone_is_right_at_the_change_of_the_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    zone = Zone(BERLIN)
    now = datetime(2026, 10, 25, 0, 30, 20, tzinfo=UTC)
    for _ in range(60):
        requested = now - timedelta(seconds=40)
        zone.observe(frozenset([requested.astimezone(BERLIN).replace(tzinfo=None)]), now)
        assert not zone.conflict
        now += timedelta(minutes=1)


def test_wrong_zone_is_logged_until_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    zone = Zone(ZoneInfo("UTC"))
    now = datetime(2026, 11, 25, tzinfo=UTC)
    zone.observe(frozenset([datetime(2026, 11, 24, 20)]), now)
    assert zone.conflict == ""
    for minute in range(1, 4):
        zone.observe(frozenset([datetime(2026, 11, 25, 1, minute)]), now + timedelta(minutes=minute))
    said = "timezone: UTC is wrong, phpIPAM writes times as UTC+01:00; leave it out"
    assert str(zone.conflict) == said
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [said]
    zone.observe(frozenset([datetime(2026, 11, 25, 0, 4)]), now + timedelta(minutes=4))
    assert not zone.conflict
