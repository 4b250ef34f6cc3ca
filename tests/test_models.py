from ipaddress import ip_address

import pytest

from phpipam_scan_agent.models import Host, Outcome


def test_hosts_unknown_to_phpipam_are_new() -> None:
    assert Outcome("192.0.2.0/24", up=5, known=3).new == 2
    assert Outcome("192.0.2.0/24").new == 0


def test_values_are_frozen() -> None:
    host = Host(ip_address("192.0.2.1"))
    with pytest.raises(AttributeError):
        host.name = "gw"  # type: ignore[misc]
