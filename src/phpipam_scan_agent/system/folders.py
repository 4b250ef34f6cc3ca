"""Where the agent keeps things: systemd's folders if it was given some, else root's or the user's."""

import os
from pathlib import Path

from platformdirs import PlatformDirs

from .. import NAME

_DIRS = PlatformDirs(NAME, appauthor=False)


def cache() -> Path:
    """Return the folder of what can be had again: `/var/cache/phpipam-scan-agent` for root."""
    ours = _DIRS.site_cache_path if os.geteuid() == 0 else _DIRS.user_cache_path
    return _given("CACHE_DIRECTORY") or ours


def state() -> Path:
    """Return the folder of what must not be lost: `/var/lib/phpipam-scan-agent` for root."""
    ours = Path("/var/lib", NAME) if os.geteuid() == 0 else _DIRS.user_state_path
    return _given("STATE_DIRECTORY") or ours


def _given(variable: str) -> Path | None:
    """Return the folder that systemd put into the environment; the first, if the unit asked for several."""
    value = os.environ.get(variable, "").partition(":")[0]
    return Path(value) if value else None
