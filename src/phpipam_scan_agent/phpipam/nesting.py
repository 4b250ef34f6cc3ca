"""Networks → the networks nested in each of them. Pure."""

from collections.abc import Iterable

from ..models import IPNetwork
from ..plan import ranges

VrfNetwork = tuple[int, IPNetwork]
"""A VRF's id and a network of it."""


def inside(networks: Iterable[VrfNetwork]) -> dict[VrfNetwork, list[IPNetwork]]:
    """Given networks of VRFs, return for each the largest networks inside it, of the same VRF.

    One pass over the sorted networks, in which a network follows the networks around it.
    """
    found: dict[VrfNetwork, list[IPNetwork]] = {each: [] for each in networks}
    around: list[VrfNetwork] = []
    for vrf, network in sorted(found, key=_order):
        while around and not (around[-1][0] == vrf and ranges.within(network, around[-1][1])):
            around.pop()
        if around:
            found[around[-1]].append(network)
        around.append((vrf, network))
    return found


def _order(each: VrfNetwork) -> tuple[int, int, int, int]:
    vrf, network = each
    return vrf, network.version, int(network.network_address), network.prefixlen
