"""Parallel work on items as they arrive, so that the stages of a run overlap."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ..errors import ThreadLimitError
from . import signals
from .threads import start

Item = TypeVar("Item")
Result = TypeVar("Result")

SIGNAL_DELAY = 0.5
"""Maximum seconds until a signal's handler runs. The kernel may hand a signal to any thread; an unlimited wait in the
main thread then goes on, and Python runs the handler only after it."""


class ParallelMap(Generic[Item, Result]):
    """Calls `work` for each item, in up to `threads` threads; iteration gives the results as they arrive.

    Work begins with `__enter__`. A separate thread takes the items and may wait for the next one, so that one stage
    works on the results of another stage while they arrive. An error of `work` or of the items is raised from the
    iteration. At the end of the `with` block no further item is begun; with `finish`, the end waits for the items
    begun, and an iteration in another thread still gets their results.
    """

    def __init__(
        self, work: Callable[[Item], Result], items: Iterable[Item], threads: int, finish: bool = False
    ) -> None:
        self._work = work
        self._items = items
        self._finish = finish
        self._results: deque[Future[Result] | None] = deque()
        self._ready = threading.Semaphore(0)
        self._tasks: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._lock = threading.Lock()
        self._pending = 1  # the feeder
        self._closed = False
        self.done = 0
        """Number of items worked on."""

    def __enter__(self) -> "ParallelMap[Item, Result]":
        start(self._feeder)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
        with suppress(Empty):
            while task := self._tasks.get_nowait():
                task[0].cancel()
        for _thread in self._threads:
            self._tasks.put(None)
        if self._finish:
            for thread in self._threads:
                thread.join()
        self._give(None)

    def __iter__(self) -> Iterator[Result]:
        while True:
            # A signal loses nothing here: a result stays in the queue until it is taken, for `untaken`.
            with signals.interruptible():
                while not self._ready.acquire(timeout=SIGNAL_DELAY):
                    pass
            result = self._results.popleft()
            if result is None:
                return
            yield result.result()

    def batches(self, pauses: Iterable[float]) -> Iterator[list[Result]]:
        """Yield the results in batches: a batch ends a pause, in seconds, after its first result, or by `wake`."""
        for pause in pauses:
            batch: list[Result] = []
            until: float | None = None
            while self._ready.acquire(timeout=until and max(0.0, until - time.monotonic())):
                if not self._results:
                    break  # woken
                result = self._results.popleft()
                if result is None:
                    if batch:
                        yield batch
                    return
                batch.append(result.result())
                until = until or time.monotonic() + pause
            yield batch

    def wake(self) -> None:
        """Let `batches` yield now, also without a result."""
        self._ready.release()

    def untaken(self) -> list[Result]:
        """Return the results that were not taken, after the end of the block."""
        return [result.result() for result in self._results if result and not result.exception()]

    def _feed(self) -> None:
        feeding: Future[Result] = Future()
        try:
            for item in self._items:
                working: Future[Result] = Future()
                working.add_done_callback(self._finished)
                with self._lock:
                    if self._closed:
                        break
                    self._pending += 1
                    self._tasks.put((working, item))
                    self._add_thread()
            feeding.cancel()  # it has no result
        except BaseException as error:
            feeding.set_exception(error)
        self._finished(feeding)

    def _add_thread(self) -> None:
        """Start a thread, up to the maximum; one thread is enough if the machine starts no more."""
        if len(self._threads) == self._most:
            return
        thread = threading.Thread(target=self._work_on_tasks, daemon=True)
        try:
            start(thread)
        except ThreadLimitError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work_on_tasks(self) -> None:
        while task := self._tasks.get():
            working, item = task
            try:
                working.set_result(self._work(item))
            except BaseException as error:
                working.set_exception(error)

    def _finished(self, ended: Future[Result]) -> None:
        with self._lock:
            if not ended.cancelled():
                self.done += not ended.exception()
                self._give(ended)
            self._pending -= 1
            if not self._pending:
                self._give(None)

    def _give(self, result: Future[Result] | None) -> None:
        self._results.append(result)
        self._ready.release()
