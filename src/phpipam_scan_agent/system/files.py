"""Files that are whole at any moment, however the run ends and whatever the file system lacks."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOT_SUPPORTED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY))
"""What fsync fails with where a file system cannot do it: FUSE, SMB and vfat for folders, some FUSE for files."""


def open_regular(path: Path, flags: int, follow_symlinks: bool = False) -> int:
    """Open a file, make it with mode 0600, and return its descriptor. Raise OSError, also for a FIFO or device.

    Never waits: a FIFO would block until its other end is opened.
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
    """Write a file beside its place and rename it. Raise OSError; the old one then stays.

    Without `durable` it survives the end of the process but not a power failure: call `sync` later.
    """
    with _beside(path, content, mode, durable) as beside:
        os.replace(beside, path)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, as far as the file system can. Raise OSError.

    The folder may be a symlink, as systemd makes one with DynamicUser=; to sync where it leads changes nothing there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def clean(path: Path) -> None:
    """Remove half-written files of killed runs beside a file, before this run writes any; `path` may hold `*`.

    Files of a living process stay: a run with another cache folder has another lock. This process' own number
    counts as dead, since in a container every run has the number 1.
    """
    with contextlib.suppress(OSError):  # glob raises where the folder cannot be searched
        for leftover in path.parent.glob(f".{path.name}.*"):
            pid = leftover.name.split(".")[-2]
            if pid == str(os.getpid()) or not Path("/proc", pid).exists():
                leftover.unlink()


@contextlib.contextmanager
def _beside(path: Path, content: bytes, mode: int, durable: bool) -> Iterator[str]:
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            if mode != 0o600:
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            if durable:
                _sync(descriptor)
        yield beside
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
