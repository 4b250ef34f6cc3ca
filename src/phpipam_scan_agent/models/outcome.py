"""What becomes of what travelled: how it went with a report, a subnet, a run, a check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the reports of a result."""

    uploaded: bool = False
    """Whether the Scan Server has taken all of them."""

    waiting: bool = False
    """Whether one waits for the next run."""

    error: str | None = None
    """What failed for good, and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went with one subnet: done, skipped with the reason, or failed with the error."""

    subnet: str
    """The network as phpIPAM has it, `192.0.2.0/24`."""

    id: int | None = None
    """phpIPAM's id of the subnet."""

    up: int = 0
    """Hosts that answered."""

    known: int = 0
    """Those of them that phpIPAM already has."""

    seconds: float = 0.0
    """How long the scan took."""

    uploaded: bool = False
    """Whether the Scan Server has taken every report of it."""

    waiting: bool = False
    """Whether a report of it waits for the next run."""

    skipped: str | None = None
    """Why the subnet was left alone."""

    error: str | None = None
    """What failed, and what to do."""

    @property
    def new(self) -> int:
        """Hosts that answered and that phpIPAM does not have."""
        return self.up - self.known


@dataclass(frozen=True, slots=True)
class Summary:
    """How the run went."""

    outcomes: tuple[Outcome, ...] = ()

    problems: tuple[str, ...] = ()
    """What failed beside the subnets of this run: reports of earlier ones, or what waits for the next."""

    cache_age: float = 0.0
    """Seconds since phpIPAM gave the oldest of the answers used."""

    @property
    def failed(self) -> bool:
        """Whether anything did."""
        return bool(self.problems) or any(outcome.error for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Run:
    """A run as a whole, for those who watch many."""

    summary: Summary
    exit_code: int

    ended: float
    """Seconds since the epoch."""

    seconds: float
    """How long it took."""

    spool_reports: int
    """How many reports wait for the Scan Server."""

    spool_bytes: int


@dataclass(frozen=True, slots=True)
class Check:
    """What `--check` found out about one thing."""

    name: str

    passed: bool
    detail: str

    advice: str | None = None
    """What to do about it; with `passed`, a warning."""
