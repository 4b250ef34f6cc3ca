"""Which subnets to scan, and which of their addresses to probe. Pure; as phpIPAM's own scripts do it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import PhpIpamError
from ..models import IPNetwork, Outcome, Subnet
from . import ranges
from .ranges import Ranges

LARGEST_WHOLE_IPV6 = 112
"""Prefix length up to which an IPv6 subnet is probed address by address: 65,536 of them."""


def choose(
    assigned: Sequence[Subnet], only: tuple[IPNetwork, ...], ipv6: bool
) -> tuple[list[Subnet], list[Outcome]]:
    """Given the agent's subnets, return those to scan, and the others with the reason.

    `only` limits the run to the subnets within these networks; an empty one does not. A subnet that is
    chosen knows the others nested in it.
    """
    chosen: list[Subnet] = []
    left = [
        Outcome(str(network), error="--subnet: phpIPAM assigns no such subnet to this agent")
        for network in only
        if not any(ranges.within(subnet.network, network) for subnet in assigned)
    ]
    for subnet in assigned:
        if only and not any(ranges.within(subnet.network, network) for network in only):
            continue
        if reason := _reason_to_skip(subnet, ipv6):
            left.append(Outcome(str(subnet.network), subnet.id, skipped=reason))
        else:
            chosen.append(replace(subnet, nested=_nested(subnet, assigned)))
    return chosen, left


def possible(subnet: Subnet) -> Subnet:
    """Return a subnet that can be scanned. Raise PhpIpamError for one whose known addresses are not known."""
    if subnet.unknown and not subnet.discover:
        raise PhpIpamError(f"its known addresses cannot be checked: {subnet.unknown}")
    return subnet


def wanted(subnet: Subnet) -> Ranges:
    """Given a subnet, return the addresses to probe for it.

    Discovery wants all but what belongs to nested subnets, whoever scans those: an address is reported
    for its most specific subnet. A status check wants those that phpIPAM knows. Neither wants addresses
    that phpIPAM says not to ping.
    """
    network = subnet.network
    whole = ranges.of_network(network)
    excluded = [_only(int(known.ip)) for known in subnet.addresses if known.exclude_ping]
    if network.prefixlen < network.max_prefixlen - 1 and not subnet.is_pool:
        # Network and broadcast address; IPv6 has no broadcast, but its first is the routers' anycast.
        excluded.append(_only(whole.start))
        excluded += [_only(whole.stop - 1)] if network.version == 4 else []
    if subnet.discover:
        excluded += map(ranges.of_network, subnet.nested)
    if subnet.discover and not too_large(network):
        return ranges.without((whole,), excluded)
    known = (int(known.ip) for known in subnet.addresses if known.ip in network)
    single = map(_only, (*known, *map(int, subnet.candidates)))
    return ranges.without(ranges.union(single), excluded)


def too_large(network: IPNetwork) -> bool:
    """Return whether a network is too large to be probed address by address."""
    return network.version == 6 and network.prefixlen < LARGEST_WHOLE_IPV6


def _reason_to_skip(subnet: Subnet, ipv6: bool) -> str | None:
    if not subnet.discover and not subnet.ping:
        return "neither discover nor ping is set in phpIPAM"
    if subnet.network.prefixlen == 0:
        return "the mask 0 is everything there is"
    if subnet.network.version == 6 and not ipv6:
        return "IPv6 is off; ipv6: true scans it, if your Scan Server takes it"
    return None


def _nested(subnet: Subnet, assigned: Iterable[Subnet]) -> tuple[IPNetwork, ...]:
    """Return what is nested in a subnet: what phpIPAM says, and what this agent's other subnets say."""
    ours = {
        other.network
        for other in assigned
        if other.vrf == subnet.vrf
        and other.network != subnet.network
        and ranges.within(other.network, subnet.network)
    }
    return (*subnet.nested, *sorted(ours, key=str))


def _only(number: int) -> range:
    return range(number, number + 1)
