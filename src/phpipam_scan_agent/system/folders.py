"""The cache and state folders: systemd's if the unit sets them, else the system's for root or the user's own."""

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .. import NAME
from ..errors import UsageError

if TYPE_CHECKING:
    from platformdirs import PlatformDirs

CONFIGURATION = Path("/etc/phpipam")
"""The folder of the configuration and of the files that it names."""


def cache() -> Path:
    """Return the cache folder, whose content can be restored; `/var/cache/phpipam-scan-agent` for root."""
    if folder := _from_systemd("CACHE_DIRECTORY"):
        return folder
    return _dirs().site_cache_path if os.geteuid() == 0 else _of_user("cache")


def state() -> Path:
    """Return the state folder, whose content must not be lost; `/var/lib/phpipam-scan-agent` for root."""
    if folder := _from_systemd("STATE_DIRECTORY"):
        return folder
    return Path("/var/lib", NAME) if os.geteuid() == 0 else _of_user("state")


def _of_user(kind: str) -> Path:
    """Return the user's own folder. Raise UsageError for a user without a home."""
    try:
        return _dirs().user_cache_path if kind == "cache" else _dirs().user_state_path
    except RuntimeError:
        problem = f"the user has no home for a {kind} folder; set HOME or {kind.upper()}_DIRECTORY"
        raise UsageError(problem) from None


def _dirs() -> "PlatformDirs":
    from platformdirs import PlatformDirs  # takes a moment to load, and systemd names its folders

    return PlatformDirs(NAME, appauthor=False)


def spool() -> Path:
    """Return the folder of waiting reports, in the state folder."""
    return state() / "spool"


def refused() -> list[Path]:
    """Return the folder of refused reports, in the spool; nothing before the first of them."""
    folder = spool() / "refused"
    return [folder] if os.path.lexists(folder) else []


def prepare() -> None:
    """Make and verify the folders. Raise UsageError if one is not safe.

    A folder that cannot be made is no error here: lock, cache and spool report it when they write.
    """
    for folder in (cache(), state(), spool(), *refused()):
        with contextlib.suppress(OSError):
            private(folder)


def credentials() -> Path | None:
    """Return the folder of systemd's credentials; None if the unit loads none."""
    value = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(value) if value else None


def path_to_read(path: Path) -> Path:
    """Return the path to read: systemd's copy if the unit loads the configuration as a credential."""
    folder = credentials()
    if folder and path.parent == CONFIGURATION and (folder / path.name).exists():
        return folder / path.name
    return path


def path_to_show(path: Path) -> Path:
    """Return the path to show in a message: for a credential, the path that systemd has copied it from."""
    return CONFIGURATION / path.name if path.parent == credentials() else path


def _from_systemd(variable: str) -> Path | None:
    """Return the folder that systemd sets in the environment; the first, if the unit names several."""
    value = os.environ.get(variable, "").partition(":")[0]
    return Path(value) if value else None


def private(folder: Path) -> Path:
    """Make a folder of mode 0700 with any umask, or remove other users' rights from it; verify and return it.

    Raise OSError if it cannot be made, UsageError if another user owns it, may have written in it, or has replaced it
    by a symlink: reports from there are sent to the Scan Server, and root would write through the symlink.
    """
    _make(folder)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid in (0, os.geteuid()):  # systemd's, with DynamicUser=
        return private(folder.resolve())
    if stat.S_ISLNK(found.st_mode):
        raise UsageError(f"{folder} is a symlink of the user with id {found.st_uid}; remove it")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _verify(folder, descriptor)
    finally:
        os.close(descriptor)
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _verify(folder: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"{folder} belongs to the user with id {found.st_uid}, but the agent runs with id {os.geteuid()};"
            " run it as that user, or set CACHE_DIRECTORY and STATE_DIRECTORY to other folders"
        )
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(descriptor, found.st_mode & 0o700)
    # An empty folder, as a new volume of a container, is safe from now on.
    if found.st_mode & 0o022 and (os.fstat(descriptor).st_mode & 0o022 or os.listdir(descriptor)):
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
        raise UsageError(
            f"{folder} may be written by other users (mode {stat.S_IMODE(found.st_mode):04o}), so its files cannot"
            f" be trusted; check or remove them, then: chmod 700 {folder}"
        )
