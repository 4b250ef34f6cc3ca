"""The tags Used and Offline, as phpIPAM's pingCheck sets them if its setting "Update tags" is on."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from .answers import ROW_ERRORS, error_number
from .database import addresses, excluded, explain_missing, settings, tags, update_rows
from .decode import Report
from .php_time import PhpTime

log = logging.getLogger(__name__)

OFFLINE, USED, RESERVED = 1, 2, 3


def keep(connection: Connection, subnet: int, up: Iterable[int], report: Report, php: PhpTime) -> None:
    """Set the tags of the addresses with the ids `up` and of the report's silent addresses.

    Like phpIPAM, it makes no changelog entry. An error is logged and does not affect the report.
    """
    try:
        with connection.begin_nested():
            if offline := _offline(connection):
                _write(connection, subnet, {*up, *report.silent}, report, php, offline)
    except DBAPIError as error:
        if error_number(error) in ROW_ERRORS:
            log.warning("tags: are not updated: %s", error.orig)
        else:
            explain_missing("tags: are not updated", error)


def _write(
    connection: Connection, subnet: int, ids: set[int], report: Report, php: PhpTime, offline: timedelta
) -> None:
    silent = set(report.silent)
    columns = [addresses.c.id, addresses.c.state, addresses.c.lastSeen, excluded]
    updatable = addresses.c.state.in_(select(tags.c.id).where(tags.c.updateTag == 1))
    rows = select(*columns).where(addresses.c.subnetId == subnet, addresses.c.id.in_(ids), updatable)
    changes = defaultdict(list)
    for row in connection.execute(rows):
        if (tag := _tag(row, row.id in silent, report, php, offline)) != row.state:
            changes[row.state, tag].append(row.id)
    for (old, tag), changed in changes.items():
        connection.execute(update_rows(changed).where(addresses.c.state == old).values(state=tag))


def _offline(connection: Connection) -> timedelta | None:
    """Return the time without an answer after which an address is Offline; None if scans set no tags."""
    ping_status = connection.scalar(select(settings.c.pingStatus).where(settings.c.updateTags == 1))
    try:
        return timedelta(seconds=float(ping_status.split(";")[1])) if ping_status else None
    except (ValueError, IndexError, OverflowError):  # phpIPAM takes any two numbers, the database any text
        return None


def _tag(row: Any, silent: bool, report: Report, php: PhpTime, offline: timedelta) -> int:
    """Return the tag that the row should have."""
    seen, state = php.moment(row.lastSeen), int(row.state)
    if seen is None:  # as phpIPAM: an address that was never seen keeps its tag
        return state
    if not silent:
        return USED if php.now - seen < offline else state
    stays = row.excluded or state == RESERVED or report.made - seen < offline
    return state if stays else OFFLINE
