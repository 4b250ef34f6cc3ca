from dataclasses import FrozenInstanceError
from ipaddress import ip_address

import pytest

from phpipam_scan_agent.models import Host, Outcome


def test_new_hosts_are_those_that_phpipam_does_not_have() -> None:
    assert Outcome("192.0.2.0/24", up=5, known=3).new == 2
    assert Outcome("192.0.2.0/24").new == 0


def test_values_do_not_change_on_their_way() -> None:
    host = Host(ip_address("192.0.2.1"))
    with pytest.raises(FrozenInstanceError):
        host.name = "gw"  # type: ignore[misc]
