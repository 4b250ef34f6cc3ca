from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network

import pytest

from phpipam_scan_agent.models import Address, Host, Outcome, ScanResult, Subnet


def test_hosts_unknown_to_phpipam_are_new() -> None:
    assert Outcome("192.0.2.0/24", up=5, known=3).new == 2
    assert Outcome("192.0.2.0/24").new == 0


def test_values_are_frozen() -> None:
    host = Host(ip_address("192.0.2.1"))
    with pytest.raises(AttributeError):
        host.name = "gw"  # type: ignore[misc]


@pytest.mark.parametrize(("days", "recent"), [(-2, False), (-0.9, True), (0, True), (0.9, True), (2, False)])
def test_only_a_time_within_a_day_of_the_scan_is_recent(days: float, recent: bool) -> None:
    seen = datetime(2026, 11, 24, 12)
    address = Address(1, ip_address("192.0.2.1"), last_seen=seen + timedelta(days=days))
    subnet = Subnet(10, ip_network("192.0.2.0/24"))
    result = ScanResult(subnet, (), seen.replace(tzinfo=timezone.utc), 1.0, silent=(address,))
    assert result.status(Host(address.ip, address=address)) == ("known" if recent else "back")
    assert result.missing == ((address,) if recent else ())
