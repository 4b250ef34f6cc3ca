"""nmap's command line, and why it is as it is. Pure."""

from enum import Enum

MOST_PROBES = 8
"""Packets for an address that does not answer: echo, SYN to 443, ACK to 80 and timestamp, each twice. On the
agent's own segment it is 2: ARP, twice."""

IGNORES_RESETS = (7, 90)
"""The first nmap that knows --discovery-ignore-rst."""


SCRIPTS = "targets-ipv6-multicast-echo,targets-ipv6-multicast-invalid-dst"
"""nmap's scripts that make neighbours answer. Of the others, slaac would have every host on the link take an
address of a made-up network, and mld takes 10 s to find no more."""


NEIGHBOURS = (
    "-6",
    "-sn",
    "-n",
    "-oX",
    "-",
    "--privileged",
    "--script",
    SCRIPTS,
    "--script-args",
    "newtargets",
)
"""nmap's arguments to find who is on the machine's links.

Told an interface, the scripts would ask from its link-local address alone, and only such would answer; this way
each host answers with an address of the network that it was asked from.
"""


class Ask(Enum):
    """How to ask an address whether it is there; the value is nmap's options for it."""

    USUALLY = ("-PE", "-PS443", "-PA80")
    """By echo, SYN and ACK, each twice; on the agent's own segment by ARP, twice. These are nmap's defaults less the
    ICMP timestamp, which was 25 % of the packets for no host more in any simulated network: with it, 50 routed
    networks of 254 addresses took 9.8 s at 10,000 packets a second for the packets alone, and 7.3 s without."""

    BY_TIMESTAMP = ("-PP",)
    """By what USUALLY leaves out: some block echo and forget timestamp. IPv4 has it alone."""

    ONCE = ("--max-retries", "0")
    """By one ARP request. Never behind a router: nmap then gives an address up at the first probe without an answer,
    and missed 107 of 621 hosts."""

    PAST_RESETS = ("--discovery-ignore-rst",)
    """By all that nmap has, taking a TCP reset for no answer."""


def discovery(nmap: tuple[int, int], raw: bool, version: int, rate: float, ask: Ask) -> tuple[str, ...]:
    """Return nmap's arguments to find the hosts among the addresses on stdin; the XML comes on stdout.

    `nmap` is its version, `raw` whether it may open raw sockets, `version` that of IP, and `rate` in packets
    per second.

    --min-rate beside --max-rate, since the latter alone is neither fast nor a ceiling: nmap's congestion
    control then holds it back, and it spends in a burst what it saved. Measured over 50 networks of 254
    addresses, 5 % live, 10,000 packets a second in all, highest second of each run, all hosts found in each:

    | network                 | --max-rate alone       | both                    |
    |-------------------------|------------------------|-------------------------|
    | the agent's segment     | 8.3 s, 7,608 packets/s | 4.0 s, 10,050 packets/s |
    | routed, 20 ms, 1 % loss | 38 s, 9,085 packets/s  | 13 s, 10,134 packets/s  |

    At 0, 1 and 5 % loss and 0.3, 20 and 150 ms, in a /20 on the segment and routed, it found no fewer than
    nmap's defaults, which took 2 to 10 times as long. nmap sends each probe twice whatever the loss, so no
    other timing option finds more; a host is missed when all of its probes are lost.
    """
    pace = f"{rate:.3f}"
    how = ask.value
    if ask is Ask.PAST_RESETS and nmap < IGNORES_RESETS:
        how = ("-PE", "-PP")
    return (
        *("-sn", "-n", "-oX", "-", "-iL", "-"),
        "--privileged" if raw else "--unprivileged",
        *(("-6",) if version == 6 else ()),
        *("--min-rate", pace, "--max-rate", pace),
        *(how if raw else ()),
    )
