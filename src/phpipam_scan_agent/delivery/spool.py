"""The spool: reports that wait for the Scan Server, one file with the newest state of each subnet, no history."""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ..errors import SpoolError
from ..models import Report
from ..system import files, folders
from . import spool_file
from .report import is_from_the_future, limited, merge, without_old_rows
from .spool_folder import MAX_FILE, Entry, Folder, read_error

log = logging.getLogger(__name__)


class Spool:
    """A folder of reports; any thread may use it, and one run at a time.

    `max_age` in seconds and `max_size` in bytes are its limits; `clock` gives seconds since the epoch. `owner` names
    phpIPAM and agent of the reports: files of another owner in the same folder are ignored. The files contain neither
    the token nor the scan agent code, which are added on upload.
    """

    def __init__(
        self, folder: Path, max_age: float, max_size: int, clock: Callable[[], float], owner: str = ""
    ) -> None:
        prefix = hashlib.sha256(owner.encode()).hexdigest()[:8] + "_"
        self.folder = folder
        self._prefix = prefix
        self._waiting = Folder(folder, prefix)
        self._aside = Folder(folder / "refused", prefix)
        self._settings = self._aside.path / f"{prefix}settings"
        self._max_age = max_age
        self._max_size = max_size
        self._clock = clock
        self._lock = threading.RLock()
        self._fingerprint: Callable[[str], str] = str
        self._remembered = False

    def open(self, fingerprint: Callable[[str], str] = str) -> list[str]:
        """Prepare the spool for a run; return its problems, one line each.

        Files of older versions are merged, reports from the future count as made now, and reports beyond the limits
        are dropped. Reports that were set aside wait again if the configuration or the agent's version has changed:
        `fingerprint` hashes both with a salt.
        """
        with self._lock:
            for folder in (self._waiting, self._aside):
                files.clean(folder.path / "*.json")
            problems = self.load()
            self._correct_times()
            self._fingerprint = fingerprint
            self._retry_if_changed()
            problems += self._merge_numbered()
            self._drop()
            return problems

    def load(self) -> list[str]:
        """List the folder without a change; return its problems, one line each."""
        with self._lock:
            return [*self._waiting.load(), *self._aside.load()]

    def waiting(self) -> dict[str, Entry]:
        """Return the entries of waiting reports by name, oldest first."""
        with self._lock:
            entries = self._waiting.entries
            return {name: entries[name] for name in sorted(entries, key=lambda name: entries[name].made)}

    def entry(self, name: str) -> Entry | None:
        """Return the entry of a waiting report; None if it no longer waits."""
        with self._lock:
            return self._waiting.entries.get(name)

    def refused(self) -> list[Entry]:
        """Return the entries of the reports that are set aside."""
        with self._lock:
            return list(self._aside.entries.values())

    def foreign(self) -> int:
        """Return the number of reports in the folder for another phpIPAM or App id."""
        return self._waiting.foreign()

    def facts(self) -> tuple[int, int]:
        """Return the number of waiting reports and their size in bytes; also before `open`."""
        return self._waiting.facts()

    def put(self, report: Report) -> tuple[str, int, Report]:
        """Keep a report, merged with the waiting report of the same subnet and block.

        Return name, version and the report to upload. Raise SpoolError if it cannot be kept.
        """
        with self._lock:
            name = self._name(report)
            waits = name in self._waiting.entries
            if waits:
                report = self._merged(name, report)
            content = spool_file.encode(report)
            if len(content) > self._max_size:
                raise SpoolError(f"{self.folder} cannot keep the report (it is larger than spool_max_size)")
            # A new file is uploaded at once and need only survive a kill; `sync` is for the files that still wait.
            self._waiting.write(name, report, durable=waits)
            version = self._waiting.entries[name].version
            if self._waiting.size + self._aside.size > self._max_size:
                self._drop()
            return name, version, report

    def get(self, name: str) -> tuple[int, Report]:
        """Return version and report of a waiting report.

        Raise SpoolError if its file is damaged, KeyError if it no longer waits.
        """
        with self._lock:
            return self._waiting.entries[name].version, self._waiting.read(name)

    def remove(self, name: str, version: int) -> None:
        """Remove a report that the Scan Server has taken, unless it was merged with a newer report meanwhile."""
        with self._lock:
            entry = self._waiting.entries.get(name)
            if entry and entry.version == version:
                self._waiting.remove(name)

    def set_aside(self, name: str, why: str, version: int | None = None) -> Path:
        """Move a report to the folder of refused reports, which are not sent in each run; return its file.

        It stays if it was merged with a newer report after this version was sent. None stands for any version.
        """
        with self._lock:
            entry = self._waiting.entries.get(name)
            path, aside = self.folder / name, self._aside.path / name
            if entry and version not in (None, entry.version):
                return path
            try:
                folders.private(aside.parent)
                try:
                    report = self._waiting.read(name)
                except SpoolError:  # damaged, or replaced by a folder or FIFO
                    path.replace(aside)
                    self._waiting.forget(name)
                    return aside
                with suppress(SpoolError):
                    report = merge(self._aside.read(name), report)
                self._aside.write(name, report, refusal=why)
                self._remember_settings()
            except (OSError, SpoolError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                log.warning("%s cannot be set aside (%s)", path, reason)
                return path
            self._waiting.remove(name)
            return aside

    def put_aside(self, name: str, why: str, version: int | None = None) -> str:
        """Set a report aside, and return what became of it, for a message."""
        path = self.set_aside(name, why, version)
        return "it stays in the spool" if path == self.folder / name else f"it is set aside as {path}"

    def sync(self) -> None:
        """Make the waiting reports survive a power failure, after the last upload."""
        with self._lock:
            loose = [name for name, entry in self._waiting.entries.items() if not entry.durable]
            try:
                for name in loose:
                    files.sync(self.folder / name)
                if loose:
                    files.sync(self.folder)
            except OSError as error:
                log.warning("%s may not survive a power failure (%s)", self.folder, error.strerror)

    def probe(self) -> None:
        """Try the folder operations of a run. Raise OSError if one of them fails."""
        path = self.folder / f"{self._prefix}probe"
        folders.private(self.folder)
        try:
            for content in (b"one", b"two"):
                files.replace(path, content)
            if files.read(path, 10) != b"two":
                raise OSError(0, "the written content cannot be read again", str(path))
        finally:
            path.unlink(missing_ok=True)

    def _name(self, report: Report) -> str:
        network = str(report.network).replace("/", "_").replace(":", "-")
        id_ = "x" if report.subnet_id is None else report.subnet_id
        block = f"_{report.block}" if report.block else ""
        return f"{self._prefix}{id_}_{network}{block}.json"

    def _merged(self, name: str, report: Report) -> Report:
        try:
            merged = merge(self._waiting.read(name), report)
        except SpoolError as error:
            log.warning("%s; %s", error, self.put_aside(name, "damaged"))
            return report
        kept = without_old_rows(merged, merged.made - timedelta(seconds=self._max_age))
        if dropped := len(merged.rows) - len(kept.rows):
            log.warning("%s: hosts dropped, see spool_max_age: %d of %s", self.folder, dropped, kept.network)
        return kept

    def _correct_times(self) -> None:
        """Limit the times of reports from the future to now: they would never expire, and hide newer results."""
        now = datetime.fromtimestamp(self._clock(), timezone.utc)
        corrected = 0
        for folder in (self._waiting, self._aside):
            for name, entry in folder.entries.copy().items():
                if is_from_the_future(entry.made, now):
                    with suppress(SpoolError):  # damaged, or the disk is full
                        folder.write(name, limited(folder.read(name), now), refusal=entry.refusal)
                        corrected += 1
        if corrected:
            message = "%s: reports from the future, which count as made now: %d; check this machine's clock"
            log.warning(message, self.folder, corrected)

    def _retry_if_changed(self) -> None:
        """Let reports that were set aside wait again if configuration or agent have changed since their refusal."""
        numbered = self._aside.numbered()
        if not self._aside.entries and not numbered:
            return
        try:
            salt, _, digest = files.read(self._settings, 1000).decode().partition(" ")
        except (OSError, UnicodeError):
            salt = digest = ""
        self._remembered = bool(digest) and digest == self._fingerprint(salt)
        if self._remembered:
            return
        try:
            for path in numbered:
                path.replace(self.folder / path.name)
            again = [name for name in list(self._aside.entries) if self._wait_again(name)]
            self.sync()
            for name in again:
                self._aside.remove(name)
            self._remember_settings()
        except (OSError, SpoolError) as error:
            log.warning("%s: refused reports cannot be sent again (%s)", self._aside.path, error)

    def _remember_settings(self) -> None:
        """Note the configuration and version with which reports were set aside."""
        if not self._remembered:
            salt = os.urandom(16).hex()
            files.replace(self._settings, f"{salt} {self._fingerprint(salt)}".encode())
            self._remembered = True

    def _wait_again(self, name: str) -> bool:
        try:
            report = self._aside.read(name)
        except SpoolError:  # damaged
            return False
        self._aside.forget(name)  # or it would count twice for the maximum size
        self.put(report)
        return True

    def _merge_numbered(self) -> Iterator[str]:
        """Merge the files of format 1 into files of today's format, and remove them after the last merge."""
        reports: dict[str, Report] = {}
        merged: list[Path] = []
        for path in self._waiting.numbered():
            try:
                for report in spool_file.decode_format_1(files.read(path, MAX_FILE)):
                    name = self._name(report)
                    reports[name] = merge(reports[name], report) if name in reports else report
                merged.append(path)
            except PermissionError as error:
                yield read_error(path, error)
            except OSError as error:
                yield f"{read_error(path, error)}; {self.put_aside(path.name, '')}"
            except files.INVALID:
                yield f"{path} contains no report; {self.put_aside(path.name, '')}"
        try:
            for report in reports.values():
                self.put(report)
            self.sync()
            for path in merged:
                path.unlink()
        except (OSError, SpoolError) as error:
            yield f"{self.folder}: reports of an older version cannot be merged ({error})"

    def _drop(self) -> None:
        """Drop the oldest reports beyond the limits."""
        earliest = datetime.fromtimestamp(self._clock(), timezone.utc) - timedelta(seconds=self._max_age)
        folders_ = (self._waiting, self._aside)
        oldest = sorted(
            ((entry.made, name, folder) for folder in folders_ for name, entry in folder.entries.items()),
            key=lambda each: each[:2],
        )
        dropped: list[Entry] = []
        for made, name, folder in oldest:
            if made < earliest or self._waiting.size + self._aside.size > self._max_size:
                dropped.append(folder.entries[name])
                folder.remove(name)
        if dropped:
            log.warning(
                "%s: %d of the oldest reports with %d hosts are dropped, see spool_max_age and spool_max_size",
                self.folder,
                len(dropped),
                sum(entry.hosts for entry in dropped),
            )
