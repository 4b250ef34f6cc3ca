"""Fixtures of many tests: a site with both stand-ins, networks, certificates. In CI a skipped test fails."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from certificates import Authority
from clock import Clock
from forked import ForkedSite
from lab import network
from phpipam_scan_agent import https

# The time of an example depends on the machine, not on the program.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def lab() -> None:
    """Skip the test if no network namespace can be made."""
    network.require()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ForkedSite]:
    with ForkedSite(tmp_path) as site:
        yield site


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed requests are not retried."""
    monkeypatch.setattr(https, "LIMITS", https.Limits(retries=0))


FIRST = ("whole/test_kill", "packaging", "network", "whole", "scan", "output", "system", "delivery")
"""The longest files, which begin first: a long file at the end would keep only one process busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((at for at, name in enumerate(FIRST) if path.startswith(name)), len(FIRST))

    items.sort(key=rank)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI must not do: {report.longrepr}"
