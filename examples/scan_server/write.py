"""Report → phpIPAM's database, in one transaction; a row that the database refuses is left out and named."""

import random
import re
import time
from collections import defaultdict
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import DBAPIError

from . import tags
from .answers import COLLIDED, ROW_ERRORS, Refusal, error_number, wrong_field
from .database import addresses, agents, excluded, subnets, update_rows
from .decode import Host, Report
from .php_time import PhpTime

TRIES = 5


class Stored(NamedTuple):
    """The numbers of stored and skipped results, and the refused results."""

    updated: int
    """Addresses that phpIPAM had."""
    added: int
    skipped: int
    """Addresses with Ping exclude in phpIPAM, addresses that were deleted there since the scan, and new hosts in a
    subnet without Discover new hosts."""
    refused: list[tuple[int, str]]
    """The indexes of the results that the database refuses, with the reasons."""


class _Change(NamedTuple):
    """The values that a result changes in a row, or the values of a new row."""

    place: int
    """The result's index in the report."""
    id: int | None
    values: dict[str, object]


def store(engine: Engine, report: Report, php: PhpTime, replace_names: bool) -> Stored:
    """Write the report and commit.

    Raise Refusal if it must not be written, SQLAlchemyError if it cannot be now.
    """
    tries = 0
    while True:
        try:
            with engine.begin() as connection:
                return _write(connection, report, php, replace_names)
        except DBAPIError as error:
            tries += 1
            if tries == TRIES or not _collided(error):
                raise
        time.sleep(random.uniform(0, 0.05))


def _collided(error: DBAPIError) -> bool:
    """Return whether a retry may succeed, also after phpIPAM has added the same address."""
    return error_number(error) in COLLIDED or "sid_ip_unique" in str(error.orig)


def _write(connection: Connection, report: Report, php: PhpTime, replace_names: bool) -> Stored:
    agent = find_agent(connection, report.code)
    # Locked before any other row is read: the reports of one agent are written one after another.
    connection.execute(update(agents).where(agents.c.id == agent).values(last_access=php.text(php.now)))
    assigned = _assigned(connection, agent, report)
    if len(assigned) > 1 and report.hosts:
        raise wrong_field("scan.results", f"subnetId is needed, several subnets have {report.network}")
    for subnet in assigned:
        _stamp(connection, subnet, report, php)
    stored, up = _hosts(connection, assigned[0], report, php, replace_names)
    for subnet in assigned:
        if subnet.pingSubnet:
            tags.keep(connection, subnet.id, up, report, php)
    return stored


def find_agent(connection: Connection, code: str) -> int:
    """Return the scan agent's id. Raise Refusal 401 if phpIPAM has none with this code."""
    found = connection.execute(select(agents.c.id, agents.c.code).where(agents.c.code == code)).first()
    # Exactly: for the database a, A and á are equal.
    if found is None or found.code != code:
        why = "code: phpIPAM has no scan agent with it; copy it from there again"
        raise Refusal(401, "code", why, field="code")
    return int(found.id)


def _assigned(connection: Connection, agent: int, report: Report) -> list[Any]:
    """Return the agent's subnets that the report may mean: one, or several if it has no subnetId."""
    mine = select(subnets).where(
        subnets.c.scanAgent == agent, subnets.c.mask == str(report.network.prefixlen)
    )
    address = str(int(report.network.network_address))
    if report.subnet_id is not None:
        queries = [mine.where(subnets.c.id == report.subnet_id)]
    else:  # phpIPAM may have a host's address as the network: then all subnets with this mask are read
        queries = [mine.where(subnets.c.subnet == address), mine]
    first, last = int(report.network[0]), int(report.network[-1])
    for query in queries:
        rows = [row for row in connection.execute(query) if str(row.subnet).isdecimal()]  # a folder's is not
        if found := [row for row in rows if first <= int(row.subnet) <= last]:
            return found
    why = f"scan.subnet: phpIPAM assigns no {report.network} to this scan agent"
    raise Refusal(403, "subnet", why, field="scan.subnet", subnet=str(report.network))


def _stamp(connection: Connection, subnet: Any, report: Report, php: PhpTime) -> None:
    """Store the time of the scan: of a status check, of a discovery, or of both."""
    columns = [subnets.c.lastScan] if subnet.pingSubnet else []
    if subnet.discoverSubnet or not columns:
        columns.append(subnets.c.lastDiscovery)
    for column in columns:
        before = php.moment(getattr(subnet, column.name))
        if before is None or before < report.made:
            stamp = update(subnets).where(subnets.c.id == subnet.id).values({column: php.text(report.made)})
            # In spring an hour of phpIPAM's zone may not exist in the database's: rounded instead of refused.
            connection.execute(stamp.prefix_with("IGNORE", dialect="mysql"))


