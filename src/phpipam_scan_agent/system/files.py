"""Files that are complete at any moment, also if the run is killed, on file systems with and without fsync."""

import contextlib
import errno
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Value = TypeVar("Value")

INVALID = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors on reading a JSON document that does not have the expected form."""

NOT_SUPPORTED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY))
"""Errors of fsync on file systems without it: FUSE, SMB and vfat for folders, some FUSE for files."""


def open_regular(path: Path, flags: int, follow_symlinks: bool = False) -> int:
    """Open a file, created with mode 0600, and return its descriptor. Raise OSError, also for a FIFO or device.

    It never waits, as it would for the other end of a FIFO.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def read(path: Path, limit: int, follow_symlinks: bool = False) -> bytes:
    """Return the content of a regular file. Raise OSError, also if it has more than `limit` bytes."""
    with open(open_regular(path, os.O_RDONLY, follow_symlinks), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes")
    return content


def replace(path: Path, content: bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Write a temporary file in the same folder and rename it. Raise OSError; the old file then stays.

    Without `durable` the file survives the end of the process but not a power failure: call `sync` later.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            if mode != 0o600:
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            if durable:
                _sync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync(path.parent)


def load(path: Path, form: int, limit: int, decode: Callable[[Any], dict[str, Value]]) -> dict[str, Value]:
    """Return the content of a JSON file of this format; nothing without such a file.

    `decode` converts the document to the content; a file for which it raises one of INVALID is damaged and ignored.
    """
    try:
        document = json.loads(read(path, limit))
        return decode(document) if document["format"] == form else {}
    except FileNotFoundError:
        return {}
    except (OSError, *INVALID) as error:
        log.info("%s cannot be read (%s); it is written anew", path, error)
        return {}


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, as far as the file system can. Raise OSError.

    The folder may be a symlink, as systemd makes one with DynamicUser=; syncing its target changes nothing there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def clean(path: Path) -> None:
    """Remove temporary files of killed runs beside a file, before this run writes any; `path` may contain `*`.

    Files of a living process stay: a run with another cache folder has another lock. This process's own pid counts as
    dead, since in a container each run has pid 1.
    """
    with contextlib.suppress(OSError):  # glob raises where the folder cannot be searched
        for leftover in path.parent.glob(f".{path.name}.*"):
            pid = leftover.name.split(".")[-2]
            if pid == str(os.getpid()) or not Path("/proc", pid).exists():
                leftover.unlink()


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
