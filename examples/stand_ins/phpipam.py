"""phpIPAM's API for scan agents: the answers and refusals of version 1.8."""

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from .https import Answer, Request, as_json

Row = dict[str, Any]


class PhpIpam:
    """A phpIPAM with this set-up, which may be changed at any time."""

    def __init__(self) -> None:
        self.app = "branch"
        self.token = "app-code-yKf3Q0bW6tXn"
        self.agent: Row = {
            "id": 2,
            "name": "branch",
            "description": "branch office",
            "type": "mysql",
            "code": "agent-code-R7vLm2Zq",
            "last_access": None,
        }
        self.subnets: list[Row] = []
        self.addresses: list[Row] = []
        self.nameservers: list[Row] = []
        self.stringify = False
        """Give numbers as text, as PHP before 8.1 does, and newer versions by a setting."""
        self.lists_all = True
        """Give the list of all subnets; for tens of thousands, PHP's memory is too small."""
        self.instead: dict[str, Answer] = {}
        """A path below the app → the answer to give instead; `*` for any path."""

    def answer(self, request: Request) -> Answer:
        """Return phpIPAM's answer."""
        match = re.fullmatch(r"/api/([^/]*)/(.*)", request.path)
        if not match:
            return Answer(302, b"", {"Location": "/login/", "Content-Type": "text/html; charset=UTF-8"})
        app, path = match.groups()
        if given := self.instead.get(path) or self.instead.get("*"):
            return given
        if not request.secure:
            return refusal(503, "SSL connection is required for API")
        if app != self.app:
            return refusal(400, "Invalid application id")
        if request.headers.get("token") != self.token:
            return refusal(401, "Unauthorized")
        if request.method != "GET":
            return refusal(401, "invalid permissions")
        if path == "subnets/" and not request.query and not self.lists_all:
            return Answer(500, b"", {"Content-Type": "text/html; charset=UTF-8"})
        return self._controller(path, request)

    def _controller(self, path: str, request: Request) -> Answer:
        routes: dict[str, Callable[..., Answer]] = {
            r"tools/scanagents/": lambda: self._found([self.agent], request),
            r"subnets/": lambda: self._found(self.subnets, request, without="No subnets found"),
            r"subnets/(\d+)/addresses/": lambda id_: self._of(
                self.addresses, "subnetId", id_, "No addresses found"
            ),
            r"subnets/(\d+)/slaves/": lambda id_: self._of(self.subnets, "masterSubnetId", id_, "No slaves"),
            r"tools/nameservers/": lambda: self._found(self.nameservers, request),
            r"tools/nameservers/(\d+)/": lambda id_: self._one(self.nameservers, id_),
        }
        for route, respond in routes.items():
            if match := re.fullmatch(route, path):
                return respond(*map(int, match.groups()))
        return refusal(400, "Invalid controller")

    def _found(self, rows: Iterable[Row], request: Request, without: str = "No objects found") -> Answer:
        field, value = request.query.get("filter_by"), request.query.get("filter_value", "")
        rows = list(rows)
        if field is None:
            return self._rows(rows, without)
        if rows and field not in rows[0]:
            return refusal(400, "Invalid filter_by")
        return self._rows([row for row in rows if _loosely(row[field], value)], "No results (filter applied)")

    def _of(self, rows: Iterable[Row], field: str, id_: int, nothing: str) -> Answer:
        if all(int(subnet["id"]) != id_ for subnet in self.subnets):
            return refusal(404, f"Invalid subnet Id ({id_})")
        return self._rows([row for row in rows if int(row[field]) == id_], nothing)

    def _one(self, rows: Iterable[Row], id_: int) -> Answer:
        found = [row for row in rows if int(row["id"]) == id_]
        return self._data(found[0]) if found else refusal(404, "No objects found")

    def _rows(self, rows: list[Row], nothing: str) -> Answer:
        return self._data(rows) if rows else refusal(404, nothing)

    def _data(self, data: object) -> Answer:
        shown = _as_text(data) if self.stringify else data
        return as_json(200, {"code": 200, "success": True, "data": shown, "time": 0.002})


def refusal(status: int, message: str) -> Answer:
    """Return phpIPAM's refusal."""
    return as_json(status, {"code": status, "success": False, "message": message, "time": 0.001})


def subnet(id_: int, cidr: str, **fields: object) -> Row:
    """Return a subnet's row as the API gives it; `fields` are set in it."""
    network = ip_network(cidr)
    row: Row = {
        "id": id_,
        "subnet": str(network.network_address),
        "mask": str(network.prefixlen),
        "sectionId": 1,
        "description": f'site {id_} <i>"é\'"</i>',
        "vrfId": None,
        "masterSubnetId": 0,
        "vlanId": None,
        "permissions": [],
        "pingSubnet": 0,
        "discoverSubnet": 1,
        "resolveDNS": 0,
        "nameserverId": 0,
        "scanAgent": 2,
        "isFolder": 0,
        "isFull": 0,
        "isPool": 0,
        "tag": 2,
        "location": [],
        "editDate": None,
        "lastScan": None,
        "lastDiscovery": None,
    }
    return row | fields


def address(id_: int, subnet_id: int, ip: str, **fields: object) -> Row:
    """Return an address's row as the API gives it; `fields` are set in it."""
    row: Row = {
        "id": id_,
        "subnetId": subnet_id,
        "ip": str(ip_address(ip)),
        "is_gateway": 0,
        "description": None,
        "hostname": f"pc-{id_}",
        "mac": None,
        "owner": None,
        "tag": 2,
        "note": None,
        "lastSeen": None,
        "excludePing": 0,
        "PTR": 0,
        "editDate": None,
    }
    return row | fields


def _loosely(value: object, wanted: str) -> bool:
    """Compare as phpIPAM does: `123` matches `000123`."""
    text = str(value)
    return text == wanted or (text.isdigit() and wanted.isdigit() and int(text) == int(wanted))


def _as_text(data: object) -> object:
    if isinstance(data, dict):
        return {key: _as_text(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_as_text(value) for value in data]
    return str(data) if isinstance(data, int) else data
