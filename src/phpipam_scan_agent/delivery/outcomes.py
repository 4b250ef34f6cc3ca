"""Results and uploads → outcomes: the sums over a subnet's parts and over the uploads of its reports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import SpoolError
from ..models import Outcome, Report, ScanResult


class Upload(NamedTuple):
    """A report to upload, and the end of its upload."""

    name: str
    """Its name in the spool."""

    version: int = 0
    report: Report | None = None
    """None if it is to be read from the spool."""

    not_kept: SpoolError | None = None
    """The error of its write to the spool; None if it is in the spool."""

    uploaded: bool = False
    """Whether the Scan Server has taken it."""

    waiting: bool = False
    """Whether it stays in the spool for the next run."""

    error: str | None = None
    """An error other than an unavailable server, and what to do."""


@dataclass(slots=True)
class _Subnet:
    results: list[ScanResult] = field(default_factory=list)
    open: int = 0
    """Reports whose upload has not ended."""
    ended: list[Upload] = field(default_factory=list)


class Outcomes:
    """Collects the results and the ended uploads of each subnet.

    A report's key is its name and version: the reports of several results may be merged before the upload.
    """

    def __init__(self) -> None:
        self._subnets: dict[int, _Subnet] = {}
        self._expected: dict[str, list[tuple[int, int]]] = {}
        """A report's name → the expected versions, each with its subnet's id."""
        self._finished: list[Outcome] = []

    def expect(self, result: ScanResult, uploads: Sequence[Upload]) -> None:
        """Add a result with the uploads of its reports."""
        subnet = self._subnets.setdefault(result.subnet.id, _Subnet())
        subnet.results.append(result)
        if not uploads:
            subnet.ended.append(Upload("no report"))
        for upload in uploads:
            subnet.open += 1
            self._expected.setdefault(upload.name, []).append((upload.version, result.subnet.id))
        self._finish(result.subnet.id)

    def settle(self, upload: Upload) -> bool:
        """Add an ended upload, also for earlier versions; return whether a result of this run expects it."""
        expected = self._expected.pop(upload.name, [])
        if later := [each for each in expected if each[0] > upload.version]:
            self._expected[upload.name] = later
        settled = [id_ for version, id_ in expected if version <= upload.version]
        for id_ in settled:
            self._subnets[id_].open -= 1
            self._subnets[id_].ended.append(upload)
            self._finish(id_)
        return bool(settled)

    def finished(self) -> list[Outcome]:
        """Return the outcomes since the last call: of subnets with all results whose uploads have ended."""
        finished, self._finished = self._finished, []
        return finished

    def _finish(self, id_: int) -> None:
        subnet = self._subnets[id_]
        if not subnet.open and len(subnet.results) == subnet.results[0].parts:
            self._finished.append(_outcome(subnet.results, subnet.ended))
            del self._subnets[id_]


def _outcome(parts: list[ScanResult], uploads: list[Upload]) -> Outcome:
    subnet = parts[0].subnet
    # Not a difference of local times, which a clock change would lengthen by an hour.
    ends = [part.seen.timestamp() for part in parts]
    began = min(end - part.seconds for end, part in zip(ends, parts, strict=True))
    # A status check without the addresses has its own error.
    without = subnet.addresses_error if subnet.discover else None
    errors = [
        without and f"scanned without the addresses that phpIPAM knows: {without}",
        *(part.error for part in parts),
        *(upload.error for upload in uploads),
    ]
    status = Counter(part.status(host) for part in parts for host in part.hosts)
    return Outcome(
        subnet=str(subnet.network),
        id=subnet.id,
        up=status.total(),
        known=status["known"] + status["back"],
        unknown=status["unknown"],
        back=status["back"],
        mac_changed=sum(host.mac_changed for part in parts for host in part.hosts),
        missing=sum(len(part.missing) for part in parts),
        seconds=max(ends) - began,
        uploaded=all(upload.uploaded for upload in uploads),
        waiting=any(upload.waiting for upload in uploads),
        error="; ".join(dict.fromkeys(error for error in errors if error)) or None,
    )
