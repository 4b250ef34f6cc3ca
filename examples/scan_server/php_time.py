"""PHP's clock: phpIPAM stores local times without their zone; its API's rows reveal the offset. Pure."""

import logging
from collections import deque
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

log = logging.getLogger(__name__)

OFFSETS = [
    timedelta(minutes=minutes)
    for minutes in sorted(
        {*range(-720, 841, 60), -570, -210, -150, 210, 270, 330, 345, 390, 525, 570, 630, 765, 825}
    )
]
"""All offsets from UTC in use: whole hours, some halves and quarters."""

FRESH = timedelta(minutes=10)
"""Maximum age of an API request that determines PHP's offset, since two offsets differ by at least 15 minutes."""

SKEW = timedelta(minutes=2)
"""Tolerated difference between the clocks of phpIPAM's host and of this host."""

AHEAD = timedelta(minutes=5)
"""A stored time that is further in the future comes from a wrong zone or clock, and is ignored."""

NEVER = datetime(1970, 1, 3, tzinfo=timezone.utc)
"""phpIPAM's earliest times mean "never"."""


class PhpTime:
    """The present, and phpIPAM's form of times. Conversions are cached, since most times of a report are equal."""

    def __init__(self, now: datetime, zone: tzinfo) -> None:
        self.now = now
        self.zone = zone
        self.text = cache(self._text)
        self.moment = cache(self._moment)

    def _text(self, moment: datetime) -> str:
        """Return the moment as phpIPAM stores it."""
        return moment.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def _moment(self, stored: object) -> datetime | None:
        """Return the moment of a stored time; None for never, and for a future time.

        In the repeated hour of autumn a time has two meanings: the later one counts, unless it is in the future.
        """
        try:
            local = datetime.fromisoformat(str(stored))
            first, second = sorted(
                local.replace(tzinfo=self.zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)
            )
        except (ValueError, OverflowError):  # NULL, or 0000-00-00; 9999-12-31 west of Greenwich
            return None
        meant = second if second <= self.now else first
        return meant if NEVER < meant <= self.now + AHEAD else None


class Zone:
    """PHP's time zone: the configured zone, else the offset of the times that phpIPAM's API writes, else UTC.

    phpIPAM stores the time of each API app's last request. These times are read once a minute: a time that is new
    since the last reading is not older than that reading, which determines the offset. A time of the first reading
    may be older; then the smallest possible offset is taken, so that no host is seen in the future.
    """

    def __init__(self, configured: ZoneInfo | None) -> None:
        self._configured = configured
        self._observed: timedelta | None = None
        self._readings: deque[frozenset[datetime]] = deque(maxlen=100)
        """The latest readings: of reports at once, an older reading may come after a newer one."""
        self._read: datetime | None = None
        self.conflict = ""
        """A message if the configured zone is not PHP's."""

    def observe(self, requests: frozenset[datetime], now: datetime) -> None:
        """Given the times of the apps' last requests, in PHP's zone, as read now, detect the offset."""
        if new := requests.difference(*self._readings):
            fresh = self._read is not None and now - self._read < FRESH
            if fresh or self._observed is None:
                least = max(new) - now.replace(tzinfo=None) - SKEW
                self._found(next((offset for offset in OFFSETS if offset >= least), None), fresh, now)
        self._readings.append(requests)
        self._read = now

    def _found(self, offset: timedelta | None, certain: bool, now: datetime) -> None:
        if offset is None:
            return
        written = f"phpIPAM writes times as {timezone(offset)}"
        if offset != self._observed:
            log.info("timezone: %s", written)
            self._observed = offset
        if self._configured and certain:
            moments = (now, now - FRESH)  # the clock may have changed in between
            right = offset in [moment.astimezone(self._configured).utcoffset() for moment in moments]
            conflict = "" if right else f"timezone: {self._configured} is wrong, {written}; leave it out"
            if conflict and conflict != self.conflict:
                log.error(conflict)
            self.conflict = conflict

    def at(self, now: datetime) -> PhpTime:
        """Return PHP's time."""
        return PhpTime(now, self._configured or timezone(self._observed or timedelta()))
