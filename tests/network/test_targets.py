"""The addresses to which packets are sent, by all frames, and the subnet for which a host is reported."""

from collections.abc import Iterable

import pytest

from lab.agent import Run, run
from lab.network import Network
from stand_ins.phpipam import Row, address, subnet

SUBNETS = [
    subnet(1, "10.77.1.0/28"),
    subnet(2, "10.77.2.0/28", isPool=1),
    subnet(3, "10.77.3.0/31"),
    subnet(4, "10.77.3.9/32"),
    subnet(5, "10.77.5.0/28", discoverSubnet=0, pingSubnet=1),
    subnet(6, "10.77.6.0/29", isFull=1),
    subnet(7, "10.77.7.0/29", isFolder=1),
    subnet(8, "10.77.8.0/29", discoverSubnet=0),
    subnet(9, "0.0.0.0/0"),
    subnet(10, "10.77.10.0/28"),
    subnet(11, "10.77.10.8/30", masterSubnetId=10, scanAgent=9),
    subnet(12, "10.77.12.0/28"),
    subnet(13, "10.77.12.8/29", masterSubnetId=12),
    subnet(14, "10.77.12.12/30", masterSubnetId=13),
    subnet(15, "10.77.15.0/29", vrfId=1),
    subnet(16, "10.77.15.0/29", vrfId=2),
    subnet(17, "2001:db8::/64"),
]
ADDRESSES = [
    address(1, 1, "10.77.1.5", excludePing=1),
    address(2, 1, "10.77.1.6"),
    address(3, 5, "10.77.5.5", excludePing=1),
    address(4, 5, "10.77.5.6"),
    address(5, 5, "10.77.5.15"),  # its broadcast address
    address(6, 5, "10.77.99.9"),  # none of its addresses
    address(7, 8, "10.77.8.1"),
    address(8, 15, "10.77.15.5", excludePing=1),
]


@pytest.fixture(scope="module")
def done(lab: None) -> Run:
    """A run with -v, on a segment where every address answers."""
    with Network(alive=100) as network:
        return run(network, SUBNETS, addresses=ADDRESSES, arguments=["-v"], watch=True, scan_parents=True)


def ips(net: int, last: Iterable[int]) -> set[str]:
    return {f"10.77.{net}.{number}" for number in last}


def test_discovery_excludes_network_broadcast_and_ping_exclude(done: Run) -> None:
    assert done.probed_in("10.77.1.0/24") == done.found(1) == ips(1, range(1, 15)) - ips(1, (5,))
    assert [(row["id"], row["ip"]) for row in done.rows(1) if "id" in row] == [(2, "10.77.1.6")]


def test_network_and_broadcast_addresses_of_a_pool_are_hosts(done: Run) -> None:
    assert done.probed_in("10.77.2.0/24") == done.found(2) == ips(2, range(16))


def test_masks_31_and_32_have_no_network_and_broadcast_address(done: Run) -> None:
    assert (done.found(3), done.found(4)) == (ips(3, (0, 1)), ips(3, (9,)))
    assert done.probed_in("10.77.3.0/24") == ips(3, (0, 1, 9))


def test_a_status_check_probes_phpipams_addresses(done: Run) -> None:
    assert done.probed_in("10.77.5.0/24") == ips(5, (6,))
    assert [(row["id"], row["ip"]) for row in done.rows(5)] == [(4, "10.77.5.6")]


def test_a_full_subnet_is_scanned(done: Run) -> None:
    assert done.probed_in("10.77.6.0/24") == done.found(6) == ips(6, range(1, 7))


@pytest.mark.parametrize("block", ["10.77.7.0/24", "10.77.8.0/24", "10.77.99.0/24", "2001:db8::/32"])
def test_folders_idle_subnets_and_ipv6_are_not_probed(done: Run, block: str) -> None:
    assert done.probed_in(block) == set()


@pytest.mark.parametrize("id_", [7, 8, 9, 11, 17])
def test_skipped_subnets_have_no_report(done: Run, id_: int) -> None:
    left = SUBNETS[id_ - 1]
    assert f"{left['subnet']}/{left['mask']}" not in {report["subnet"] for report in done.reports}


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("10.77.8.0/29", "neither"),
        ("0.0.0.0/0", "mask is 0"),
        ("2001:db8::/64", "IPv6 is off"),
    ],
)
def test_option_v_lists_skipped_subnets_with_reasons(done: Run, block: str, why: str) -> None:
    assert any(f"subnet {block}: skipped: " in line and why in line for line in done.said)


def test_a_nested_subnet_of_another_agent_is_not_probed(done: Run) -> None:
    assert done.probed_in("10.77.10.0/24") == done.found(10) == ips(10, range(1, 15)) - ips(10, range(8, 12))


def test_an_address_is_probed_once_and_reported_for_the_most_specific_subnet(done: Run) -> None:
    assert done.found(12) == ips(12, range(1, 8))
    assert done.found(13) == ips(12, (9, 10, 11))
    assert done.found(14) == ips(12, (13, 14))
    assert {done.probed[ip] for ip in done.probed_in("10.77.12.0/24")} == {1}


def test_an_address_that_one_vrf_excludes_is_reported_for_the_other_only(done: Run) -> None:
    assert (done.found(15), done.found(16)) == (ips(15, (1, 2, 3, 4, 6)), ips(15, range(1, 7)))


def test_the_run_has_one_warning_and_no_error(done: Run) -> None:
    assert done.status == 0
    (warning,) = [line for line in done.said if ": warning: " in line or ": error: " in line]
    assert "10.77.15.0/29 (ids 15, 16)" in warning


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("subnets", "probed"),
    [
        ([subnet(1, "10.1.1.0/29")], {"10.1.1.0"}),
        ([subnet(1, "10.1.1.0/29"), subnet(2, "10.1.1.0/31", masterSubnetId=1, scanAgent=9)], set()),
    ],
    ids=["one", "a nested subnet of another agent"],
)
def test_network_and_broadcast_address_prove_a_firewall_unless_excluded(
    subnets: list[Row], probed: set[str]
) -> None:
    excluded = [address(1, 1, "10.1.1.7", excludePing=1), address(2, 2, "10.1.1.7", excludePing=1)]
    with Network(address="192.0.2.1/24", gateway="192.0.2.254", rtt=20, alive=0, resets=True) as network:
        done = run(network, subnets, addresses=excluded, watch=True, scan_parents=True)

    assert done.probed_in("10.1.1.0/29") & {"10.1.1.0", "10.1.1.7"} == probed


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
