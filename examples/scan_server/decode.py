"""The bytes of a report → Report, or a refusal that names the wrong field. Pure."""

import re
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    IPvAnyAddress,
    NaiveDatetime,
    PlainValidator,
    ValidationError,
)

from .answers import Refusal, wrong_field

IPNetwork = IPv4Network | IPv6Network

EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""An earlier time comes from a clock that is not set."""

MAX_RESULTS = 20_000
"""Maximum results of a report; 1 MiB has room for 19,000 of the shortest."""


class Host(NamedTuple):
    """A host that answered the agent."""

    place: int
    """Its index in the report's results, to name it in a refusal."""
    ip_addr: str
    """A decimal number, of IPv4 and IPv6 alike, as phpIPAM stores it."""
    seen: datetime
    """In UTC, never after the report's arrival."""
    name: str | None
    mac: str | None
    id: int | None
    """phpIPAM's id of the address, if phpIPAM had the address when the agent asked."""


class Report(NamedTuple):
    """The hosts and silent addresses that a scan agent found in one subnet."""

    code: str
    network: IPNetwork
    subnet_id: int | None
    """phpIPAM's id of the subnet, if the report has it; subnets of several VRFs may be this network."""
    made: datetime
    """When the scan ended, in UTC, never after the report's arrival."""
    hosts: list[Host]
    """Each address once."""
    silent: list[int]
    """phpIPAM's ids of the addresses that were probed and did not answer."""


def code(body: bytes) -> str:
    """Return the report's scan agent code; its results are not decoded. Raise Refusal 400."""
    return str(_validated(_Code, body).code)


def decode(body: bytes, now: datetime) -> Report:
    """Given a request's body and the time of its arrival, return the Report. Raise Refusal 400."""
    report: _Report = _validated(_Report, body)
    scan = report.scan
    agents_zone = datetime.strptime(scan.tz, "%z").tzinfo
    hosts: dict[str, Host] = {}
    for index, result in enumerate(scan.results):
        if result.ip not in scan.subnet:
            raise wrong_field(f"scan.results.{index}.ip", f"{result.ip} lies outside {scan.subnet}")
        seen = result.lastSeen.replace(tzinfo=agents_zone)
        if seen < EARLIEST:
            raise wrong_field(f"scan.results.{index}.lastSeen", f"{seen} is long ago; set the clock")
        # A clock that is ahead must not keep a host online.
        moment = min(seen, now).astimezone(timezone.utc)
        host = Host(index, str(int(result.ip)), moment, result.hostname, result.mac, result.id)
        hosts[host.ip_addr] = max(host, hosts.get(host.ip_addr, host), key=lambda host: host.seen)
    ids = {result.subnetId for result in scan.results} - {None}
    if len(ids) > 1:
        raise wrong_field("scan.results", "subnetId must be the same in all; send a report a subnet")
    newest = max((host.seen for host in hosts.values()), default=EARLIEST if scan.made else now)
    made = min(max(scan.made or EARLIEST, newest), now).astimezone(timezone.utc)
    return Report(report.code, scan.subnet, next(iter(ids), None), made, [*hosts.values()], scan.silent)


def _network(value: object) -> IPNetwork:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("must be a network like 192.0.2.0/24")
    return ip_network(value, strict=False)


def _name(name: str | None) -> str | None:
    """Return a valid host name or None: DNS is not trusted, and phpIPAM before 1.7 shows HTML in names.

    The tables of phpIPAM 1.4 have no characters of four bytes.
    """
    return name if name and re.fullmatch(r"[\w.-]{1,255}", name) and max(name) <= "\uffff" else None


def _mac(text: str | None) -> str | None:
    if text is not None and not re.fullmatch("[0-9A-F]{2}(:[0-9A-F]{2}){5}", text.upper()):
        raise ValueError("must be a MAC address like AA:BB:CC:DD:EE:01")
    return text and text.upper()


def _id(value: Any) -> int | None:
    """Return an address's id; None for any other value: the address is then found by its IP alone."""
    return int(value) if re.fullmatch("[1-9][0-9]{0,9}", str(value)) else None


_Key = Annotated[int, Field(gt=0, lt=1 << 63)]
"""An id in the database."""

_Absent = BeforeValidator(lambda value: value or None)
"""Treats an empty value as missing, so that it never erases a value in phpIPAM."""


class _Result(BaseModel):
    ip: IPvAnyAddress
    lastSeen: Annotated[NaiveDatetime, Field(strict=True)]
    subnetId: Annotated[_Key | None, _Absent] = None
    id: Annotated[int | None, PlainValidator(_id)] = None
    hostname: Annotated[str | None, _Absent, AfterValidator(_name)] = None
    mac: Annotated[str | None, _Absent, AfterValidator(_mac)] = None


class _Scan(BaseModel):
    subnet: Annotated[IPNetwork, PlainValidator(_network)]
    tz: str = Field(pattern=r"^[+-]([01][0-9]|2[0-3])[0-5][0-9]$")
    made: Annotated[AwareDatetime | None, _Absent] = None
    silent: Annotated[list[_Key], FailFast(), Field(max_length=100_000)] = []
    # A million bytes can hold 340,000 wrong results: the first error ends it.
    results: Annotated[list[_Result], FailFast(), Field(max_length=MAX_RESULTS)]


class _Code(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str


class _Report(_Code):
    scan: _Scan


def _validated(model: type[BaseModel], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_input=False)[0]
    if error["type"] == "json_invalid":
        raise Refusal(400, "json", "Invalid JSON payload")
    field = ".".join(map(str, error["loc"])) or "report"
    raise wrong_field(field, error["msg"].removeprefix("Value error, "))
