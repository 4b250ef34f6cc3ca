import signal
from pathlib import Path

import pytest

from phpipam_scan_agent import errors
from phpipam_scan_agent.errors import ConfigError, Interrupted, ScanAgentError, UsageError


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.UsageError, 2),
        (errors.TransportError, 1),
        (errors.PhpIpamError, 1),
        (errors.ServerError, 1),
        (errors.ScanError, 1),
    ],
)
def test_each_kind_has_its_exit_code(kind: type[ScanAgentError], exit_code: int) -> None:
    assert kind("what went wrong").exit_code == exit_code
    assert str(kind("what went wrong")) == "what went wrong"


def test_a_wrong_configuration_names_its_file_in_every_line() -> None:
    error = ConfigError(Path("a.yaml"), ["http_port: wrong", "api_url: missing"])
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert error.problems == ("a.yaml: http_port: wrong", "a.yaml: api_url: missing")
    assert str(error) == "a.yaml: http_port: wrong\na.yaml: api_url: missing"


@pytest.mark.parametrize(
    ("number", "name", "exit_code"),
    [(signal.SIGHUP, "SIGHUP", 129), (signal.SIGINT, "SIGINT", 130), (signal.SIGTERM, "SIGTERM", 143)],
)
def test_an_interrupt_is_not_an_exception_subclass(number: int, name: str, exit_code: int) -> None:
    assert not issubclass(Interrupted, Exception)
    interrupted = Interrupted(number)
    assert (str(interrupted), interrupted.exit_code) == (f"ended by {name}", exit_code)
