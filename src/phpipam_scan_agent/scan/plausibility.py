"""Firewalls that answer TCP probes to addresses that nobody has, with a reset. Pure.

nmap's defaults call such a network up as a whole. The rule was found in simulated networks of 254 and 14
addresses, 20 ms away, with 0, 1 and 5 % loss; "quiet" hosts drop ICMP, so that a reset is all they say.

| network                        | up    | of these by reset | distance of resets            |
|--------------------------------|-------|-------------------|-------------------------------|
| firewall, 5 % live             | 100 % | 92-93 %           | firewall's                    |
| firewall, 50 % live, 20 % quiet| 100 % | 65 %              | firewall's 138, hosts' 28     |
| firewall, 90 % live, 20 % quiet| 100 % | 30-32 %           | firewall's 25, hosts' 52-56   |
| none, 5-50 % live, 50 % quiet  | 8-46 %| 64-80 %           | hosts'                        |
| none, 90 % live, 50 % quiet    | 90 %  | 55 %              | hosts'                        |
| none, all 14 live, 50 % quiet  | 100 % | 57 %              | hosts'                        |

A dead address has four chances to be answered for, so loss does not blur the 100 %; what tells a firewall
from a full network of quiet hosts is the distance, which the reset's TTL gives away. With nmap's
--discovery-ignore-rst alone, 42 of the 116 hosts of the half-full network without firewall would be left.
"""

from collections.abc import Sequence

from ..models import Host

ALMOST_ALL = 0.95
"""Share of the probed addresses that are up where a firewall may be at work."""

MOST = 0.75
"""Share of resets that is believed of no network, where a firewall forges the distance too."""

MANY = 32
"""Addresses that make a share mean something where the distance says nothing."""

SOME = 8
"""Addresses that are not all up by resets alone unless a firewall is at work, in a whole subnet."""

BY_RESET = frozenset(("reset", "conn-refused"))
"""nmap's reasons: with raw sockets, and when it may only connect."""

INITIAL_TTLS = (64, 128, 255)


def doubtful(probed: int, hosts: Sequence[Host], whole: bool) -> tuple[Host, ...]:
    """Given the number of addresses probed and the hosts found, return those that may be a firewall's.

    `whole` says that a subnet was searched, not just what is known checked: known addresses may well all be
    up, behind a firewall that lets no ICMP pass.
    """
    resets = tuple(host for host in hosts if host.reason in BY_RESET and not host.ip.is_loopback)
    if not resets or len(hosts) < ALMOST_ALL * probed:
        return ()
    distances = {_distance(host.ttl) for host in hosts if host.reason not in BY_RESET}
    if not distances:
        return resets if whole and probed >= SOME else ()
    foreign = tuple(host for host in resets if _distance(host.ttl) not in distances)
    if foreign:
        return foreign
    return resets if whole and probed >= MANY and len(resets) >= MOST * len(hosts) else ()


def _distance(ttl: int) -> int:
    """Return how many routers an answer with this TTL has come through."""
    return next(initial for initial in INITIAL_TTLS if ttl <= initial) - ttl
