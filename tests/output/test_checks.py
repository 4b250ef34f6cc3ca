"""The checks of `--check`, printed."""

from collections.abc import Iterator

import pytest

from phpipam_scan_agent.models import Check
from phpipam_scan_agent.output.checks import show_checks


@pytest.mark.parametrize("output_format", [None, "json"])
def test_an_error_of_a_check_is_no_error_of_stdout(output_format: str | None) -> None:
    def checks() -> Iterator[Check]:
        yield Check("first", True, "well")
        raise FileNotFoundError(2, "No such file or directory", "/proc/self/status")

    with pytest.raises(FileNotFoundError):
        show_checks(checks(), output_format)
