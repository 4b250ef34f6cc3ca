"""stdout and stderr as consoles: what a terminal gets, and what a file or a closed pipe gets."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)


@cache
def stderr() -> "Console":
    """Return the console of messages and of the progress bar: rich prints a message above the bar."""
    return _console(stderr=True)


@contextmanager
def stdout() -> Iterator["Console"]:
    """Yield the console of stdout, which may be Latin-1, full, or closed by its reader."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield _console(stderr=False)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `| head` needs no more lines
            log.error("stdout cannot be written: %s", error.strerror)
        # The rest of its buffer would raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_lines(console: "Console", lines: Iterable[str]) -> None:
    """Print lines of rich's markup, many at a time: with 60,000, most of the time went into writes."""
    rest = iter(lines)
    while several := "\n".join(islice(rest, 1000)):
        console.print(several)


def _console(stderr: bool) -> "Console":
    # rich gives these to int() if isdigit() is true, which also is of "²"; int() refuses more than 4,300 digits. With
    # 0, which a serial console may say, it prints nothing.
    sizes = {"COLUMNS", "LINES"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in sizes or re.fullmatch("[1-9][0-9]{0,4}", value)
    }
    return _console_class()(
        stderr=stderr, emoji=False, highlight=False, soft_wrap=not stderr, _environ=environment
    )


@cache
def _console_class() -> "type[Console]":
    """Return the class of consoles; loading it takes a while, and most runs from cron write nothing."""
    from rich.console import Console

    class WithBrokenPipes(Console):
        def on_broken_pipe(self) -> None:
            """Let the caller handle it; rich would end the program with exit code 1."""
            raise

    return WithBrokenPipes
