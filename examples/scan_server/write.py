"""Report → phpIPAM's database: all of it in one transaction, or nothing."""

from collections import defaultdict
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, insert, or_, select, update
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from .database import addresses, agents, subnets
from .decode import Host, Report

TRIES = 3
COLLIDED = (1062, 1213)
"""MariaDB's errors where somebody else, such as phpIPAM itself, wrote the same rows at the same time."""


class Stored(NamedTuple):
    """How many of the addresses were there already, and how many are new."""

    updated: int
    added: int


def store(engine: Engine, report: Report) -> Stored:
    """Write the report and commit.

    Raise HTTPException 403 or 400 if it must not be written, SQLAlchemyError if it cannot be now.
    """
    tries = TRIES
    while True:
        tries -= 1
        try:
            with engine.begin() as connection:
                return _write(connection, report)
        except DBAPIError as error:
            if not tries or error.orig is None or error.orig.args[0] not in COLLIDED:
                raise


def _write(connection: Connection, report: Report) -> Stored:
    assigned = _assigned(connection, _agent(connection, report), report)
    if report.hosts and len(assigned) > 1:
        raise HTTPException(
            400, f"scan.results: subnetId is needed, {report.network} is there more than once"
        )
    for subnet in assigned:
        _stamp(connection, subnet, report.scanned)
    return _hosts(connection, assigned[0].id, report.hosts)


def _agent(connection: Connection, report: Report) -> int:
    """Return the agent's id, with its row locked: the reports of one agent are written one after another."""
    # The update comes first, so that what is read after it is what the report before has left.
    is_agent = agents.c.code == report.code
    connection.execute(update(agents).where(is_agent).values(last_access=report.received))
    found = connection.execute(select(agents.c.id, agents.c.code).where(is_agent)).first()
    # To the letter: for the database, a and A and á are the same.
    if found is None or found.code != report.code:
        raise HTTPException(403, "code: phpIPAM has no scan agent with it; copy it from there again")
    return int(found.id)


def _assigned(connection: Connection, agent: int, report: Report) -> list[Any]:
    """Return the agent's subnets that the report may mean: one, or several if it has no subnetId."""
    columns = subnets.c.id, subnets.c.subnet, subnets.c.mask, subnets.c.discoverSubnet, subnets.c.pingSubnet
    wanted = select(*columns).where(
        subnets.c.scanAgent == agent, subnets.c.mask == str(report.network.prefixlen)
    )
    found = [row for row in connection.execute(wanted) if _is_meant(row, report)]
    if not found:
        raise HTTPException(403, f"scan.subnet: phpIPAM assigns no {report.network} to this scan agent")
    return found


def _is_meant(row: Any, report: Report) -> bool:
    if report.subnet_id not in (None, row.id):
        return False
    try:  # a folder has no network, and phpIPAM may keep a host's address in the network's place
        return ip_network((ip_address(int(row.subnet)), row.mask), strict=False) == report.network
    except (TypeError, ValueError):
        return False


def _stamp(connection: Connection, subnet: Any, scanned: str) -> None:
    """Note when the subnet was scanned: for the status of the addresses there, for new ones, or for both."""
    columns = [subnets.c.lastScan] if subnet.pingSubnet else []
    if subnet.discoverSubnet or not columns:
        columns.append(subnets.c.lastDiscovery)
    for column in columns:
        stamp = update(subnets).where(subnets.c.id == subnet.id, _is_before(column, scanned))
        # In spring, phpIPAM's hour may be one that the database's own zone skips: rounded, not refused.
        connection.execute(stamp.values({column: scanned}).prefix_with("IGNORE", dialect="mysql"))


def _hosts(connection: Connection, subnet: int, hosts: list[Host]) -> Stored:
    there = select(addresses.c.id, addresses.c.ip_addr, addresses.c.hostname, addresses.c.mac).where(
        addresses.c.subnetId == subnet, addresses.c.ip_addr.in_([host.ip_addr for host in hosts])
    )
    known = {row.ip_addr: row for row in connection.execute(there)}
    _update(connection, [(known[host.ip_addr], host) for host in hosts if host.ip_addr in known])
    added = [_row(subnet, host) for host in hosts if host.ip_addr not in known]
    if added:
        connection.execute(insert(addresses), added)
    return Stored(updated=len(known), added=len(added))


def _update(connection: Connection, pairs: list[tuple[Any, Host]]) -> None:
    """Write what the hosts say of their rows: times that are later, names and MAC addresses that differ."""
    seen = defaultdict(list)
    for row, host in pairs:
        seen[host.seen].append(row.id)
    for time, ids in seen.items():  # a report has one time, or a few
        later = update(addresses).where(addresses.c.id.in_(ids), _is_before(addresses.c.lastSeen, time))
        connection.execute(later.values(lastSeen=time))
    for field in ("hostname", "mac"):
        said = [(row, getattr(host, field)) for row, host in pairs]
        changes = [{"key": row.id, "new": new} for row, new in said if new and new != getattr(row, field)]
        if changes:
            change = update(addresses).where(addresses.c.id == bindparam("key"))
            connection.execute(change.values({field: bindparam("new")}), changes)


def _row(subnet: int, host: Host) -> dict[str, object]:
    return {
        "subnetId": subnet,
        "ip_addr": host.ip_addr,
        "hostname": host.hostname,
        "mac": host.mac,
        "lastSeen": host.seen,
        "description": "-- autodiscovered --",
        "note": f"This host was autodiscovered on {host.seen}",
        "state": 2,  # in use
    }


def _is_before(column: ColumnElement[Any], time: str) -> ColumnElement[bool]:
    return or_(column.is_(None), column < time)
