"""The bytes of a report → Report, in phpIPAM's own terms; the field that is wrong is named. Pure."""

import re
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    NaiveDatetime,
    PlainValidator,
    ValidationError,
)
from starlette.exceptions import HTTPException

IPNetwork = IPv4Network | IPv6Network

EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""A clock that says an earlier time is not set."""


class Host(NamedTuple):
    """A host that answered the agent."""

    ip_addr: str
    """A decimal number, of IPv4 and IPv6 alike, as phpIPAM stores it."""
    seen: str
    """phpIPAM's local time as `YYYY-MM-DD HH:MM:SS`, as phpIPAM stores it."""
    hostname: str | None
    mac: str | None


class Report(NamedTuple):
    """What a scan agent found in one subnet."""

    code: str
    network: IPNetwork
    subnet_id: int | None
    """phpIPAM's id of the subnet, if the report has it; subnets of several VRFs may be this network."""
    hosts: list[Host]
    """Each address once."""
    received: str
    """phpIPAM's local time."""

    @property
    def scanned(self) -> str:
        """When the last host was seen, as the report may have waited; phpIPAM's local time."""
        return max((host.seen for host in self.hosts), default=self.received)


def decode(body: bytes, now: datetime) -> Report:
    """Given a request's body and the time in phpIPAM's zone, return the Report. Raise HTTPException 400."""
    try:
        report = _Report.model_validate_json(body)
    except ValidationError as invalid:
        raise HTTPException(400, _problem(invalid.errors(include_url=False)[0])) from None
    scan = report.scan
    agents_zone = datetime.strptime(scan.tz, "%z").tzinfo
    hosts: dict[str, Host] = {}
    for index, result in enumerate(scan.results):
        if result.ip not in scan.subnet:
            raise HTTPException(400, f"scan.results.{index}.ip: {result.ip} lies outside {scan.subnet}")
        seen = result.lastSeen.replace(tzinfo=agents_zone)
        if seen < EARLIEST:
            raise HTTPException(400, f"scan.results.{index}.lastSeen: {seen} is long ago; set the clock")
        # A clock that is ahead must not keep a host online for ever.
        local = _text(min(seen, now).astimezone(now.tzinfo))
        host = Host(str(int(result.ip)), local, result.hostname, result.mac)
        hosts[host.ip_addr] = max(host, hosts.get(host.ip_addr, host), key=lambda host: host.seen)
    ids = {result.subnetId for result in scan.results} - {None}
    if len(ids) > 1:
        raise HTTPException(400, "scan.results: subnetId must be the same in all; send a report a subnet")
    return Report(report.code, scan.subnet, next(iter(ids), None), list(hosts.values()), _text(now))


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _network(value: object) -> IPNetwork:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("must be a network like 192.0.2.0/24")
    return ip_network(value, strict=False)


def _hostname(name: str | None) -> str | None:
    """Leave out what cannot be a host's name: strangers write them, and phpIPAM before 1.7 shows HTML."""
    return name if name and re.fullmatch(r"[\w.-]{1,255}", name) else None


def _mac(text: str | None) -> str | None:
    if text is not None and not re.fullmatch("[0-9A-F]{2}(:[0-9A-F]{2}){5}", text.upper()):
        raise ValueError("must be a MAC address like AA:BB:CC:DD:EE:01")
    return text and text.upper()


_Absent = BeforeValidator(lambda value: value or None)
"""What is empty is as good as left out: it never wipes what phpIPAM has."""


class _Result(BaseModel):
    """One host. Its `id` is not read: phpIPAM has an address once in a subnet."""

    ip: IPvAnyAddress
    lastSeen: Annotated[NaiveDatetime, Field(strict=True)]
    subnetId: Annotated[int | None, _Absent] = None
    hostname: Annotated[str | None, _Absent, AfterValidator(_hostname)] = None
    mac: Annotated[str | None, _Absent, AfterValidator(_mac)] = None


class _Scan(BaseModel):
    subnet: Annotated[IPNetwork, PlainValidator(_network)]
    tz: str = Field(pattern=r"^[+-]([01][0-9]|2[0-3])[0-5][0-9]$")
    results: list[_Result]


class _Report(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str
    scan: _Scan


def _problem(error: Any) -> str:
    if error["type"] == "json_invalid":
        return "Invalid JSON payload"
    field = ".".join(map(str, error["loc"])) or "report"
    return f"{field}: {str(error['msg']).removeprefix('Value error, ')}"
