"""nmap's command line, with the measurements behind its options. Pure."""

from enum import Enum

MOST_PROBES = 10
"""Maximum number of packets to an address that does not answer: five probes, each twice. On the agent's own segment
it is 2: two ARP requests."""

FIRST_TO_IGNORE_RST = (7, 90)
"""The first nmap version with --discovery-ignore-rst."""

SCRIPTS = "targets-ipv6-multicast-echo,targets-ipv6-multicast-invalid-dst"
"""nmap's scripts for IPv6 neighbour discovery by multicast. Not slaac, which makes every host on the link configure
an address of a made-up network, nor mld, which takes 10 s and finds no more."""

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
"""nmap's arguments for IPv6 neighbour discovery on the machine's links.

No interface is given: with one, the scripts probe from its link-local address only, and hosts answer from theirs;
without, a host answers with an address of the network that the probe came from.
"""


class Probes(Enum):
    """The probes of one pass; the value is nmap's options for them."""

    DEFAULT = ("-PE", "-PS443", "-PA80")
    """Echo, SYN and ACK, each twice; on the agent's own segment two ARP requests. nmap's defaults without the ICMP
    timestamp, which was 25 % of the packets and found no further host in any simulated network: with it, 50 routed
    networks of 254 addresses took 9.8 s at 10,000 packets a second for the packets alone, and 7.3 s without."""

    TIMESTAMP = ("-PP",)
    """The ICMP timestamp that DEFAULT leaves out: some firewalls block echo only. IPv4 only."""

    SINGLE_ARP = ("--max-retries", "0")
    """One ARP request. Never behind a router: nmap then gives an address up after the first unanswered probe, and
    missed 107 of 621 hosts."""

    REPEATED_ARP = ("--max-retries", "2", "--min-rtt-timeout", "800ms")
    """Three ARP requests in 2.4 s, for sleeping Wi-Fi clients: nmap waits for 100 ms where the others are quick. Of
    17 to 26 hosts of a /24 that answer after 300, 700 or 1,500 ms, or every third request only, two single requests
    found none and this all. The same for every address would take 50 % more packets and 1.5 s more per process."""

    BY_IP = ("-PE", "-PS443", "-PA80", "-PP")
    """The probes of DEFAULT and TIMESTAMP, without ARP."""

    ICMP = ("-PE", "-PP")
    TCP = ("-PS443", "-PA80")
    ACK = ("-PA80",)

    UNSERVED = ("-PS4",)
    """A SYN to a port that IANA has not assigned, below the ports that systems choose: no host serves it."""

    IGNORE_RST = ("-PE", "-PP", "-PS22,443,445", "--discovery-ignore-rst")
    """A TCP RST does not count as an answer. More ports: only an open one shows a host that drops ICMP."""

    @property
    def skips_arp(self) -> bool:
        """Whether the probes go by IP on the agent's own segment as well."""
        return self not in (Probes.DEFAULT, Probes.TIMESTAMP, Probes.SINGLE_ARP, Probes.REPEATED_ARP)


def discovery(nmap: tuple[int, int], raw: bool, version: int, rate: float, kinds: Probes) -> tuple[str, ...]:
    """Return nmap's arguments for host discovery of the addresses on stdin, with XML on stdout.

    `nmap` is its version, `raw` whether it may open raw sockets, `version` the IP version, `rate` in packets per
    second.

    --min-rate beside --max-rate, since --max-rate alone is slow and no strict limit: nmap's congestion
    control then delays packets and sends them in a burst later. Measured over 50 networks of 254
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
    options = kinds.value
    if kinds is Probes.IGNORE_RST and nmap < FIRST_TO_IGNORE_RST:
        options = Probes.ICMP.value
    if kinds.skips_arp:
        options = ("--disable-arp-ping", *options)
    if version == 6:
        options = tuple(option for option in options if option != "-PP")
    return (
        *("-sn", "-n", "-oX", "-", "-iL", "-"),
        "--privileged" if raw else "--unprivileged",
        *(("-6",) if version == 6 else ()),
        *("--min-rate", pace, "--max-rate", pace),
        *(options if raw else ()),
    )
