"""Reports on disk until the Scan Server has taken them: one file each, in the order of their making."""

import json
import logging
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path

from ..errors import SpoolError
from ..models import Report
from ..system import files, folders

log = logging.getLogger(__name__)

FORMAT = 1
"""Changes when a file of an older version could be misread."""

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a file that are read at most; the Scan Server takes reports of 1 MiB."""


class Spool:
    """A folder of reports.

    `max_age` in seconds and `max_size` in bytes bound it; `clock` gives seconds since the epoch. The files
    hold neither the token nor the scan agent code, which the server stage adds.
    """

    def __init__(self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._refused = folder / "refused"
        self._max_age = max_age
        self._max_size = max_size
        self._clock = clock
        self._latest = 0

    @property
    def folder(self) -> Path:
        """Where the reports are."""
        return self._folder

    def put(self, report: Report) -> Path:
        """Keep a report, and return its file. Raise SpoolError if it cannot be kept."""
        document = {
            "format": FORMAT,
            "made": self._clock(),
            "subnet": str(report.network),
            "hosts": report.hosts,
            "scan": report.scan,
        }
        # Numbers, not times: a clock that jumps puts nothing out of order.
        content = json.dumps(document).encode()
        if len(content) > self._max_size:
            raise SpoolError(f"{self._folder} cannot keep it (it is larger than spool_max_size)")
        self._latest = max((self._latest, *(int(path.stem) for path in self._all())))
        while True:
            self._latest += 1
            path = self._folder / f"{self._latest:012d}.json"
            try:
                folders.private(self._folder)
                files.create(path, content)
            except FileExistsError:  # of a run with another cache folder, whose lock is not ours
                continue
            except OSError as error:
                raise SpoolError(f"{self._folder} cannot keep it ({error.strerror})") from None
            if sum(_size(each) for each in self._all()) > self._max_size:
                self._drop()
            return path

    def waiting(self) -> list[Path]:
        """Return the files of the reports that are to be sent, oldest first."""
        return _numbered(self._folder)

    def facts(self) -> tuple[int, int]:
        """Return how many reports are to be sent, and how many bytes they have."""
        waiting = self.waiting()
        return len(waiting), sum(map(_size, waiting))

    def get(self, path: Path) -> Report:
        """Return the report in a file. Raise SpoolError if there is none in it."""
        try:
            document = json.loads(files.read(path, MAX_FILE))
            if document["format"] != FORMAT or not isinstance(json.loads(document["scan"])["results"], list):
                raise ValueError
            return Report(ip_network(str(document["subnet"])), document["scan"], int(document["hosts"]))
        except OSError as error:
            raise SpoolError(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise SpoolError(f"{path} holds no report") from None

    def remove(self, path: Path) -> None:
        """Forget a report."""
        self._latest = max(self._latest, int(path.stem))  # no other report of this run gets its number
        try:
            path.unlink()
            files.sync(path.parent)
        except OSError as error:
            log.warning("%s cannot be removed (%s); the next run sends it again", path, error.strerror)

    def set_aside(self, path: Path) -> Path:
        """Move a report to where it is kept for people to look at, and is not sent again; return its file."""
        aside = self._refused / path.name
        try:
            self._refused.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside)
            return aside
        except OSError as error:
            log.warning("%s cannot be set aside (%s)", path, error.strerror)
            return path

    def tidy(self) -> None:
        """Drop the oldest reports beyond the bounds, and half-written files of killed runs; before any `put`."""
        files.clean(self._folder / "*.json")
        self._drop()

    def _drop(self) -> None:
        reports = [(path, *self._facts(path)) for path in self._all()]
        size = sum(size for _, size, _, _ in reports)
        dropped: list[int] = []
        for path, bytes_, made, hosts in reports:
            if size > self._max_size or self._clock() - made > self._max_age:
                self.remove(path)
                size -= bytes_
                dropped.append(hosts)
        if dropped:
            log.warning(
                "%s: %d of the oldest reports with %d hosts are dropped, see spool_max_age and spool_max_size",
                self._folder,
                len(dropped),
                sum(dropped),
            )

    def _all(self) -> Iterable[Path]:
        return sorted((*_numbered(self._folder), *_numbered(self._refused)), key=lambda path: int(path.stem))

    def _facts(self, path: Path) -> tuple[int, float, int]:
        """Return a file's size in bytes, when the report was made, and how many hosts are in it."""
        try:
            found = path.stat()
            document = json.loads(files.read(path, MAX_FILE))
            return found.st_size, float(document["made"]), int(document["hosts"])
        except OSError:
            return 0, self._clock(), 0
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return found.st_size, found.st_mtime, 0  # no report; it is set aside when its turn comes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _numbered(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.glob("*.json") if re.fullmatch("[0-9]{12}", path.stem))
    except OSError:  # it cannot be searched, so nothing can be kept in it either, which `put` says
        return []
