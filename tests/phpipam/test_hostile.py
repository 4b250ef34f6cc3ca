"""Answers of a hostile phpIPAM: one line and less than 512 MB of memory."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from stand_ins.https import Answer
from stand_ins.phpipam import subnet
from stand_ins.site import Site

JSON = {"Content-Type": "application/json"}


def enveloped(data: str) -> bytes:
    return f'{{"code": 200, "success": true, "data": {data}}}'.encode()


MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process to start from, since a child's peak includes the memory of its parent at the fork."""


def run(site: Site) -> tuple[int, str, float]:
    """Run the installed command; return its exit code, its stderr and its peak memory in MB."""
    measure = [sys.executable, "-c", MEASURE, *site.command()]
    done = subprocess.run(
        measure, env=site.environment, capture_output=True, text=True, timeout=120, check=True
    )
    status, peak = map(int, done.stdout.split())
    return status, done.stderr, peak / 1000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "[" + "{}," * 900_000 + "{}]", "phpIPAM's answer has 900,001 rows, more than 100,000"),
        (lambda: "[" + "{}," * 7_000_000 + "{}]", "with more values than this run has memory for"),
        (
            lambda: json.dumps([subnet(10, "127.0.20.0/30") | {"subnet": "x" * 20_000_000}]),
            "is not a network",
        ),
        (lambda: f'["\U0001f600{"a" * 25_000_000}"]', "answer is not a list of objects"),
    ],
    ids=["rows", "values", "name", "wide"],
)
def test_a_hostile_answer_is_one_short_line_in_bounded_memory(
    make: Callable[[], str], said: str, site: Site
) -> None:
    site.phpipam.instead["subnets/"] = Answer(200, enveloped(make()), JSON)
    status, stderr, memory = run(site)

    assert status == 1
    assert said in stderr
    assert len(stderr.splitlines()) == 1
    assert len(stderr) < 5000
    assert memory < 512


def test_messages_about_invalid_subnets_are_limited(site: Site) -> None:
    site.phpipam.subnets = [subnet(id_, "127.0.20.0/30") | {"mask": "x"} for id_ in range(1, 3_001)]
    status, stderr, memory = run(site)

    assert status == 1
    lines = stderr.splitlines()
    assert len(lines) == 1001
    assert lines[-1] == (
        "phpipam-scan-agent: error: 2000 more messages were left out; --format json lists all subnets"
    )
    assert memory < 512
