"""The cache and state folders: systemd's if the unit sets them, else the system's for root or the user's own."""

import os
from pathlib import Path

from platformdirs import PlatformDirs

from .. import NAME

_DIRS = PlatformDirs(NAME, appauthor=False)


def cache() -> Path:
    """Return the cache folder, whose content can be fetched again; `/var/cache/phpipam-scan-agent` for root."""
    default = _DIRS.site_cache_path if os.geteuid() == 0 else _DIRS.user_cache_path
    return _from_systemd("CACHE_DIRECTORY") or default


def state() -> Path:
    """Return the state folder, whose content must not be lost; `/var/lib/phpipam-scan-agent` for root."""
    default = Path("/var/lib", NAME) if os.geteuid() == 0 else _DIRS.user_state_path
    return _from_systemd("STATE_DIRECTORY") or default


def _from_systemd(variable: str) -> Path | None:
    """Return the folder that systemd sets in the environment; the first, if the unit names several."""
    value = os.environ.get(variable, "").partition(":")[0]
    return Path(value) if value else None
