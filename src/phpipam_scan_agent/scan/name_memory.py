"""PTR names for as long as DNS says that they hold, kept between runs in one JSON file."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from cachetools import TLRUCache

from ..models import IPAddress
from ..system import files

log = logging.getLogger(__name__)

FORMAT = 1
"""Changes when a file of an older version could be misread."""

LONGEST = 86400
"""Seconds that a name is kept, at most."""

LONGEST_WITHOUT = 3600
"""Seconds that it is kept that an address has no name, at most."""

MAX_NAMES = 200_000
"""Answers that are kept; those used longest ago go first."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of the file; 200,000 names of the greatest length would have 60 MB."""

Answer = tuple[float, str | None]
"""When it expires, in seconds since the epoch, and the name or None."""


class NameMemory:
    """Answers of nameservers by the nameservers asked and the address. A file that cannot be read is passed over."""

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
        try:
            document = json.loads(files.read(self._path, MAX_BYTES))
            kept = {str(key): _answer(*answer) for key, answer in document["answers"].items()}
            if document["format"] != FORMAT:
                raise ValueError
        except FileNotFoundError:
            return
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            log.info("%s cannot be used (%s); names are looked up again", self._path, error)
            return
        # A clock that was ahead must not keep names longer.
        latest = self._clock() + LONGEST
        self._answers.update({key: answer for key, answer in kept.items() if answer[0] <= latest})

    def save(self) -> None:
        """Write the answers beside the file and rename; a failure costs time, no more."""
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
        expires = self._clock() + min(ttl, LONGEST if name else LONGEST_WITHOUT)
        self._answers[_key(nameservers, ip)] = expires, name
        self._changed = True


def _key(nameservers: tuple[str, ...], ip: IPAddress) -> str:
    return f"{ip} {' '.join(nameservers)}"


def _answer(expires: object, name: object) -> Answer:
    if not isinstance(expires, (int, float)) or not (name is None or isinstance(name, str)):
        raise ValueError("an answer is not valid")
    return float(expires), name
