import pytest

from phpipam_scan_agent.scan.rate import MIN_SHARE, slots


@pytest.mark.parametrize(
    ("packets", "most", "expected"),
    [(1, 32, 1), (MIN_SHARE, 32, 1), (4 * MIN_SHARE, 32, 4), (10_000, 1, 1), (1_000_000, 32, 32)],
)
def test_the_rate_limits_the_number_of_slots(packets: float, most: int, expected: int) -> None:
    assert slots(packets, most) == expected
