"""PTR names → the host names that are reported to phpIPAM. Pure."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address
from itertools import product

from ..models import Host, IPAddress

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
"""A label that may be reported. The collection's Scan Server pastes the host name into SQL, and the owner of the
reverse zone chooses PTR names."""

MAX_NAME = 253
"""Maximum length of a domain name in characters, without the final dot (RFC 1035)."""

_BETWEEN = r"(?:[-_.x]|ip|host|net|red|dyn|dip|dhcp|pool|static|rev)+"
"""Separators of octets, and the words that providers put between octets: `ip77.ip-192-0-2.example`."""

_FOUR_NUMBERS = re.compile(r"(?<![0-9])(?=" + _BETWEEN.join(["([0-9]{1,3})"] * 4) + "(?![0-9]))")
_FOUR_HEX_BYTES = re.compile(r"(?<![0-9a-f])(?=" + "[-_.]".join(["([0-9a-f]{1,2})"] * 4) + "(?![0-9a-f]))")

_GENERIC = re.compile(
    r"(?:ip|dip|dyn|dynamic|dhcp|host|pool|static|client|customer|user|ppp|dsl|adsl|cable|unknown)s?"
    r"[-_]?([0-9]{1,3})[-_]([0-9]{1,3})(?:[-_]([0-9]{1,3}))?"
)
"""A first label of the last two or three octets and a word without information."""


def reported(host: Host, form: str) -> str | None:
    """Given a host with its PTR name, return the host name to report, or None.

    `form` is the variable `name_form`. A full name in phpIPAM is never replaced by its first label.
    """
    name = hostname(host.name, host.ip, form)
    there = (host.address and host.address.hostname) or ""
    return None if name and there.lower().startswith(f"{name.lower()}.") else name


def hostname(name: str | None, ip: IPAddress, form: str = "short") -> str | None:
    """Given a PTR name, return the whole name (`full`) or its first label (`short`).

    Return None for a name that spells the address, that has other characters than letters, digits, `-` and `_`, or
    that is too long as a whole or in a label.
    """
    if not name or spells(name, ip):
        return None
    labels = name.split(".") if form == "full" else [name.partition(".")[0]]
    made = ".".join(labels)
    return made if len(made) <= MAX_NAME and all(map(_LABEL.fullmatch, labels)) else None


def spells(name: str, ip: IPAddress) -> bool:
    """Return whether a PTR name is derived from the address in one of the forms that providers and DHCP pools use.

    The forms are decimal or hexadecimal octets, forwards or backwards, padded or not, joined by dots, dashes or
    words; the address as one number; the last octet or octets beside a generic word.
    """
    name = name.lower()
    if isinstance(ip, IPv6Address):
        return any(
            form in name and re.search(rf"(?<![0-9]){re.escape(form)}(?![0-9a-f])", name)
            for form in _ipv6_forms(ip)
        )
    octets = tuple(ip.packed)
    first, second, third, last = octets
    orders = {octets, octets[::-1], (last, first, second, third), (third, second, first, last)}
    if any(tuple(map(int, found)) in orders for found in _FOUR_NUMBERS.findall(name)):
        return True
    if any(tuple(int(byte, 16) for byte in found) in orders for found in _FOUR_HEX_BYTES.findall(name)):
        return True
    if any(form in name for form in _unseparated(octets)):
        return True
    label = name.partition(".")[0]
    if label.isdecimal():
        return int(label) == last
    return _is_generic(label, octets)


def _unseparated(octets: tuple[int, ...]) -> Iterator[str]:
    """Yield the address as one number: padded octets, hexadecimal or decimal, and the decimal value."""
    for order, form in product((octets, octets[::-1]), ("02x", "03d")):
        yield "".join(format(octet, form) for octet in order)
    yield str(int.from_bytes(octets, "big")).zfill(8)


def _is_generic(label: str, octets: tuple[int, ...]) -> bool:
    found = _GENERIC.fullmatch(label)
    numbers = tuple(int(number) for number in found.groups() if number) if found else ()
    return bool(numbers) and numbers in (octets[-len(numbers) :], octets[::-1][: len(numbers)])


def _ipv6_forms(ip: IPv6Address) -> Iterator[str]:
    nibbles = ip.packed.hex()  # not `exploded`, which has dots for ::ffff:192.0.2.1 from Python 3.13 on
    long = [nibbles[at : at + 4] for at in range(0, len(nibbles), 4)]
    short = [format(int(group, 16), "x") for group in long]
    groups = (long, short, long[::-1], short[::-1])
    for separator in ("-", "."):
        yield separator.join(nibbles)
        yield separator.join(nibbles[::-1])
        yield from (separator.join(order) for order in groups)
    yield nibbles
    yield ip.compressed.replace(":", "-")
