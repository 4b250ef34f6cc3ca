import os
from pathlib import Path

import pytest

from phpipam_scan_agent.system import folders


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_systemds_folder_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/elsewhere")
    assert folders.cache() == Path("/var/cache/elsewhere")


def test_the_first_of_several_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/first:/var/cache/second")
    assert folders.cache() == Path("/var/cache/first")


@pytest.mark.parametrize("given", [None, ""])
def test_without_it_root_has_the_systems_and_a_user_his_own(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("CACHE_DIRECTORY", given)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folders.cache() == Path("/var/cache/phpipam-scan-agent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folders.cache() == Path("/home/somebody/.cache/phpipam-scan-agent")