def _hosts(
    connection: Connection, subnet: Any, report: Report, php: PhpTime, replace_names: bool
) -> tuple[Stored, list[int]]:
    """Write the hosts; return the outcome, and the ids of the addresses that phpIPAM had."""
    columns = [addresses.c[name] for name in ("id", "ip_addr", "hostname", "mac", "lastSeen")]
    ips = [host.ip_addr for host in report.hosts]
    there = select(*columns, excluded).where(addresses.c.subnetId == subnet.id, addresses.c.ip_addr.in_(ips))
    known = {row.ip_addr: row for row in connection.execute(there)}
    pairs = [(known[host.ip_addr], host) for host in report.hosts if host.ip_addr in known]
    updates = [_update(row, host, php, replace_names) for row, host in pairs if not row.excluded]
    # An address with an id was in phpIPAM when the agent asked, and has been deleted since.
    new = [host for host in report.hosts if host.ip_addr not in known and host.id is None]
    added = [_Change(host.place, None, _row(subnet.id, host, php)) for host in new if subnet.discoverSubnet]
    not_updated = _apply(connection, [change for change in updates if change.values])
    not_added = _apply(connection, added)
    stored = Stored(
        updated=len(updates) - len(not_updated),
        added=len(added) - len(not_added),
        skipped=len(report.hosts) - len(updates) - len(added),
        refused=sorted(not_updated + not_added),
    )
    return stored, [row.id for row in known.values() if not row.excluded]


def _update(row: Any, host: Host, php: PhpTime, replace_names: bool) -> _Change:
    """Return the changes of the host's row; a report that is older than the row's time changes nothing."""
    values: dict[str, object] = {}
    before = php.moment(row.lastSeen)
    if before is None or before < host.seen:
        values["lastSeen"] = php.text(host.seen)
    if before is None or before <= host.seen:
        if host.name and _takes_name(row.hostname or "", host.name, replace_names):
            values["hostname"] = host.name
        if host.mac and _digits(host.mac) != _digits(row.mac or ""):
            values["mac"] = host.mac
    return _Change(host.place, row.id, values)


def _takes_name(old: str, new: str, replace: bool) -> bool:
    """Return whether the new name replaces the old one; a full name is never replaced by its own first label."""
    return not old or (replace and old != new and not old.lower().startswith(f"{new.lower()}."))


def _digits(mac: str) -> str:
    """Return the digits of a MAC address in any notation."""
    return re.sub("[^0-9A-F]", "", mac.upper())


def _row(subnet: int, host: Host, php: PhpTime) -> dict[str, object]:
    return {
        "subnetId": subnet,
        "ip_addr": host.ip_addr,
        "hostname": host.name,
        "mac": host.mac,
        "lastSeen": php.text(host.seen),
        "description": "-- autodiscovered --",
        "note": f"This host was autodiscovered on {php.text(host.seen)}",
        "state": tags.USED,
    }


def _apply(connection: Connection, changes: list[_Change]) -> list[tuple[int, str]]:
    """Make the changes; return the changes that the database refuses, found by halving."""
    if not changes:
        return []
    try:
        with connection.begin_nested():
            _execute(connection, changes)
            return []
    except DBAPIError as error:
        if error_number(error) not in ROW_ERRORS or _collided(error):
            raise
        if len(changes) == 1:
            return [_refused(connection, changes[0], error)]
    middle = len(changes) // 2
    return _apply(connection, changes[:middle]) + _apply(connection, changes[middle:])


def _refused(connection: Connection, change: _Change, error: DBAPIError) -> tuple[int, str]:
    """Return the reason of a refusal. `lastSeen` alone is stored nevertheless, if possible."""
    if change.id and change.values.keys() > {"lastSeen"}:
        _apply(connection, [change._replace(values={"lastSeen": change.values["lastSeen"]})])
    return change.place, str(error.orig.args[1] if error.orig else error)


def _execute(connection: Connection, changes: list[_Change]) -> None:
    """Insert all new rows by one statement, and update rows with equal values, as most are, by one statement."""
    if new := [change.values for change in changes if change.id is None]:
        connection.execute(insert(addresses), new)
    equal = defaultdict(list)
    for change in changes:
        if change.id is not None:
            equal[tuple(change.values.items())].append(change.id)
    for values, ids in equal.items():
        connection.execute(update_rows(ids).values(dict(values)))
