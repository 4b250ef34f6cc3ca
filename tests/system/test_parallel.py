import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import pytest

from phpipam_scan_agent.errors import ThreadLimitError
from phpipam_scan_agent.system import parallel
from phpipam_scan_agent.system.parallel import ParallelMap

LONGEST = 30.0
"""Maximum seconds of a wait; no test lasts so long."""


def test_every_item_gives_its_result() -> None:
    with ParallelMap(lambda number: number * number, range(1000), threads=4) as results:
        assert sorted(results) == [number * number for number in range(1000)]


def test_without_items_there_are_no_results() -> None:
    with ParallelMap(str, (), threads=4) as results:
        assert list(results) == []


def test_the_number_of_items_in_work_is_limited() -> None:
    together = threading.Barrier(3)
    with ParallelMap(lambda _: together.wait(LONGEST), range(9), threads=3) as results:
        assert len(list(results)) == 9


def test_a_result_is_there_before_the_next_item() -> None:
    items: SimpleQueue[int | None] = SimpleQueue()
    with ParallelMap(str, iter(items.get, None), threads=2) as results:
        each = iter(results)
        for number in range(3):
            items.put(number)
            assert next(each) == str(number)
        items.put(None)
        assert list(each) == []


def test_stages_are_chained_and_overlap() -> None:
    """The first stage waits for results of the second stage."""
    answers: SimpleQueue[int] = SimpleQueue()

    def first(number: int) -> int:
        return number if number == 0 else answers.get(timeout=LONGEST)

    def second(number: int) -> int:
        answers.put(number + 1)
        return number

    with ParallelMap(first, range(5), 1) as ones, ParallelMap(second, ones, 1) as twos:
        assert list(twos) == [0, 1, 2, 3, 4]


def test_an_error_of_the_work_is_raised_to_the_consumer() -> None:
    with ParallelMap(lambda number: 1 // number, [0], threads=2) as results, pytest.raises(ZeroDivisionError):
        list(results)


def test_an_error_of_the_items_is_raised_to_the_consumer() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError

    with ParallelMap(str, items(), threads=2) as results, pytest.raises(LookupError):
        list(results)


def test_a_batch_ends_when_it_is_woken() -> None:
    items: SimpleQueue[int | None] = SimpleQueue()
    with ParallelMap(str, iter(items.get, None), threads=1) as results:
        batches = results.batches([LONGEST] * 3)
        results.wake()
        assert next(batches) == []
        items.put(1)
        while not results.done:
            time.sleep(0.01)
        results.wake()
        assert next(batches) == ["1"]
        items.put(2)
        items.put(None)
        assert list(batches) == [["2"]]


def test_leaving_the_block_starts_no_further_item() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        gate.wait(LONGEST)

    with ParallelMap(work, range(100), threads=2):
        while len(begun) < 2:
            time.sleep(0.001)
    gate.set()
    time.sleep(0.01)
    assert len(begun) == 2


def test_started_items_are_finished_for_a_later_stage_if_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    begun = threading.Event()

    def work(number: int) -> int:
        begun.set()
        gate.wait(LONGEST)
        return number

    class Tasks(SimpleQueue[Any]):
        """Opens the gate when the waiting items are cancelled."""

        def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
            super().put(item, block, timeout)
            if item is None:
                gate.set()

    monkeypatch.setattr(parallel, "SimpleQueue", Tasks)
    with ExitStack() as stack:
        first = stack.enter_context(ParallelMap(work, range(10), threads=1, finish=True))
        results = stack.enter_context(ParallelMap(str, first, threads=1))
        begun.wait(LONGEST)
        first.__exit__(None, None, None)
        assert list(results) == ["0"]


@pytest.mark.parametrize("possible", [0, 1, 2])
def test_fewer_threads_are_enough(possible: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) > possible:  # the first one takes the items
            raise ThreadLimitError
        started.append(thread)
        thread.start()

    monkeypatch.setattr(parallel, "start", start)
    with ParallelMap(str, range(100), threads=4) as results:
        if possible:
            assert len(list(results)) == 100
        else:
            with pytest.raises(ThreadLimitError):
                list(results)


@pytest.mark.parametrize("thread", [threading.main_thread, threading.current_thread])
def test_a_signal_to_any_thread_interrupts_the_wait_for_a_result(
    thread: Callable[[], threading.Thread],
) -> None:
    signals_before = signal.getsignal(signal.SIGUSR1)

    class Ended(BaseException):
        pass

    never, waited = threading.Semaphore(0), list[float]()

    def handle(*_: object) -> None:
        raise Ended

    def items() -> Iterator[int]:
        time.sleep(0.05)  # until the other thread waits; an earlier signal would end it as well
        signal.pthread_kill(thread().ident or 0, signal.SIGUSR1)
        never.acquire(timeout=LONGEST)
        waited.append(LONGEST)
        yield 0

    signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(Ended), ParallelMap(str, items(), threads=1) as results:
            list(results)
        assert waited == []
    finally:
        never.release()
        signal.signal(signal.SIGUSR1, signals_before)
