"""phpIPAM's JSON → values. Pure. No value is trusted: sites have custom fields, old PHP and invalid data.

Numbers are int or string, both in one object: PHP before 8.1 gives strings, and from phpIPAM 1.7 an administrator can
force them.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from ..errors import PhpIpamError, ScanAgentError
from ..models import Address, IPAddress, IPNetwork, Outcome, Subnet
from ..plan import ranges
from ..system.redact import excerpt
from . import nesting

log = logging.getLogger(__name__)

_NOT_HEXADECIMAL = re.compile("[^0-9A-Fa-f]")

Row = Mapping[str, object]
"""One object of an answer, reduced to the fields in use."""

SUBNET_FIELDS = frozenset(
    (
        "id",
        "subnet",
        "mask",
        "vrfId",
        "masterSubnetId",
        "scanAgent",
        "isFolder",
        "isPool",  # not in 1.4
        "discoverSubnet",
        "pingSubnet",
        "resolveDNS",
        "nameserverId",
        "nameservers",
    )
)
NESTED_FIELDS = frozenset(("subnet", "mask", "isFolder"))
AGENT_FIELDS = frozenset(("id", "name", "code"))
ADDRESS_FIELDS = frozenset(("id", "ip", "excludePing", "hostname", "mac", "lastSeen"))
NAMESERVER_FIELDS = frozenset(("id", "namesrv1"))

MAX_DIGITS = 19
"""Maximum number of digits of an id."""

TOO_LARGE = 10**MAX_DIGITS

MAX_HOSTNAME = 255
"""Maximum length of a host name in phpIPAM's database, in characters."""

MAX_ROWS = 100_000
"""Maximum number of rows in an answer; phpIPAM runs out of memory at 25,000 addresses of a subnet and at 30,000
subnets."""

MAX_TEXT = 1000
"""Maximum length of a field in characters; phpIPAM's own columns have up to 255."""


def rows(data: object, fields: frozenset[str]) -> list[Row]:
    """Given an answer's data, return its rows with only these fields. Raise PhpIpamError if there are no objects."""
    listed: list[Any] = data if isinstance(data, list) else [data]
    if not all(isinstance(row, dict) for row in listed):
        raise PhpIpamError("phpIPAM's answer is not a list of objects")
    if len(listed) > MAX_ROWS:
        raise PhpIpamError(f"phpIPAM's answer has {len(listed):,} rows, more than {MAX_ROWS:,}")
    return [{field: _bounded(row[field]) for field in row.keys() & fields} for row in listed]


def _bounded(value: object) -> object:
    """Return the value of a field: texts cut to MAX_TEXT, mappings to their first ten keys."""
    if isinstance(value, dict):
        return {key: _bounded(value[key]) for key in list(value)[:10] if isinstance(value[key], (str, int))}
    return value[:MAX_TEXT] if isinstance(value, (str, list)) else value


def agent(found: Iterable[Row], code: str) -> Row:
    """Given the rows of scan agents, return id and name of the agent with exactly this code.

    phpIPAM's own filter compares loosely: `123` finds `000123` as well. The code, a secret, is left out.
    """
    ours = [row for row in found if str(row.get("code")) == code and number(row.get("id"))]
    if len(ours) != 1:
        raise PhpIpamError(
            "phpIPAM knows no scan agent with this scanagent_code; copy the Code of the agent from"
            " Administration → Scan agents, and check that the agent is still there"
        )
    return {"id": number(ours[0]["id"]), "name": str(ours[0].get("name"))}


def assigned(found: Iterable[Row], agent: int) -> list[Row]:
    """Given the rows of all subnets, return the rows assigned to a scan agent, each with its nested networks.

    `nested` are the subnets directly below it, whichever agent scans them.
    """
    below: dict[int, list[Row]] = {}
    ours: list[Row] = []
    for row in found:
        below.setdefault(number(row.get("masterSubnetId")), []).append(row)
        if number(row.get("scanAgent")) == agent:
            ours.append(row)
    return [{**row, "nested": nested(below.get(number(row.get("id")), ()))} for row in ours]


def nested(found: Iterable[Row]) -> list[str]:
    """Given the rows of nested subnets, return their networks as text."""
    return [_cidr(row) for row in found if not flag(row, "isFolder")]


def lacks_nameservers(row: Row) -> bool:
    """Return whether a subnet's row needs nameservers that it only refers to."""
    embedded = row.get("nameservers")
    known = isinstance(embedded, dict) and nameservers(embedded)
    return flag(row, "resolveDNS") and not known and number(row.get("nameserverId")) > 0


def with_nameservers(row: Row, sets: Mapping[int, Row]) -> Row:
    """Given a subnet's row and all sets of nameservers by their id, return the row with its nameservers."""
    id_ = number(row.get("nameserverId"))
    found = sets.get(id_, {})
    if not nameservers(found):
        log.warning(
            "subnet %s: its nameservers in phpIPAM (id %d) have no IP address; this machine's are asked."
            " After a correction there, --refresh asks phpIPAM at once",
            label(row),
            id_,
        )
    return {**row, "nameservers": found}


