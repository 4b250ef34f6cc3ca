"""Networks → the networks inside each of them. Pure."""

from collections.abc import Iterable

from ..models import IPNetwork
from ..plan import ranges

Place = tuple[int, IPNetwork]
"""A VRF's id and a network of it."""


def inside(places: Iterable[Place]) -> dict[Place, list[IPNetwork]]:
    """Given networks of VRFs, return the largest ones inside each, of the same VRF.

    One pass over the sorted networks: a network comes right after those around it.
    """
    found: dict[Place, list[IPNetwork]] = {place: [] for place in places}
    around: list[Place] = []
    for vrf, network in sorted(found, key=_order):
        while around and not (around[-1][0] == vrf and ranges.within(network, around[-1][1])):
            around.pop()
        if around:
            found[around[-1]].append(network)
        around.append((vrf, network))
    return found


def _order(place: Place) -> tuple[int, int, int, int]:
    vrf, network = place
    return vrf, network.version, int(network.network_address), network.prefixlen
