"""The run's packet rate, and the number of processes that it is worth."""

import logging

log = logging.getLogger(__name__)

CONNECTING_RATE = 500
"""Maximum packets per second without raw sockets: the kernel then sends ARP requests in addition to nmap's rate, and
its neighbour table overflows. Of 122 hosts of a /21 it found all at 600, 121 at 1,000 and 92 at 2,000."""

CONNECTING_SHARE = 0.5
"""Share of the rate that nmap gets then: with the kernel's ARP requests up to 1.9 times as many packets are sent."""

MIN_SHARE = 1000
"""Packets per second below which a further process does not pay. 12,700 addresses at 2,000 packets a second took 13.5
s with 32 processes and 12.7 s with 4, at a third of the CPU time; 2 take as long as 4, at two thirds of the CPU
time."""


def total_rate(max_rate: float, raw: bool) -> float:
    """Return the packets per second for all nmap processes; `raw` is whether nmap may open raw sockets."""
    if raw:
        return max_rate
    log.warning(
        "nmap may not open raw sockets here and scans by TCP connections, which is slower and finds fewer"
        " hosts; run the agent as root, or give it CAP_NET_RAW"
    )
    return min(max_rate, CONNECTING_RATE) * CONNECTING_SHARE


def slots(packets_per_second: float, parallel_scans: int) -> int:
    """Return the number of processes that should run in parallel."""
    return max(1, min(parallel_scans, int(packets_per_second // MIN_SHARE)))
