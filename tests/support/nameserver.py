"""A real nameserver on a loopback address, for tests of reverse lookups."""

import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Reply = Callable[[dns.message.Message], bytes | None]
"""Given a query, the datagram to send; None for no answer."""


class Nameserver:
    """Answers over UDP on port 53 of an address in 127.0.0.0/8; that port needs root.

    `records` are lines of a zone (`1.2.0.192.in-addr.arpa. PTR gw.example.`); any other name is NXDOMAIN.
    `reply` answers instead, for a nameserver with a fault; `before` are datagrams that are sent before each answer,
    from the address `source`.
    """

    def __init__(
        self,
        ip: str,
        records: Iterable[str] = (),
        reply: Reply | None = None,
        before: Iterable[Reply] = (),
        source: str | None = None,
    ) -> None:
        self.ip = ip
        self.asked: list[str] = []
        """The requested names, in order."""

        self._zone: dict[str, list[tuple[str, str]]] = {}
        for record in records:
            name, kind, value = record.split(maxsplit=2)
            self._zone.setdefault(name, []).append((kind, value))
        self._reply = reply or self._from_zone
        self._before = list(before)
        self._source = source or ip
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name=f"nameserver {ip}")

    def __enter__(self) -> "Nameserver":
        self._socket.bind((self.ip, 53))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"", (self.ip, 53))  # an empty datagram ends the thread
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            question = dns.message.from_wire(wire)
            self.asked.append(str(question.question[0].name))
            for datagram in self._before:
                self._send_first(datagram(question), client)
            answer = self._reply(question)
            if answer is not None:
                self._socket.sendto(answer, client)

    def _send_first(self, datagram: bytes | None, client: tuple[str, int]) -> None:
        if datagram and self._source == self.ip:
            self._socket.sendto(datagram, client)
        elif datagram:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind((self._source, 53))
                other.sendto(datagram, client)

    def _from_zone(self, question: dns.message.Message) -> bytes:
        name = str(question.question[0].name)
        response = dns.message.make_response(question)
        response.flags |= dns.flags.RA
        if name not in self._zone:
            response.set_rcode(dns.rcode.NXDOMAIN)
        while name in self._zone:
            records = self._zone[name]
            for kind, value in records:
                response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, value))
            aliases = [value for kind, value in records if kind == "CNAME"]
            if not aliases or len(response.answer) > 30:
                break
            name = aliases[0]
        return response.to_wire()


def always(target: str) -> Reply:
    """Answer each query with this name."""

    def reply(question: dns.message.Message) -> bytes:
        response = dns.message.make_response(question)
        name = str(question.question[0].name)
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "PTR", target))
        return response.to_wire()

    return reply


def silence(question: dns.message.Message) -> None:
    """Do not answer."""


def refusal(question: dns.message.Message) -> bytes:
    """Answer REFUSED, as a nameserver for other clients only."""
    response = dns.message.make_response(question)
    response.set_rcode(dns.rcode.REFUSED)
    return response.to_wire()


def failure(question: dns.message.Message) -> bytes:
    """Answer SERVFAIL, as a nameserver that cannot reach the zone's nameservers."""
    response = dns.message.make_response(question)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def garbage(question: dns.message.Message) -> bytes:
    """Answer with bytes that are not DNS."""
    return b"\xff" * 7


def half(question: dns.message.Message) -> bytes:
    """Answer with a message that ends in the middle of a record."""
    response = dns.message.make_response(question)
    name = str(question.question[0].name)
    response.answer.append(dns.rrset.from_text(name, 60, "IN", "PTR", "gw.example."))
    return response.to_wire()[:-5]
