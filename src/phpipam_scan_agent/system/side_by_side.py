"""Work on many items side by side, as they come, so that the stages of a run overlap."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

from . import signals

Item = TypeVar("Item")
Result = TypeVar("Result")


class SideBySide(Generic[Item, Result]):
    """Calls `work` for each item, in up to `threads` threads; iterating gives the results as they come.

    Work begins with `__enter__`. Items are taken in a thread of their own, which may wait for the next one: so one
    stage works on what another stage still brings. Whatever `work` or the items raise is raised from the iteration.
    At the end of the `with` block no further item is begun; if `finish` is set, those begun are waited for, and an
    iteration in another thread still gets their results.
    """

    def __init__(
        self, work: Callable[[Item], Result], items: Iterable[Item], threads: int, finish: bool = False
    ) -> None:
        self._work = work
        self._items = items
        self._finish = finish
        self._results: SimpleQueue[Callable[[], Result] | None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(threads)
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._lock = threading.Lock()
        self._pending = 1  # the feeder
        self._closed = False

    def __enter__(self) -> "SideBySide[Item, Result]":
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=self._finish, cancel_futures=True)
        self._results.put(None)

    def __iter__(self) -> Iterator[Result]:
        while True:
            with signals.interruptible():
                result = self._results.get()
            if result is None:
                return
            yield result()

    def _feed(self) -> None:
        try:
            for item in self._items:
                with self._lock:
                    if self._closed:
                        return
                    self._pending += 1
                    self._pool.submit(self._call, item)
        except BaseException as error:
            self._results.put(_raising(error))
        finally:
            self._end_one()

    def _call(self, item: Item) -> None:
        try:
            result = self._work(item)
            self._results.put(lambda: result)
        except BaseException as error:
            self._results.put(_raising(error))
        finally:
            self._end_one()

    def _end_one(self) -> None:
        with self._lock:
            self._pending -= 1
            if not self._pending:
                self._results.put(None)


def _raising(error: BaseException) -> Callable[[], NoReturn]:
    def result() -> NoReturn:
        raise error

    return result
