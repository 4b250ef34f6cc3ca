"""How it went with each subnet, summed over the parts of the large ones and over its reports."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ..models import Outcome, ScanResult


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a report."""

    uploaded: bool = False
    """Whether the Scan Server has taken it."""

    waiting: bool = False
    """Whether it waits for the next run."""

    error: str | None = None
    """What failed for good, and what to do."""


@dataclass(slots=True)
class _Subnet:
    results: list[ScanResult] = field(default_factory=list)
    open: int = 0
    """Reports of which it is not known yet what becomes of them."""
    deliveries: list[Delivered] = field(default_factory=list)


class Tally:
    """Puts results and what became of their reports together; any thread may use it.

    A report is known by its name and version: the reports of several results may be merged before they are sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subnets: dict[int, _Subnet] = {}
        self._expected: dict[str, list[tuple[int, int]]] = {}
        """By the name of a report, the versions that are expected, with their subnets."""
        self._finished: list[Outcome] = []

    def expect(self, result: ScanResult, reports: Sequence[tuple[str, int]]) -> None:
        """Add a result with the names and versions of its reports."""
        with self._lock:
            subnet = self._subnets.setdefault(result.subnet.id, _Subnet())
            subnet.results.append(result)
            if not reports:
                subnet.deliveries.append(Delivered())
            for name, version in reports:
                subnet.open += 1
                self._expected.setdefault(name, []).append((version, result.subnet.id))
            self._finish(result.subnet.id)

    def settle(self, name: str, version: int, delivered: Delivered) -> bool:
        """Say what became of a report and its earlier versions; return whether a result of this run expects it."""
        with self._lock:
            expected = self._expected.pop(name, [])
            if later := [each for each in expected if each[0] > version]:
                self._expected[name] = later
            settled = [id_ for expected_version, id_ in expected if expected_version <= version]
            for id_ in settled:
                self._subnets[id_].open -= 1
                self._subnets[id_].deliveries.append(delivered)
                self._finish(id_)
            return bool(settled)

    def finished(self) -> list[Outcome]:
        """Return the outcomes since the last call: of subnets with all results, and all reports settled."""
        with self._lock:
            finished, self._finished = self._finished, []
            return finished

    def _finish(self, id_: int) -> None:
        subnet = self._subnets[id_]
        if not subnet.open and len(subnet.results) == subnet.results[0].parts:
            self._finished.append(_outcome(subnet.results, subnet.deliveries))
            del self._subnets[id_]


def _outcome(parts: list[ScanResult], deliveries: list[Delivered]) -> Outcome:
    subnet = parts[0].subnet
    began = min(part.seen - timedelta(seconds=part.seconds) for part in parts)
    errors = [
        subnet.addresses_error
        and f"scanned without the addresses that phpIPAM knows: {subnet.addresses_error}",
        *(part.error for part in parts),
        *(delivered.error for delivered in deliveries),
    ]
    return Outcome(
        subnet=str(subnet.network),
        id=subnet.id,
        up=sum(len(part.hosts) for part in parts),
        known=sum(host.address is not None for part in parts for host in part.hosts),
        back=sum(part.status(host) == "back" for part in parts for host in part.hosts),
        mac_changed=sum(host.mac_changed for part in parts for host in part.hosts),
        missing=sum(len(part.missing) for part in parts),
        seconds=(max(part.seen for part in parts) - began).total_seconds(),
        uploaded=all(delivered.uploaded for delivered in deliveries),
        waiting=any(delivered.waiting for delivered in deliveries),
        error="; ".join(dict.fromkeys(error for error in errors if error)) or None,
    )
