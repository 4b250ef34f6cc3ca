from ipaddress import IPv4Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.models import Subnet
from phpipam_scan_agent.phpipam import nesting
from phpipam_scan_agent.plan import targets


def inside(*networks: str, vrf: int = 0) -> dict[str, list[str]]:
    found = nesting.inside((vrf, ip_network(network)) for network in networks)
    return {str(network): list(map(str, within)) for (_, network), within in found.items()}


def test_a_network_contains_its_largest_nested_networks() -> None:
    assert inside("192.0.2.8/30", "192.0.2.0/24", "192.0.2.0/28", "192.0.2.64/26", "198.51.100.0/24") == {
        "192.0.2.0/24": ["192.0.2.0/28", "192.0.2.64/26"],
        "192.0.2.0/28": ["192.0.2.8/30"],
        "192.0.2.8/30": [],
        "192.0.2.64/26": [],
        "198.51.100.0/24": [],
    }


def test_the_same_network_twice_is_not_inside_itself() -> None:
    assert inside("192.0.2.0/24", "192.0.2.0/24") == {"192.0.2.0/24": []}


def test_ipv4_and_ipv6_do_not_nest() -> None:
    assert inside("::/0", "0.0.0.0/0", "192.0.2.0/24", "2001:db8::/64") == {
        "0.0.0.0/0": ["192.0.2.0/24"],
        "192.0.2.0/24": [],
        "::/0": ["2001:db8::/64"],
        "2001:db8::/64": [],
    }


def test_a_network_of_another_vrf_is_not_inside() -> None:
    outer, inner = ip_network("192.0.2.0/29"), ip_network("192.0.2.4/30")
    found = nesting.inside([(1, outer), (2, inner), (1, inner), (3, outer)])
    assert found == {(1, outer): [inner], (1, inner): [], (2, inner): [], (3, outer): []}


NETWORKS = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False),
    st.integers(int(ip_address("192.0.2.0")), int(ip_address("192.0.2.63"))),
    st.integers(26, 32),
)
"""Networks within a /26, often nested in one another."""


@given(st.lists(NETWORKS, unique=True, max_size=8))
def test_each_address_is_probed_once_and_for_the_most_specific_subnet(networks: list[IPv4Network]) -> None:
    found = nesting.inside((0, network) for network in networks)
    subnets = [
        Subnet(at, network, discover=True, nested=tuple(found[0, network]))
        for at, network in enumerate(networks, 1)
    ]
    address = type(networks[0].network_address) if networks else None
    probed = [
        (str(address(number)), str(some.network))  # type: ignore[misc]
        for some in subnets
        for part in targets.of_subnet(some)
        for number in part
    ]
    most_specific: dict[str, IPv4Network] = {}
    for network in sorted(networks, key=lambda network: network.prefixlen):
        most_specific |= dict.fromkeys(map(str, network), network)
    assert sorted(probed) == sorted(
        (ip, str(network))
        for ip, network in most_specific.items()
        if network.prefixlen >= 31 or ip not in (str(network.network_address), str(network.broadcast_address))
    )
