"""The subnets to scan and their targets, by the rules of phpIPAM's own scripts. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from ..models import IPNetwork, Outcome, Subnet
from . import ranges
from .ranges import Ranges

MIN_IPV6_PREFIX = 112
"""Shortest prefix of an IPv6 subnet that is probed address by address: 65,536 addresses."""

MIN_IPV4_PREFIX = 8
"""Shortest prefix of an IPv4 subnet that is searched for hosts, as 10.0.0.0/8."""

MAX_RUN_SIZE = 1 << 26
"""Maximum number of addresses in a run: four /8 networks, nine hours at 2,000 packets a second."""


def choose(
    assigned: Sequence[Subnet], only: tuple[IPNetwork, ...], ipv6: bool, scan_parents: bool = False
) -> tuple[list[Subnet], list[Outcome]]:
    """Given the agent's subnets, return the subnets to scan, and for each other subnet an Outcome with the reason.

    `only` limits the run to the subnets within these networks; empty means no limit. A subnet with nested ones is
    discovered only with `scan_parents`: phpIPAM's own scripts skip it, and it calls addresses of a parent orphaned.
    """
    chosen: list[Subnet] = []
    left = [
        Outcome(str(network), error="--subnet: phpIPAM assigns no such subnet to this agent")
        for network in only
        if not any(ranges.within(subnet.network, network) for subnet in assigned)
    ]
    searched: set[IPNetwork] = set()  # the same network in several VRFs is scanned once
    total = 0
    for subnet in assigned:
        if only and not any(ranges.within(subnet.network, network) for network in only):
            continue
        if subnet.nested and not scan_parents:
            subnet = subnet._replace(discover=subnet.discover and not subnet.ping)
        if reason := _reason_to_skip(subnet, ipv6, scan_parents):
            left.append(Outcome(str(subnet.network), subnet.id, skipped=reason))
            continue
        counts = subnet.discover and not too_large(subnet.network) and subnet.network not in searched
        size = subnet.network.num_addresses if counts else 0
        if error := _too_many(subnet, total + size):
            left.append(Outcome(str(subnet.network), subnet.id, error=error))
            continue
        if counts:
            searched.add(subnet.network)
            total += size
        chosen.append(subnet)
    return chosen, left


def nothing_to_scan(chosen: Sequence[Subnet], left: Sequence[Outcome]) -> str | None:
    """Return a message if no subnet is to be scanned and no error says so."""
    if chosen or any(outcome.error for outcome in left):
        return None
    reasons = dict.fromkeys(outcome.skipped for outcome in left if outcome.skipped)
    if not reasons:
        return "phpIPAM assigns no subnet to this agent; select it in the form of a subnet"
    return f"phpIPAM assigns {len(left)} subnets to this agent, none to be scanned: {'; '.join(reasons)}"


def in_several_vrfs(chosen: Iterable[Subnet]) -> str | None:
    """Return a warning that names the subnets that share a network, or None."""
    ids: dict[IPNetwork, list[int]] = {}
    for subnet in chosen:
        ids.setdefault(subnet.network, []).append(subnet.id)
    shared = [f"{network} (ids {', '.join(map(str, of))})" for network, of in ids.items() if len(of) > 1]
    if not shared:
        return None
    return (
        "the same network in several VRFs is scanned once and reported for each, since the agent does not know"
        f" its VRF: {'; '.join(shared)}; assign each to a separate agent"
    )


def unscannable(subnet: Subnet) -> str | None:
    """Return why a subnet cannot be scanned: phpIPAM did not give the addresses that are to be checked."""
    if subnet.addresses_error and not subnet.discover:
        return f"its known addresses cannot be checked: {subnet.addresses_error}"
    return None


def of_subnet(subnet: Subnet) -> Ranges:
    """Return the targets of a subnet.

    Discovery probes all addresses outside nested subnets, whichever agent scans these: an address is reported
    for its most specific subnet. A status check probes the known addresses. Neither probes addresses with
    phpIPAM's "ping exclude".
    """
    network = subnet.network
    excluded = [*_excluded(subnet), *reserved(subnet)]
    if subnet.discover:
        excluded += map(ranges.of_network, subnet.nested)
    if subnet.discover and not too_large(network):
        return ranges.without((ranges.of_network(network),), excluded)
    known = (known.ip for known in subnet.addresses if known.ip in network)
    return ranges.without(ranges.union(ranges.of_ips((*known, *subnet.candidates))), excluded)


def reserved(subnet: Subnet) -> Ranges:
    """Return the addresses that no host can have: the network and the broadcast address.

    In IPv6 it is the subnet-router anycast address (RFC 4291, 2.6.1). A pool or a subnet of two addresses has none.
    """
    network = subnet.network
    if network.prefixlen >= network.max_prefixlen - 1 or subnet.is_pool:
        return ()
    whole = ranges.of_network(network)
    return (whole[:1], whole[-1:]) if network.version == 4 else (whole[:1],)


def without_host(subnets: Sequence[Subnet]) -> Ranges:
    """Return the reserved addresses of a network that may be probed: they prove that another machine answers.

    `subnets` are the subnets with this network, in several VRFs. In a pool, and in a nested subnet, a host may have
    them.
    """
    if any(subnet.is_pool for subnet in subnets):
        return ()
    nested = (ranges.of_network(network) for subnet in subnets for network in subnet.nested)
    excluded = (each for subnet in subnets for each in _excluded(subnet))
    return ranges.without(reserved(subnets[0]), (*nested, *excluded))


def _excluded(subnet: Subnet) -> Iterator[range]:
    return ranges.of_ips(known.ip for known in subnet.addresses if known.exclude_ping)


def too_large(network: IPNetwork) -> bool:
    """Return whether a network is too large to probe every address."""
    return network.version == 6 and network.prefixlen < MIN_IPV6_PREFIX


def _too_many(subnet: Subnet, total: int) -> str | None:
    """Return why discovery is refused, given the number of addresses of the run with this subnet, or None."""
    if subnet.network.version == 4 and subnet.network.prefixlen < MIN_IPV4_PREFIX and subnet.discover:
        return f"is larger than a /{MIN_IPV4_PREFIX}, which takes hours to search; assign the parts in use instead"
    if total > MAX_RUN_SIZE:
        return f"is left out: a run searches at most {MAX_RUN_SIZE:,} addresses; assign it to another agent"
    return None


def _reason_to_skip(subnet: Subnet, ipv6: bool, scan_parents: bool) -> str | None:
    if not subnet.discover and not subnet.ping:
        return "neither Discover new hosts nor Check hosts status is on in phpIPAM"
    if subnet.network.prefixlen == 0:
        return "its mask is 0: the whole address space"
    if subnet.network.version == 6 and not ipv6:
        return "IPv6 is off; set ipv6: true if your Scan Server stores it"
    if subnet.discover and subnet.nested and not scan_parents:
        return "it has nested subnets; scan_parents: true scans its other addresses, which phpIPAM calls orphaned"
    return None
