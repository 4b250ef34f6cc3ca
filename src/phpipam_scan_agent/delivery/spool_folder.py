"""A folder of report files, with an Entry for each."""

import logging
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from ..errors import SpoolError
from ..models import IPNetwork, Report
from ..system import files, folders
from . import spool_file

log = logging.getLogger(__name__)

MAX_FILE = 16 * 1024 * 1024
"""Maximum size of a file in bytes; a report of 2,048 hosts has about 250 kB."""

MAX_LINE = 10_000
"""Maximum length of a file's first line in bytes."""

_NUMBERED = re.compile(r"[0-9]{12}\.json")

_PREFIXED = re.compile(r"[0-9a-f]{8}_.+\.json")


class Entry(NamedTuple):
    """The first line of a spool file, and facts about the file: enough to list the reports without reading them."""

    network: IPNetwork | None
    """None for a damaged file."""

    made: datetime
    """When the report was made, with its zone."""

    hosts: int = 0

    refusal: str | None = None
    """Why the Scan Server refused the report, if it did."""

    size: int = 0
    """Bytes of the file."""

    version: int = 0
    """Number of the file's last write among all writes of this run; 0 for none."""

    durable: bool = True
    """Whether the file survives a power failure."""


class Folder:
    """Files whose names begin with `prefix`; other files in the folder are ignored."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.size = 0
        """Bytes of all files."""
        self._prefix = prefix
        self._version = 0

    def load(self) -> Iterator[str]:
        """List the folder; yield a line for each file that cannot be read."""
        self.entries.clear()
        for path in _files(self.path):
            if path.name.startswith(self._prefix):
                try:
                    self.entries[path.name] = _entry(path)
                except OSError as error:
                    yield read_error(path, error)
        self.size = sum(entry.size for entry in self.entries.values())

    def numbered(self) -> list[Path]:
        """Return the files of format 1, which have one report each, oldest first."""
        return [path for path in _files(self.path) if _NUMBERED.fullmatch(path.name)]

    def foreign(self) -> int:
        """Return the number of reports with another prefix."""
        return sum(
            bool(_PREFIXED.fullmatch(path.name)) and not path.name.startswith(self._prefix)
            for path in _files(self.path)
        )

    def facts(self) -> tuple[int, int]:
        """Return the number of reports of both formats, and their size in bytes; also before `load`."""
        found = [path for path in _files(self.path) if path.name.startswith(self._prefix)] + self.numbered()
        return len(found), sum(map(_size, found))

    def read(self, name: str) -> Report:
        """Return the report in a file. Raise SpoolError if it holds no valid report."""
        path = self.path / name
        try:
            return spool_file.decode(files.read(path, MAX_FILE))
        except OSError as error:
            raise SpoolError(f"{path} cannot be read ({error.strerror})") from None
        except files.INVALID:
            raise SpoolError(f"{path} contains no report") from None

    def write(self, name: str, report: Report, durable: bool = True, refusal: str | None = None) -> None:
        """Write or replace a file. Raise SpoolError if it cannot be written."""
        content = spool_file.encode(report, refusal)
        try:
            folders.private(self.path)
            files.replace(self.path / name, content, durable=durable)
        except OSError as error:
            raise SpoolError(f"{self.path} cannot keep the report ({error.strerror})") from None
        self._version += 1
        self.forget(name)
        self.entries[name] = Entry(
            report.network, report.made, len(report.rows), refusal, len(content), self._version, durable
        )
        self.size += len(content)

    def remove(self, name: str) -> None:
        """Remove a file. If that fails, the next run uploads the report again."""
        self.forget(name)
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            log.warning(
                "%s cannot be removed (%s); the next run sends it again", self.path / name, error.strerror
            )

    def forget(self, name: str) -> None:
        """Remove the entry of a file."""
        if entry := self.entries.pop(name, None):
            self.size -= entry.size


def read_error(path: Path, error: OSError) -> str:
    """Return the message about a file that cannot be read."""
    if isinstance(error, PermissionError):
        return (
            f"{path} belongs to the user with id {path.lstat().st_uid} and is not sent; as root:"
            f" chown -R {os.geteuid()} {path.parent}"
        )
    return f"{path} cannot be read ({error.strerror})"


def _entry(path: Path) -> Entry:
    with open(files.open_regular(path, os.O_RDONLY), "rb") as file:
        found = os.fstat(file.fileno())
        try:
            header = spool_file.Header.model_validate_json(file.readline(MAX_LINE))
        except files.INVALID:
            return Entry(None, datetime.fromtimestamp(found.st_mtime, timezone.utc), size=found.st_size)
    return Entry(header.subnet, header.made, header.hosts, header.refusal, found.st_size)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.name[0] != ".")
    except OSError:  # a folder that cannot be listed cannot be written either, which `write` reports
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
