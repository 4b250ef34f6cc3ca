"""Files that are whole at any moment, whatever ends the run."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def open_regular(path: Path, flags: int) -> int:
    """Open a file with mode 0600 and return its descriptor. Raise OSError, also for a FIFO, device or symlink.

    Never waits: a FIFO would block until its other end is opened.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def read(path: Path, limit: int) -> bytes:
    """Return the content of a regular file. Raise OSError, also if it has more than `limit` bytes."""
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes")
    return content


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file beside its place and rename it. Raise OSError; the old one then stays."""
    with _beside(path, content, mode) as beside:
        os.replace(beside, path)
    sync_folder(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a new file in the same way. Raise OSError, FileExistsError if there is one."""
    with _beside(path, content) as beside:
        os.link(beside, path)
        os.unlink(beside)
    sync_folder(path.parent)


def clean(path: Path) -> None:
    """Remove what killed runs have left half written beside a file; `path` may hold `*`.

    What a run that lives is writing stays: one with another cache folder has another lock.
    """
    with contextlib.suppress(OSError):  # glob raises where the folder cannot be searched
        for leftover in path.parent.glob(f".{path.name}.*"):
            if not Path("/proc", leftover.name.split(".")[-2]).exists():
                leftover.unlink()


@contextlib.contextmanager
def _beside(path: Path, content: bytes, mode: int = 0o600) -> Iterator[str]:
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def sync_folder(folder: Path) -> None:
    """Make the kernel write down what was created, renamed or removed in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