def subnets(found: Iterable[Row]) -> tuple[list[Subnet], list[Outcome]]:
    """Given complete rows of subnets, return the Subnets without their addresses, and the rows that are not valid."""
    networks: dict[int, tuple[Row, IPNetwork]] = {}
    failures: list[Outcome] = []
    for row in found:
        try:
            network, id_ = _network(row), _id(row)
            if id_ in networks:
                raise PhpIpamError(f"has the id {id_} of another subnet; check it in phpIPAM")
            networks[id_] = row, network
        except PhpIpamError as error:
            failures.append(failed(row, error))
    inside = nesting.inside((number(row.get("vrfId")), network) for row, network in networks.values())
    return [_subnet(row, network, inside) for row, network in networks.values()], failures


def _id(row: Row) -> int:
    if id_ := number(row.get("id")):
        return id_
    raise PhpIpamError(f"has the id {row.get('id')!s:.20}, which is not valid; check it in phpIPAM")


def _network(row: Row) -> IPNetwork:
    try:
        # Not rounded to its prefix: the Scan Server looks the subnet up by phpIPAM's numbers.
        return ip_network(_cidr(row))
    except ValueError as error:
        raise PhpIpamError(f"is not a network ({error}); correct it in phpIPAM") from None


def _subnet(row: Row, network: IPNetwork, inside: Mapping[nesting.VrfNetwork, Iterable[IPNetwork]]) -> Subnet:
    vrf = number(row.get("vrfId"))
    below: Any = row.get("nested", ())
    embedded = row.get("nameservers")
    return Subnet(
        id=number(row.get("id")),
        network=network,
        vrf=vrf,
        discover=flag(row, "discoverSubnet"),
        ping=flag(row, "pingSubnet"),
        is_pool=flag(row, "isPool"),
        resolve_names=flag(row, "resolveDNS"),
        nameservers=nameservers(embedded) if isinstance(embedded, dict) else (),
        nested=(*_networks(below if isinstance(below, list) else ()), *inside[vrf, network]),
    )


def _networks(texts: Iterable[object]) -> Iterator[IPNetwork]:
    """Yield the networks in the texts, without host bits; a text that is not a network is ignored."""
    for text in texts:
        with suppress(ValueError):
            yield ip_network(str(text), strict=False)


def failed(row: Row, error: ScanAgentError) -> Outcome:
    """Given a subnet's row and an error, return the subnet's Outcome."""
    return Outcome(label(row), number(row.get("id")), error=str(error))


def label(row: Row) -> str:
    """Given a subnet's row, return the subnet's text for messages, also of an invalid subnet."""
    return excerpt(_cidr(row), 80)


def _cidr(row: Row) -> str:
    return f"{row.get('subnet')}/{row.get('mask')}"


def addresses(found: Iterable[Row]) -> tuple[Address, ...]:
    """Given a subnet's address rows, return the valid addresses, sorted; no host could match an invalid one."""
    return ranges.sort(
        Address(
            id=id_,
            ip=ip,
            exclude_ping=flag(row, "excludePing"),
            hostname=_hostname(row.get("hostname")),
            mac=_mac(row.get("mac")),
            last_seen=_time(row.get("lastSeen")),
        )
        for row in found
        if (id_ := number(row.get("id"))) and (ip := _ip(row.get("ip"))) is not None
    )


def nameservers(found: Row) -> tuple[IPAddress, ...]:
    """Given a set of nameservers, return their addresses in order, each once.

    `namesrv1` is `;`-separated text that people type. Blanks, empty items and names occur; an item that is no IP
    address is ignored.
    """
    texts = str(found.get("namesrv1") or "").split(";")
    return tuple(dict.fromkeys(ip for text in texts if (ip := _ip(text.strip())) is not None))


def number(value: object) -> int:
    """Given an int or its decimal text, return the int; 0, which is no valid id, for any other value."""
    if type(value) is int:  # not bool; three for each of 100,000 addresses, so without a regular expression
        return value if 0 <= value < TOO_LARGE else 0
    if isinstance(value, str) and len(value) <= MAX_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return 0


def flag(row: Row, field: str) -> bool:
    """Return whether the row has this field set to 1."""
    return number(row.get(field)) == 1


def _hostname(value: object) -> str | None:
    return (value.strip()[:MAX_HOSTNAME] or None) if isinstance(value, str) else None


def _mac(value: object) -> str | None:
    """Given a MAC address in any notation, return it in upper case with colons; None for any other value."""
    digits = _NOT_HEXADECIMAL.sub("", value) if isinstance(value, str) else ""
    return bytes.fromhex(digits).hex(":").upper() if len(digits) == 12 else None


def _time(value: object) -> datetime | None:
    """Given a time of phpIPAM's, return it; None for "never", which is null, 1970 or the year 0."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time and time.year > 1970 and time.tzinfo is None else None


def _ip(value: object) -> IPAddress | None:
    try:
        return ranges.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None
