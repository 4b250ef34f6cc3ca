"""PTR names, kept between runs in one JSON file for the TTL of their DNS records."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cachetools import TLRUCache

from ..models import IPAddress
from ..system import files

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file format."""

MAX_LIFETIME = 86400
"""Maximum lifetime of a name, in seconds."""

MAX_LIFETIME_WITHOUT = 3600
"""Maximum lifetime of the answer that an address has no name, in seconds."""

MAX_NAMES = 200_000
"""Maximum number of answers; the least recently used are dropped first."""

MAX_BYTES = 64 * 1024 * 1024
"""Maximum size of the file; 200,000 names of maximum length have 60 MB."""

Answer = tuple[float, str | None]
"""Time of expiry, in seconds since the epoch, and the name or None."""


class NameMemory:
    """Answers of nameservers, by nameservers and address. A file that cannot be read is ignored."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._changed = False
        self._answers: TLRUCache[str, Answer] = TLRUCache(
            maxsize=MAX_NAMES, ttu=lambda _, answer, __: answer[0], timer=clock
        )

    def load(self) -> None:
        """Read the file of an earlier run."""
        if self._path is None:
            return
        files.clean(self._path)
        kept = files.load(self._path, FORMAT, MAX_BYTES, _decode)
        # Answers from a time when the clock was ahead must not live longer.
        latest = self._clock() + MAX_LIFETIME
        self._answers.update({key: answer for key, answer in kept.items() if answer[0] <= latest})

    def save(self) -> None:
        """Write the answers to a temporary file and rename it; a failure only costs later runs time."""
        if self._path is None or not self._changed:
            return
        self._answers.expire()
        document = {"format": FORMAT, "answers": dict(self._answers)}
        try:
            files.replace(self._path, json.dumps(document).encode(), durable=False)
        except OSError as error:
            log.warning("%s cannot be written (%s); names are looked up again", self._path, error.strerror)

    def get(self, nameservers: tuple[str, ...], ip: IPAddress) -> tuple[bool, str | None]:
        """Return whether an answer is known, and the name in it."""
        answer = self._answers.get(_key(nameservers, ip))
        return (False, None) if answer is None else (True, answer[1])

    def set(self, nameservers: tuple[str, ...], ip: IPAddress, name: str | None, ttl: int) -> None:
        """Keep an answer for `ttl` seconds, within bounds."""
        expires = self._clock() + min(ttl, MAX_LIFETIME if name else MAX_LIFETIME_WITHOUT)
        self._answers[_key(nameservers, ip)] = expires, name
        self._changed = True


def _key(nameservers: tuple[str, ...], ip: IPAddress) -> str:
    return f"{ip} {' '.join(nameservers)}"


def _decode(document: Any) -> dict[str, Answer]:
    answers = {str(key): (float(expires), name) for key, (expires, name) in document["answers"].items()}
    if not all(name is None or isinstance(name, str) for _, name in answers.values()):
        raise ValueError("a name is not valid")
    return answers
