"""Which changes earlier runs have shown, so that cron mails each once; one JSON file among what is cached."""

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from ..models import RECENT
from ..system import files
from .changes import Change

log = logging.getLogger(__name__)

FORMAT = 1
"""Changes when a file of an older version could be misread."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of the file: about 500,000 changes."""

Times = dict[str, tuple[int, float]]
"""By the change's key: phpIPAM's id of the subnet, and when it was shown first, in seconds since the epoch."""


class ShownChanges:
    """The changes that were shown within a day and still hold.

    phpIPAM learns of a change by the report, but its answers are cached, the report may wait, and a silent host
    stays silent. A change that ended and comes again is shown again.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def remember(self, changes: Iterable[Change], scanned: Collection[int]) -> list[Change]:
        """Return the changes that were not shown before, and keep all of them as shown.

        `scanned` are the ids of the subnets that were scanned to the end; for the others, what was shown holds.
        """
        now, changes = self._clock(), list(changes)
        shown = self._load(now)
        kept = {change.key: shown.get(change.key, (change.subnet_id, now)) for change in changes}
        kept |= {key: shown[key] for key in shown if shown[key][0] not in scanned}
        if kept != shown:
            self._save(kept)
        return [change for change in changes if change.key not in shown]

    def _load(self, now: float) -> Times:
        nothing: Times = {}
        times = files.load(self._path, FORMAT, MAX_BYTES, _decode, nothing)
        return {key: value for key, value in times.items() if 0 <= now - value[1] < RECENT.total_seconds()}

    def _save(self, times: Times) -> None:
        try:
            files.replace(self._path, json.dumps({"format": FORMAT, "shown": times}).encode(), durable=False)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s); the next run shows these changes again",
                self._path,
                error.strerror,
            )


def _decode(document: Any) -> Times:
    return {str(key): (int(id_), float(first)) for key, (id_, first) in document["shown"].items()}
