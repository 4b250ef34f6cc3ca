"""The changes that earlier runs have shown, in a JSON file of the cache folder: cron mails each change once."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..models import RECENT
from ..system import files
from .changes import Change

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file's format; raise it if an older file could be misread."""

MAX_BYTES = 64 * 1024 * 1024
"""Maximum size of the file in bytes: about 500,000 changes."""

Times = dict[str, tuple[int, float]]
"""A change's key → phpIPAM's id of the subnet, and the time of the first showing, in seconds since the epoch."""


@contextmanager
def first_shown(
    path: Path, changes: Iterable[Change], scanned: Collection[int], now: float
) -> Iterator[list[Change]]:
    """Give the changes that no run has shown within a day; after the block, note all changes in the file as shown.

    If the block fails, nothing is noted: the changes could not be printed. A change is found again in each run while
    phpIPAM's answers are cached, the report waits, or a host stays silent. A change that has ended and recurs is
    shown again. `scanned` are the ids of the completely scanned subnets; for other subnets, earlier changes stay
    noted. `now` is in seconds since the epoch.
    """
    noted = files.load(path, FORMAT, MAX_BYTES, _decode)
    shown = {key: value for key, value in noted.items() if 0 <= now - value[1] < RECENT.total_seconds()}
    changes = list(changes)
    yield [change for change in changes if change.key not in shown]
    kept = {change.key: shown.get(change.key, (change.subnet_id, now)) for change in changes}
    kept |= {key: shown[key] for key in shown if shown[key][0] not in scanned}
    if kept != shown:
        try:
            files.replace(path, json.dumps({"format": FORMAT, "shown": kept}).encode(), durable=False)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s); the next run shows these changes again", path, error.strerror
            )


def _decode(document: Any) -> Times:
    return {str(key): (int(id_), float(first)) for key, (id_, first) in document["shown"].items()}
