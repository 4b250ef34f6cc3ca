"""Locks: one run at a time for each cache folder and each spool."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from ..errors import LockedError
from . import files, folders

log = logging.getLogger(__name__)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock during the block. Raise LockedError at once if another run holds it.

    The kernel (flock) releases the lock at any end of the run. The file stays; its content names the holder for the
    message.
    """
    try:
        folders.private(path.parent)
        descriptor = files.open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        log.warning(
            "%s cannot be opened (%s); a second run could start at the same time", path, error.strerror
        )
        yield
        return
    with open(descriptor, "r+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"another run is in progress{_holder(file.read(1000))}; this run ends"
            ) from None
        except OSError as error:  # a network file system without locks
            log.warning(
                "%s cannot be locked (%s); a second run could start at the same time", path, error.strerror
            )
        _write(file.fileno(), json.dumps({"pid": os.getpid(), "since": time.time()}))
        yield


@contextmanager
def folder_held(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder itself during the block. Raise LockedError at once if another run holds it.

    Runs with different cache folders have different locks, but may share the state folder. A folder that cannot be
    locked or made is no error: the spool reports it when it writes.
    """
    try:
        descriptor = os.open(folders.private(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LockedError(f"another run uses {folder}; this run ends") from None
    except OSError as error:  # a network file system without locks
        log.info("%s cannot be locked (%s)", folder, error.strerror)
    try:
        yield
    finally:
        os.close(descriptor)


def _write(descriptor: int, text: str) -> None:
    try:
        os.pwrite(descriptor, text.encode(), 0)
        os.truncate(descriptor, len(text))
    except OSError as error:  # on a full disk the message of other runs is shorter
        log.debug("the lock file cannot be written: %s", error.strerror)


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        since = datetime.fromtimestamp(holder["since"]).strftime("%Y-%m-%d %H:%M:%S")
        return f" since {since}, pid {int(holder['pid'])}"
    except (OSError, *files.INVALID):
        return ""
