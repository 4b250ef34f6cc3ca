"""What phpIPAM said, kept between runs in one JSON file and aged out by the time each answer came."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from cachetools import TLRUCache

from ..config import Config
from ..system import files, folders
from .decode import Row

log = logging.getLogger(__name__)

FORMAT = 2
"""Changes when a file of an older version could be misread."""

MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a cache file that are read at most."""

CLOCK_TOLERANCE = 5.0
"""Seconds that an answer may lie in the future before the clock is not believed."""


class Cache(MutableMapping[str, list[Row]]):
    """The answers still young enough to be used; what is set here is kept by `save`.

    `clock` gives seconds since the epoch with `epoch_time_offset` applied. An answer keeps its own age
    across runs, and one set of answers serves one set of credentials.
    """

    def __init__(self, path: Path, config: Config, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._credentials = "\0".join(
            (
                config.api_url,
                config.client_name,
                config.client_token.get_secret_value(),
                config.scanagent_code.get_secret_value(),
            )
        )
        lifetime = config.cache_expire_time
        self._answers = _aging(lifetime, clock)
        self._past = _aging(lifetime + config.cache_stale_if_error, clock)
        self._changed = False

    def load(self) -> None:
        """Read what an earlier run has kept. What is damaged, foreign or too old is dropped."""
        files.clean(self._path)
        try:
            document = json.loads(self._read())
            fetched = {key: (float(time), rows) for key, (time, rows) in document["answers"].items()}
            belongs = document["format"] == FORMAT and document["for"] == self._owner(document["salt"])
            _check(fetched)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cache %s cannot be read (%s); asking phpIPAM again", self._path, error.strerror)
            return
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            log.warning("cache %s is damaged; asking phpIPAM again", self._path)
            return
        if not belongs:
            log.info("cache %s was made with other settings; asking phpIPAM again", self._path)
        elif any(time > self._clock() + CLOCK_TOLERANCE for time, _ in fetched.values()):
            log.warning("cache %s comes from the future; check the clock; asking phpIPAM again", self._path)
        else:
            self._answers.update(fetched)
            self._past.update(fetched)
            log.info("cache %s: %d of %d answers are fresh", self._path, len(self._answers), len(fetched))

    def save(self) -> None:
        """Write the answers beside the file and rename. A cache that cannot be kept costs time, no more."""
        if not self._changed:
            return
        salt = os.urandom(16).hex()
        document = {"format": FORMAT, "salt": salt, "for": self._owner(salt), "answers": dict(self._past)}
        try:
            folders.private(self._path.parent)
            files.replace(self._path, json.dumps(document).encode())
        except OSError as error:
            log.warning("cache %s cannot be written (%s); every run asks phpIPAM", self._path, error.strerror)
        self._changed = False

    @property
    def age(self) -> float:
        """Seconds since the oldest of the answers in use came."""
        return max((self._clock() - came for came, _ in self._past.values()), default=0.0)

    def past(self, key: str) -> tuple[float, list[Row]] | None:
        """Return an answer that is too old but may be used where there is no other, with its age in seconds."""
        answer = self._past.get(key)
        return None if answer is None else (self._clock() - answer[0], answer[1])

    def _read(self) -> bytes:
        if self._path.stat().st_uid != os.geteuid():
            raise ValueError("somebody else's file")
        return files.read(self._path, MAX_SIZE)

    def _owner(self, salt: str) -> str:
        """Return what tells whose answers these are; salted and slow, so that it gives no secret away."""
        return hashlib.scrypt(self._credentials.encode(), salt=bytes.fromhex(salt), n=4096, r=8, p=1).hex()

    def __getitem__(self, key: str) -> list[Row]:
        return self._answers[key][1]

    def __setitem__(self, key: str, rows: list[Row]) -> None:
        self._answers[key] = self._past[key] = (self._clock(), rows)
        self._changed = True

    def __delitem__(self, key: str) -> None:
        del self._answers[key]
        self._past.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def _aging(lifetime: float, clock: Callable[[], float]) -> TLRUCache[str, tuple[float, list[Row]]]:
    """Return a memory in which an answer lives for so many seconds from when it came, by this clock."""
    return TLRUCache(maxsize=1 << 32, ttu=lambda _, answer, __: answer[0] + lifetime, timer=clock)


def _check(answers: dict[str, tuple[float, Any]]) -> None:
    for _, rows in answers.values():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("no rows")
