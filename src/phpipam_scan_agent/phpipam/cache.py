"""phpIPAM's answers, kept between runs in one JSON file, each with its time."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cachetools import TLRUCache

from ..config import Config
from ..system import files, folders
from .decode import Row

log = logging.getLogger(__name__)

FORMAT = 4
"""Version of the file's format; raise it with the fields that `decode` keeps, so that no older file is misread."""

MAX_SIZE = 64 * 1024 * 1024
"""Maximum size of a cache file in bytes."""

CLOCK_TOLERANCE = 5.0
"""Maximum seconds by which an answer's time may be in the future; with more, the clock was wrong."""

MEMORY_PER_CHARACTER = 9
"""Bytes of memory for each character of a row's text: in the cache, as an Address, and while the cache is saved."""

REMEMBERED = 7 * 86400.0
"""Seconds for which the time of a question's last request is kept."""

Rows = Sequence[Row]
_Answer = tuple[float, Rows]
"""Time of an answer, in seconds since the epoch, and its rows."""


class Cache:
    """phpIPAM's answers by question; many threads may use it.

    An answer is fresh for `cache_expire_time` seconds and then stale, as in RFC 5861, for `cache_stale_if_error`
    seconds. It keeps its age across runs. A file belongs to one set of credentials. `clock` gives seconds since the
    epoch with `epoch_time_offset` applied.
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
        self._lifetime = config.cache_expire_time
        longest = self._lifetime + config.cache_stale_if_error
        self._answers: TLRUCache[str, _Answer] = TLRUCache(
            maxsize=1 << 32, ttu=lambda _, answer, __: answer[0] + longest, timer=clock
        )
        self._tried: dict[str, float] = {}
        self._stale_allowed = config.cache_stale_if_error > 0
        self._excluded: dict[str, Rows] = {}
        self._earlier: dict[str, int] = {}
        """Questions with an answer of an earlier run, and its bytes of memory."""
        self._renew = False
        self._lock = threading.Lock()
        self._changed = False
        self.memory = 0
        """Approximate bytes of memory of the answers of earlier runs."""

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        """Save it, also if the run ends early."""
        self.save()

    def load(self, renew: bool = False) -> None:
        """Read an earlier run's file. Old answers, a damaged file and a file of other credentials are ignored.

        With `renew`, none of its answers is fresh in this run. The file keeps each of them until phpIPAM gives a new
        one.
        """
        files.clean(self._path)
        try:
            if self._path.stat().st_uid != os.geteuid():
                raise ValueError("another user's file")
            content = files.read(self._path, MAX_SIZE)
            document = json.loads(content)
            if document["format"] != FORMAT:  # it may have other keys
                log.info("cache %s was made by another version; asking phpIPAM again", self._path)
                return
            belongs = document["for"] == self._owner(document["salt"])
            found, tried, excluded = _content(document)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cache %s cannot be read (%s); asking phpIPAM again", self._path, error.strerror)
            return
        except files.INVALID:
            log.warning("cache %s is damaged; asking phpIPAM again", self._path)
            return
        if not belongs:
            log.info("cache %s was made with another configuration; asking phpIPAM again", self._path)
            return
        self._excluded.update(excluded)
        now = self._clock()
        latest = now + CLOCK_TOLERANCE
        self._tried = {
            question: when for question, when in tried.items() if now - REMEMBERED < when <= latest
        }
        if any(came > latest for came, _ in found.values()):
            log.warning("cache %s comes from the future; check the clock; asking phpIPAM again", self._path)
            return
        self._renew = renew
        self._answers.update(found)
        self._count(len(content), sum(len(rows) for _, rows in found.values()) or 1)
        log.info("cache %s: %d answers, %d of them usable", self._path, len(found), len(self._earlier))

    def save(self) -> None:
        """Write the file. A cache that cannot be written only costs time."""
        with self._lock, self._answers.timer:  # at one time: answers expire at any moment
            if not self._changed:
                return
            kept = {
                "answers": dict(self._answers),
                "tried": self._tried.copy(),
                "excluded": self._excluded.copy(),
            }
            self._changed = False
        salt = os.urandom(16).hex()
        document = {"format": FORMAT, "salt": salt, "for": self._owner(salt)} | kept
        try:
            folders.private(self._path.parent)
            files.replace(self._path, json.dumps(document).encode())
        except OSError as error:
            log.warning("cache %s cannot be written (%s); every run asks phpIPAM", self._path, error.strerror)

    def get(self, question: str) -> Rows | None:
        """Return a fresh answer, or None."""
        answer = None if self._is_to_be_renewed(question) else self.stale(question)
        return answer[1] if answer and answer[0] < self._lifetime else None

    def stale(self, question: str) -> tuple[float, Rows] | None:
        """Return a fresh or stale answer with its age in seconds, or None."""
        if self._is_to_be_renewed(question) and not self._stale_allowed:
            return None
        with self._lock:
            answer = self._answers.get(question)
        return None if answer is None else (self._clock() - answer[0], answer[1])

    def _is_to_be_renewed(self, question: str) -> bool:
        return self._renew and question in self._earlier

    def set(self, question: str, rows: Rows) -> None:
        """Keep an answer, with the present time."""
        with self._lock:
            self._answers[question] = (self._clock(), rows)
            self.memory -= self._earlier.pop(question, 0)
        self.tried(question)

    def tried(self, question: str) -> None:
        """Note that a question has just been answered, or has failed."""
        with self._lock:
            self._tried[question] = self._clock()
            self._changed = True

    def exclude(self, question: str, rows: Rows) -> None:
        """Keep the rows of addresses with "Ping exclude" until the question is answered again."""
        with self._lock:
            self._changed = self._changed or self._excluded.get(question) != rows
            self._excluded[question] = rows

    def excluded(self, question: str) -> Rows | None:
        """Return the rows of excluded addresses of any age; None without an earlier answer."""
        with self._lock:
            return self._excluded.get(question)

    def ordered(self, questions: Iterable[str]) -> list[str]:
        """Return the questions with a fresh answer, then the others in the order of their last requests."""
        with self._lock:
            tried = {question: self._tried.get(question, 0.0) for question in questions}
        return sorted(tried, key=lambda question: (self.get(question) is None, tried[question]))

    def drop(self) -> None:
        """Remove all answers, since one of them is wrong: the next run asks again. Excluded addresses stay known."""
        with self._lock:
            self._answers.clear()
            self._changed = True

    @property
    def age(self) -> float:
        """Age of the oldest answer in seconds; 0 without answers."""
        with self._lock, self._answers.timer as now:
            return max((now - came for came, _ in self._answers.values()), default=0.0)

    def _count(self, size: int, rows: int) -> None:
        """Count the memory of the usable answers, given the size of their file in bytes and its number of rows."""
        with self._answers.timer:  # at one time: answers expire at any moment
            usable = {question: len(answer[1]) for question, answer in self._answers.items()}
        self._earlier = {
            question: MEMORY_PER_CHARACTER * size * number // rows for question, number in usable.items()
        }
        self.memory = sum(self._earlier.values())

    def _owner(self, salt: str) -> str:
        """Return a hash of the credentials, salted and slow to compute, so that it reveals no secret.

        4 ms are enough: an attacker has to guess two codes of 32 characters at once.
        """
        return hashlib.scrypt(self._credentials.encode(), salt=bytes.fromhex(salt), n=1024, r=8, p=1).hex()


def _content(document: Any) -> tuple[dict[str, _Answer], dict[str, float], dict[str, Rows]]:
    """Return a file's answers, times of requests and excluded addresses. Raise one of files.INVALID if damaged."""
    return (
        {question: (float(came), _rows(rows)) for question, (came, rows) in document["answers"].items()},
        {question: float(when) for question, when in document["tried"].items()},
        {question: _rows(rows) for question, rows in document["excluded"].items()},
    )


def _rows(kept: Any) -> Rows:
    if not isinstance(kept, list) or not all(isinstance(row, dict) for row in kept):
        raise ValueError("no rows")
    return kept
