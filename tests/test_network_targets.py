"""Which addresses are sent packets, every frame is looked at, and for which subnet a host is reported."""

from collections.abc import Iterable, Iterator

import pytest

from lab.agent import run
from lab.network import Network
from stand_ins.phpipam import address, subnet


@pytest.fixture(scope="module")
def full(lab: None) -> Iterator[Network]:
    """A segment on which every address answers."""
    with Network(alive=100) as network:
        yield network


def ips(last: Iterable[int]) -> set[str]:
    return {f"10.77.0.{number}" for number in last}


def test_discovery_probes_all_but_network_and_broadcast_address(full: Network) -> None:
    done = run(full, [subnet(1, "10.77.0.0/28")], watch=True)

    assert done.probed.keys() == done.found() == ips(range(1, 15))


def test_in_a_pool_the_network_and_broadcast_addresses_are_hosts(full: Network) -> None:
    done = run(full, [subnet(1, "10.77.0.0/28", isPool=1)], watch=True)

    assert done.probed.keys() == done.found() == ips(range(16))


def test_masks_31_and_32_have_no_network_and_broadcast_address(full: Network) -> None:
    done = run(full, [subnet(1, "10.77.0.0/31"), subnet(2, "10.77.0.9/32")], watch=True)

    assert done.probed.keys() == ips((0, 1, 9))
    assert (done.found(1), done.found(2)) == (ips((0, 1)), ips((9,)))


def test_excluded_addresses_are_sent_nothing(full: Network) -> None:
    known = [address(1, 1, "10.77.0.5", excludePing=1), address(2, 1, "10.77.0.6")]
    done = run(full, [subnet(1, "10.77.0.0/28")], addresses=known, watch=True)

    assert done.probed.keys() == done.found() == ips(range(1, 15)) - ips((5,))


def test_a_status_check_probes_what_phpipam_knows(full: Network) -> None:
    known = [
        address(1, 1, "10.77.0.5", excludePing=1),
        address(2, 1, "10.77.0.6"),
        address(3, 1, "10.77.0.15"),  # the broadcast address
        address(4, 1, "10.77.9.9"),  # of no place in this subnet
    ]
    done = run(full, [subnet(1, "10.77.0.0/28", discoverSubnet=0, pingSubnet=1)], addresses=known, watch=True)

    assert done.probed.keys() == ips((6,))
    assert [(row["id"], row["ip"]) for row in done.rows()] == [(2, "10.77.0.6")]


def test_a_full_subnet_is_scanned_and_folders_and_idle_subnets_are_not(full: Network) -> None:
    rows = [
        subnet(1, "10.77.0.0/29", isFull=1),
        subnet(2, "10.77.0.16/29", isFolder=1),
        subnet(3, "10.77.0.24/29", discoverSubnet=0),
        subnet(4, "0.0.0.0/0"),
    ]
    known = [address(1, 3, "10.77.0.25")]
    done = run(full, rows, addresses=known, watch=True, arguments=["-v"])

    assert done.probed.keys() == done.found() == ips(range(1, 7))
    assert [report["subnet"] for report in done.reports] == ["10.77.0.0/29"]
    assert done.status == 0


def test_at_v_it_is_said_which_subnets_are_left_alone_and_why(full: Network) -> None:
    rows = [subnet(3, "10.77.0.24/29", discoverSubnet=0), subnet(4, "2001:db8::/64")]
    done = run(full, rows, arguments=["-v"], watch=True)

    assert done.probed == {}
    assert any("10.77.0.24/29" in line and "neither discover nor ping" in line for line in done.warnings)
    assert any("2001:db8::/64" in line and "IPv6 is off" in line for line in done.warnings)


def test_a_nested_subnet_of_another_agent_is_sent_nothing(full: Network) -> None:
    rows = [subnet(1, "10.77.0.0/28"), subnet(2, "10.77.0.8/30", masterSubnetId=1, scanAgent=9)]
    done = run(full, rows, watch=True)

    assert done.probed.keys() == done.found() == ips(range(1, 15)) - ips(range(8, 12))


def test_an_address_is_reported_for_the_most_specific_subnet(full: Network) -> None:
    rows = [
        subnet(1, "10.77.0.0/28"),
        subnet(2, "10.77.0.8/29", masterSubnetId=1),
        subnet(3, "10.77.0.12/30", masterSubnetId=2),
    ]
    done = run(full, rows, watch=True)

    assert done.found(1) == ips(range(1, 8))
    assert done.found(2) == ips((9, 10, 11))
    assert done.found(3) == ips((13, 14))
    assert set(done.probed.values()) == {1}


@pytest.mark.usefixtures("lab")
def test_the_same_network_in_two_vrfs_is_scanned_once_and_reported_for_both() -> None:
    block = "10.77.0.0/25"
    with Network(alive=50) as network:
        alone = run(network, [subnet(1, block, vrfId=1)], watch=True)
        both = run(network, [subnet(1, block, vrfId=1), subnet(2, block, vrfId=2)], watch=True)
        live = network.live(block)

    assert both.found(1) == both.found(2) == alone.found(1) == live
    assert both.probed == alone.probed
    assert len(both.reports) == 2


def test_an_address_that_one_vrf_excludes_is_reported_for_the_other_only(full: Network) -> None:
    rows = [subnet(1, "10.77.0.0/29", vrfId=1), subnet(2, "10.77.0.0/29", vrfId=2)]
    done = run(full, rows, addresses=[address(1, 1, "10.77.0.5", excludePing=1)])

    assert (done.found(1), done.found(2)) == (ips((1, 2, 3, 4, 6)), ips(range(1, 7)))
