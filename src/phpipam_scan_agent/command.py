"""nmap's command line, and why it is as it is. Pure."""

MOST_PROBES = 8
"""Packets for an address that does not answer: echo, SYN to 443, ACK to 80 and timestamp, each twice. On the
agent's own segment it is 2: ARP, twice."""

IGNORES_RESETS = (7, 90)
"""The first nmap that knows --discovery-ignore-rst."""


def discovery(
    nmap: tuple[int, int], raw: bool, version: int, rate: float, past_resets: bool
) -> tuple[str, ...]:
    """Return nmap's arguments to find the hosts among the addresses on stdin; the XML comes on stdout.

    `nmap` is its version, `raw` whether it may open raw sockets, `version` that of IP, and `rate` in packets
    per second. `past_resets` finds only what answers by something else than a TCP reset.
    """
    pace = f"{rate:.3f}"
    return (
        *("-sn", "-n", "-oX", "-", "-iL", "-"),
        "--privileged" if raw else "--unprivileged",
        *(("-6",) if version == 6 else ()),
        *("--min-rate", pace, "--max-rate", pace),
        *(
            ()
            if not past_resets
            else ("--discovery-ignore-rst",)
            if nmap >= IGNORES_RESETS
            else ("-PE", "-PP")
        ),
    )
