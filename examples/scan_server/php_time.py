"""PHP's clock: phpIPAM stores local times without their zone; its API's rows reveal the offset. Pure."""

import logging
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
"""All offsets from UTC that are in use: whole hours, some halves and quarters."""

FRESH = timedelta(minutes=10)
"""The smallest difference of two offsets is a quarter of an hour; a time as new as this leaves one of them."""

SKEW = timedelta(minutes=2)
"""The clocks of phpIPAM's host and of this one may differ by this much."""

AHEAD = timedelta(minutes=5)
"""A stored time later than now by more than this is from a wrong zone or clock, and is no news."""

NEVER = datetime(1970, 1, 3, tzinfo=timezone.utc)
"""phpIPAM's earliest times mean "never"."""


class PhpTime:
    """The present, and how phpIPAM writes times down. A report's times are mostly equal, so each is computed once."""

    def __init__(self, now: datetime, zone: tzinfo) -> None:
        self.now = now
        self.zone = zone
        self.text = cache(self._text)
        self.moment = cache(self._moment)

    def _text(self, moment: datetime) -> str:
        """Return the moment as phpIPAM stores it."""
        return moment.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def _moment(self, stored: object) -> datetime | None:
        """Return the moment that phpIPAM's stored time means; None for never, and for a time to come.

        In the hour that autumn repeats, a time has two meanings: the later one that is not to come is taken.
        """
        try:
            local = datetime.fromisoformat(str(stored))
        except ValueError:  # NULL, or 0000-00-00
            return None
        first, second = sorted(
            local.replace(tzinfo=self.zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)
        )
        meant = second if second <= self.now else first
        return meant if NEVER < meant <= self.now + AHEAD else None


class Zone:
    """PHP's time zone: the configured one, else the offset that phpIPAM's API is seen to write, else UTC.

    phpIPAM writes down for each API app when it was used last. These times are read again and again: one that is new
    since the last reading is not older than that reading, and leaves one offset. The first one read may be older,
    so that it stands for an offset as small as possible: no host is seen in the future.
    """

    def __init__(self, configured: ZoneInfo | None) -> None:
        self._configured = configured
        self._observed: timedelta | None = None
        self._requests: frozenset[datetime] = frozenset()
        self._read: datetime | None = None
        self.conflict = ""
        """How the configured zone differs from PHP's, if it does."""

    def observe(self, requests: frozenset[datetime], now: datetime) -> None:
        """Take the times of the apps' last requests, in PHP's zone, as they are read now."""
        if new := requests - self._requests:
            fresh = self._read is not None and now - self._read < FRESH
            if fresh or self._observed is None:
                least = max(new) - now.replace(tzinfo=None) - SKEW
                self._found(next((offset for offset in OFFSETS if offset >= least), None), fresh, now)
        self._requests, self._read = requests, now

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
