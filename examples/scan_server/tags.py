"""The tags Used and Offline, as phpIPAM's pingCheck keeps them where its setting "Update tags" is on."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from .answers import ROW_ERRORS, error_number
from .database import addresses, explain_missing, settings, tags, update_rows
from .decode import Report
from .php_time import PhpTime

log = logging.getLogger(__name__)

OFFLINE, USED, RESERVED = 1, 2, 3


class _Rules(NamedTuple):
    updatable: frozenset[int]
    """The tags that phpIPAM lets a scan replace."""
    offline: timedelta
    """An address that was not seen for this long is offline."""


def keep(connection: Connection, subnet: int, up: Iterable[int], report: Report, php: PhpTime) -> None:
    """Set the tags of the addresses that the report saw, by their ids, and of those that it found silent.

    phpIPAM writes no changelog entry for that. What stands in the way is logged; it never stops a report.
    """
    try:
        with connection.begin_nested():
            rules = _rules(connection)
            if rules:
                _write(connection, subnet, {*up, *report.silent}, report, php, rules)
    except DBAPIError as error:
        if error_number(error) in ROW_ERRORS:
            log.warning("tags: are not updated: %s", error.orig)
        else:
            explain_missing("tags: are not updated", error)


def _write(
    connection: Connection, subnet: int, ids: set[int], report: Report, php: PhpTime, rules: _Rules
) -> None:
    silent = set(report.silent)
    columns = (addresses.c[name] for name in ("id", "state", "lastSeen", "excludePing"))
    rows = select(*columns).where(addresses.c.subnetId == subnet, addresses.c.id.in_(ids))
    changes = defaultdict(list)
    for row in connection.execute(rows.where(addresses.c.state.in_(rules.updatable))):
        tag = _tag(row, row.id in silent, report, php, rules)
        if tag != row.state:
            changes[row.state, tag].append(row.id)
    for (old, tag), changed in changes.items():
        connection.execute(update_rows(changed).where(addresses.c.state == old).values(state=tag))


def _rules(connection: Connection) -> _Rules | None:
    setting = connection.execute(select(settings.c.updateTags, settings.c.pingStatus)).first()
    if setting is None or setting.updateTags != 1:
        return None
    updatable = connection.scalars(select(tags.c.id).where(tags.c.updateTag == 1))
    return _Rules(frozenset(updatable), timedelta(seconds=int(setting.pingStatus.split(";")[1])))


def _tag(row: Any, silent: bool, report: Report, php: PhpTime, rules: _Rules) -> int:
    """Return the tag that the row should have."""
    seen, state = php.moment(row.lastSeen), int(row.state)
    if seen is None:  # as phpIPAM: an address that was never seen keeps its tag
        return state
    if not silent:
        return USED if php.now - seen < rules.offline else state
    if row.excludePing or state == RESERVED or report.made - seen < rules.offline:
        return state
    return OFFLINE
