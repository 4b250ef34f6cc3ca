"""Files that are whole at any moment, whatever ends the run."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 beside its place and rename it. Raise OSError; the old one then stays."""
    with _beside(path, content) as beside:
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
def _beside(path: Path, content: bytes) -> Iterator[str]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
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
