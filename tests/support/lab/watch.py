"""Counts packets by destination, on all Ethernet devices of the network namespace."""

import ipaddress
import socket
import threading
from collections import Counter
from types import TracebackType

EVERYTHING = 3  # ETH_P_ALL of linux/if_ether.h: the only protocol with which sent packets are received
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
SENT = 4  # PACKET_OUTGOING of linux/if_packet.h
ETHERNET = 1  # ARPHRD_ETHER of linux/if_arp.h
ICMPV6, SOLICITATION = 58, 135


class Watch:
    """Counts packets by destination, ARP requests by the requested address, in a `with` block; needs root."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERYTHING))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
        self._socket.settimeout(0.2)
        self._over = False
        self._thread = threading.Thread(target=self._listen, name="watch")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def probed(self) -> dict[str, int]:
        """Stop and return the number of packets for each address."""
        self._end()
        return dict(self._counts)

    def _end(self) -> None:
        self._over = True
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                packet, (_, protocol, direction, hardware, _) = self._socket.recvfrom(2048)
            except TimeoutError:
                if self._over:
                    return
                continue
            if direction == SENT and hardware == ETHERNET and (target := _target(protocol, packet)):
                self._counts[str(ipaddress.ip_address(target))] += 1


def _target(protocol: int, packet: bytes) -> bytes | None:
    if protocol == ARP:
        return packet[24:28]
    if protocol == IPV4:
        return packet[16:20]
    if protocol == IPV6:
        solicits = packet[6] == ICMPV6 and packet[40] == SOLICITATION
        return packet[48:64] if solicits else packet[24:40]
    return None
