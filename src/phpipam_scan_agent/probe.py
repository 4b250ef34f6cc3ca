"""Which subnets to scan, which addresses to probe, and how. Pure."""

from collections.abc import Iterable

from .models import IPNetwork, Outcome, Subnet

NMAP = ("nmap", "-sn", "-n", "-oX", "-", "-iL", "-")
"""Host discovery only, names left to the names stage, XML to stdout, targets from stdin."""


def choose(assigned: Iterable[Subnet], only: tuple[IPNetwork, ...]) -> tuple[list[Subnet], list[Outcome]]:
    """Given the agent's subnets, return those to scan, and the others with the reason.

    `only` limits the run to the subnets within these networks; an empty one does not.
    """
    assigned = [
        subnet for subnet in assigned if not only or any(_within(subnet.network, one) for one in only)
    ]
    chosen: list[Subnet] = []
    left = [
        Outcome(str(network), error="--subnet: phpIPAM assigns no such subnet to this agent")
        for network in only
        if not any(_within(subnet.network, network) for subnet in assigned)
    ]
    for subnet in assigned:
        if reason := _reason_to_skip(subnet):
            left.append(Outcome(str(subnet.network), subnet.id, skipped=reason))
        else:
            chosen.append(subnet)
    return chosen, left


def targets(subnet: Subnet) -> str:
    """Given a subnet, return what nmap reads from stdin: parsed addresses, so no text of phpIPAM's."""
    return f"{subnet.network}\n"


def _reason_to_skip(subnet: Subnet) -> str | None:
    if not subnet.discover:
        return "not set to discover hosts in phpIPAM"
    if subnet.network.version == 6:
        return "the Scan Server drops IPv6"
    if subnet.network.prefixlen == 0:
        return "the mask 0 is everything there is"
    return None


def _within(network: IPNetwork, outer: IPNetwork) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
