"""Threads that upload reports, newest first."""

import threading
from collections.abc import Iterable

from ..errors import (
    BadReportError,
    NotAssignedError,
    ServerError,
    SpoolError,
    ThreadLimitError,
    TooLargeError,
    UnavailableError,
)
from ..models import Report
from ..system import threads
from . import report as reports
from .outcomes import Upload
from .server import ScanServer
from .spool import Spool

MAX_IN_MEMORY = 100
"""Maximum number of waiting reports in memory; others are read from the spool again."""

MAX_FAILURES = 3
"""Consecutive failed reports after which the server counts as unavailable."""

JOIN_TIMEOUT = 2.0
"""Seconds for a thread to end; as a daemon it ends with the program in any case."""


class Uploads:
    """Uploads reports in up to `most` threads.

    There is one upload at a time until the server has taken a report, so that an unavailable server gets one request.
    """

    def __init__(self, spool: Spool, server: ScanServer, most: int) -> None:
        self._spool = spool
        self._server = server
        self._most = most
        self._changed = threading.Condition()
        self._pending: list[Upload] = []
        self._active: set[str] = set()
        self._ended: list[Upload] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._taken = False
        self._failures = 0
        self._failure: BaseException | None = None
        self.stopped: UnavailableError | None = None
        """The error that has ended the uploads of this run."""
        self.not_assigned = False
        """Whether the server has refused a subnet as not this agent's."""

    def add(self, uploads: Iterable[Upload]) -> None:
        """Begin uploads, the last one first and before uploads that were added earlier."""
        with self._changed:
            for upload in uploads:
                stays = len(self._pending) < MAX_IN_MEMORY or upload.not_kept
                self._pending.append(upload if stays else upload._replace(report=None))
            self._start()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until no upload is left, but at most `seconds`; return whether none is left.

        Raise ThreadLimitError if not one thread can be started for them.
        """
        with self._changed:
            self._start()
            if self._pending and not self._threads:
                raise ThreadLimitError
            return self._changed.wait_for(lambda: not self._pending and not self._active, seconds)

    def ended(self) -> list[Upload]:
        """Return the uploads that have ended since the last call, without their reports."""
        with self._changed:
            ended, self._ended = self._ended, []
            return ended

    def stop(self) -> None:
        """Begin no further upload; waiting reports stay in the spool."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads."""
        self.stop()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT)

    def raise_failure(self) -> None:
        """Raise the error that has ended a thread, which is a fault of the program."""
        if self._failure:
            raise self._failure

    def _start(self) -> None:
        """Start threads, up to one for each upload."""
        most = self._most if self._taken else 1
        while len(self._threads) < min(most, len(self._pending) + len(self._active)):
            # Daemons, so that a wait for a nameserver or a connection does not delay the end of the program.
            thread = threading.Thread(target=self._work, name="upload", daemon=True)
            try:
                threads.start(thread)
            except ThreadLimitError:
                return  # fewer threads are enough; the next upload tries again
            self._threads.append(thread)

    def _work(self) -> None:
        try:
            while upload := self._next():
                try:
                    sent = self._send(upload)
                    with self._changed:
                        self._ended.append(sent._replace(report=None))
                finally:
                    with self._changed:
                        self._active.discard(upload.name)
                        self._start()
                        self._changed.notify_all()
        except BaseException as failure:
            self._failure = failure

    def _next(self) -> Upload | None:
        """Return the newest upload that no other thread has begun; None at the end."""
        with self._changed:
            while not self._closed:
                for at in range(len(self._pending) - 1, -1, -1):
                    if self._pending[at].name not in self._active:
                        upload = self._pending.pop(at)
                        self._active.add(upload.name)
                        return upload
                self._changed.wait()
        return None

    def _send(self, upload: Upload) -> Upload:
        """Send a report and act on the answer; return the ended upload."""
        if self.stopped:
            return self._kept(upload, self.stopped)
        if not upload.not_kept:
            try:
                upload = self._current(upload)
            except SpoolError as error:
                return self._set_aside(upload, error)
        if upload.report is None:  # uploaded in a newer version, or dropped at the spool's limits
            return upload
        return self._sent(upload, upload.report)

    def _current(self, upload: Upload) -> Upload:
        """Return an upload with the newest version of its report, or without a report if it no longer waits.

        Raise SpoolError if the file is damaged.
        """
        entry = self._spool.entry(upload.name)
        if entry and upload.report and entry.version == upload.version:
            return upload
        try:
            version, report = self._spool.get(upload.name)
        except KeyError:  # it no longer waits: another thread may drop it at any moment
            return upload._replace(report=None)
        return upload._replace(version=version, report=report)

    def _sent(self, upload: Upload, report: Report) -> Upload:
        try:
            self._upload(report)
        except UnavailableError as error:
            if not self._closed:
                self.stopped = error
            return self._kept(upload, error)
        except BadReportError as error:
            self.not_assigned |= isinstance(error, NotAssignedError)
            return self._kept(upload, error) if upload.not_kept else self._set_aside(upload, error)
        except ServerError as error:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self.stopped = UnavailableError(str(error))
            return self._kept(upload, error, f"{error}; the next run sends it again")
        self._taken = True
        self._failures = 0
        self._spool.remove(upload.name, upload.version)
        return upload._replace(uploaded=True)

    def _set_aside(self, upload: Upload, error: ServerError | SpoolError) -> Upload:
        end = self._spool.put_aside(upload.name, str(error), upload.version)
        return upload._replace(error=f"{error}; {end}")

    def _kept(self, upload: Upload, cause: ServerError, error: str | None = None) -> Upload:
        """Return a failed upload: its report stays for the next run, or is lost if it is not in the spool."""
        if upload.not_kept:
            return upload._replace(error=f"could be neither kept nor sent: {upload.not_kept}; {cause}")
        return upload._replace(waiting=error is None, error=error)

    def _upload(self, report: Report) -> None:
        """Send a report, in halves if it is too large for the server or for a proxy in front of it."""
        try:
            self._server.upload(report)
        except TooLargeError as error:
            halves = reports.halves(report)
            if not halves:  # a proxy's limit that lets no report pass
                raise UnavailableError(str(error)) from None
            for half in halves:
                self._upload(half)
