"""stdout and stderr as rich's consoles, on a terminal, in a file, or with a closed pipe."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..system import environment

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr() -> "Console":
    """Return the console of messages and progress bar: rich prints a message above the bar."""
    return _console(stderr=True)


@contextmanager
def stdout() -> Iterator["Console"]:
    """Yield the console of stdout. It may have a Latin-1 encoding, or a closed pipe, as by `| head`.

    Raise OutputError if it cannot be written.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield _console(stderr=False)
        sys.stdout.flush()
    except OSError as error:
        environment.discard(sys.stdout)  # its buffer would raise the error again at exit
        if not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"stdout cannot be written ({error.strerror}); check its file or device"
            ) from None


def print_lines(console: "Console", lines: Iterable[str]) -> None:
    """Print lines of rich's markup, 1,000 at a time: with 60,000 lines, most of the time went into writes."""
    remaining = iter(lines)
    while several := "\n".join(islice(remaining, 1000)):
        console.print(several)


def _console(stderr: bool) -> "Console":
    # rich calls int() on these if isdigit() is true, as it is for "²"; int() refuses more than 4,300 digits. With
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
    """Return the class of consoles; its import takes a while, and most runs from cron print nothing."""
    from rich.console import Console

    class WithBrokenPipes(Console):
        def on_broken_pipe(self) -> None:
            """Raise the error again; rich would end the program with exit code 1."""
            raise

    return WithBrokenPipes
