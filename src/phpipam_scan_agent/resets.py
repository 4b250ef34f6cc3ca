"""Firewalls that answer for addresses that nobody has. Pure."""

from collections.abc import Sequence

from .models import Host


def doubtful(probed: int, hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Given how many addresses of a network were probed and its hosts, return those that may be none.

    That is nobody where the network looks right.
    """
    by_reset = tuple(host for host in hosts if host.reason == "reset")
    if len(hosts) >= 0.97 * probed and len(by_reset) > probed / 2:
        return by_reset
    return ()
