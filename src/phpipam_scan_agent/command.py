"""nmap's command line, and why it is as it is. Pure."""

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


def discovery(
    nmap: tuple[int, int],
    raw: bool,
    version: int,
    rate: float,
    *,
    once: bool = False,
    past_resets: bool = False,
) -> tuple[str, ...]:
    """Return nmap's arguments to find the hosts among the addresses on stdin; the XML comes on stdout.

    `nmap` is its version, `raw` whether it may open raw sockets, `version` that of IP, and `rate` in packets
    per second. `once` asks each address of the segment by one ARP request instead of two. `past_resets` finds
    only what answers by something else than a TCP reset.

    --min-rate beside --max-rate, since the latter alone is neither fast nor a ceiling: nmap's congestion
    control then holds it back, and it spends in a burst what it saved. Measured over 50 networks of 254
    addresses, 5 % live, 10,000 packets a second in all, highest second of each run:

    | network                 | --max-rate alone       | both                    |
    |-------------------------|------------------------|-------------------------|
    | the agent's segment     | 8.3 s, 7,608 packets/s | 4.0 s, 10,050 packets/s |
    | routed, 20 ms, 1 % loss | 38 s, 9,085 packets/s  | 13 s, 10,134 packets/s  |

    All hosts were found in each. At 0, 1 and 5 % loss and 0.3, 20 and 150 ms, in a /20 on the segment and
    routed, it found no fewer than nmap's defaults, which took 2 to 10 times as long. nmap sends each probe
    twice whatever the loss, so no other timing option finds more; a host is missed when all of its probes are
    lost.
    """
    pace = f"{rate:.3f}"
    return (
        *("-sn", "-n", "-oX", "-", "-iL", "-"),
        "--privileged" if raw else "--unprivileged",
        *(("-6",) if version == 6 else ()),
        *("--min-rate", pace, "--max-rate", pace),
        *(("--max-retries", "0") if once else ()),
        *(
            ()
            if not past_resets
            else ("--discovery-ignore-rst",)
            if nmap >= IGNORES_RESETS
            else ("-PE", "-PP")
        ),
    )
