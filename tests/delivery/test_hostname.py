from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.delivery.hostname import hostname, reported, spells
from phpipam_scan_agent.models import Address, Host

IP = ip_address("192.0.2.77")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("gw.example.net", "gw"),
        ("gw", "gw"),
        ("GW-1_a.example.net", "GW-1_a"),
        ("4711.example.net", "4711"),
        ("a" * 63 + ".example.net", "a" * 63),
        ("xn--bcher-kva.example", "xn--bcher-kva"),
        ("-.example.net", "-"),
    ],
)
def test_the_short_form_is_the_first_label_and_the_full_form_the_whole_name(name: str, label: str) -> None:
    assert hostname(name, IP) == label
    assert hostname(name, IP, "full") == name


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        ".",
        ".example.net",
        "o'brien.example.net",
        "x', note='PWNED.example.net",
        'x" OR 1=1 -- .example.net',
        "x\\'.example.net",
        "x\\.y.example.net",
        "x;DROP TABLE ipaddresses.example.net",
        "x y.example.net",
        "x\n.example.net",
        "x\n",
        "x\0.example.net",
        "<script>.example.net",
        "{{lookup('pipe','id')}}.example.net",
        "bücher.example.net",
        "é.example.net",
        "gw٣.example.net",
        "\uff47\uff57.example.net",
        "🖨.example.net",
        "\\195\\188.example.net",
        "a" * 64 + ".example.net",
        "*.example.net",
    ],
)
@pytest.mark.parametrize("form", ["short", "full"])
def test_a_name_with_other_characters_or_a_bad_length_is_no_host_name(name: str | None, form: str) -> None:
    assert hostname(name, IP, form) is None


@pytest.mark.parametrize(
    "name",
    [
        "gw.o'brien.net",
        "gw..net",
        "gw.net.",
        "gw." + "a" * 64,
        "gw." + ".".join(["a" * 62] * 4),
        "gw.büro.net",
    ],
)
def test_in_full_form_every_label_and_the_length_count(name: str) -> None:
    assert hostname(name, IP, "full") is None
    assert hostname(name, IP, "short") == "gw"


def test_the_longest_full_name_has_253_characters() -> None:
    longest = ".".join([*["a" * 63] * 3, "b" * 61])
    assert len(longest) == 253
    assert hostname(longest, IP, "full") == longest
    assert hostname(longest + "b", IP, "full") is None


SPELLED = {
    "192.0.2.77": [
        # decimal, forwards and backwards
        "192-0-2-77.example.net",
        "77-2-0-192.example.net",
        "192.0.2.77.example.net",
        "77.2.0.192.in-addr.example.net",
        "192_0_2_77.example.net",
        "192x0x2x77.example.net",
        # between words
        "host-192-0-2-77.example.net",
        "ip-77-2-0-192-static.example.net",
        "dyn.192-0-2-77.example.net",
        "ip192-0-2-77.example.net",
        "dip192.0.2.77.example.net",
        "HOST-192.0.2.77.Example.NET",
        "static.77.2.0.192.clients.example.net",
        "ec2-192-0-2-77.eu-west-1.compute.example.com",
        "n1-host4-192-0-2-77-7.example.net",
        # the last octet separate from the others
        "ip77.ip-192-0-2.example.net",
        "77.red-192-0-2.dynamicip.example.net",
        "77.192-0-2.example.net",
        "2.0.192-77.example.net",
        # padded
        "192-000-002-077.example.net",
        "077.002.000.192.dyn.example.net",
        "192000002077.example.net",
        "host077002000192.example.net",
        # hexadecimal
        "c000024d.example.net",
        "C000024D.example.net",
        "pc000024d.dip0.example.net",
        "0xc000024d.example.net",
        "4d0200c0.example.net",
        "c0-00-02-4d.example.net",
        "c0.0.2.4d.example.net",
        "nodec000024d.example.net",
        # one number
        "3221226061.example.net",
        "ip3221226061.example.net",
        # the last octets and a word without information
        "77.example.net",
        "077.example.net",
        "dyn-2-77.example.net",
        "dhcp2-77.example.net",
        "host-0-2-77.example.net",
        "pool-77-2.example.net",
    ],
    "127.0.20.1": ["1.20.0.127.dyn.example.org"],
    "10.9.0.1": ["host-10.9.0.1.example", "a090001.0a090001.example", "ip-10-9-0-1.ec2.internal"],
    "10.0.0.1": ["010.000.000.001", "0a000001.example", "167772161.example", "ip-10-0-0-1"],
    "1.1.1.1": ["1.1.1.1", "host1-1-1-1"],
    "255.255.255.255": ["ffffffff", "255-255-255-255"],
    "2001:db8::4d": [
        "2001-db8--4d.example.net",
        "ipv6-2001-db8--4d.example.net",
        "2001-0db8-0000-0000-0000-0000-0000-004d.example.net",
        "2001-db8-0-0-0-0-0-4d.example.net",
        "2001.db8.0.0.0.0.0.4d.example.net",
        "4d-0-0-0-0-0-db8-2001.example.net",
        "20010db800000000000000000000004d.example.net",
        "d.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.example.net",
        "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.d.example.net",
    ],
    "::ffff:192.0.2.77": ["0-0-0-0-0-ffff-c000-24d.example.net"],
}

OTHERS = {
    "192.0.2.77": [
        "192-0-2-78.example.net",
        "192-0-2-177.example.net",
        "1192-0-2-77.example.net",
        "192-0-2-771.example.net",
        "0-2-77.example.net",
        "192-0-2.example.net",
        "host77.example.net",
        "pc-77.example.net",
        "web-2-77.example.net",
        "dhcp-3-77.example.net",
        "78.example.net",
        "c000024e.example.net",
        "web01.dmz.example.org",
        "rack2-77.example.net",
        "sw1-ge0-0-1.example.net",
        "v192.example.net",
        "printer-2023-11-24.example.net",
    ],
    "10.0.0.1": ["sw10-eth0-0-1.example.net", "core10-ge0-0-1.example.net", "10001.example.net"],
    "1.0.0.1": ["r1-gi0-0-1.example.net"],
    "2001:db8::1": [
        "2001-db8--10.example.net",
        "2001-db8--1f.example.net",
        "12001-db8--1.example.net",
        "six.net",
    ],
}


@pytest.mark.parametrize(("ip", "name"), [(ip, name) for ip, names in SPELLED.items() for name in names])
def test_a_name_made_from_the_address_is_no_host_name(ip: str, name: str) -> None:
    assert hostname(name, ip_address(ip)) is None
    assert hostname(name, ip_address(ip), "full") is None


@pytest.mark.parametrize(("ip", "name"), [(ip, name) for ip, names in OTHERS.items() for name in names])
def test_a_name_with_other_numbers_is_a_host_name(ip: str, name: str) -> None:
    assert hostname(name, ip_address(ip)) == name.partition(".")[0]
    assert hostname(name, ip_address(ip), "full") == name


@given(
    ip=st.ip_addresses(v=4),
    back=st.booleans(),
    form=st.sampled_from(["d", "03d", "02x"]),
    joined=st.sampled_from(".-_"),
    before=st.sampled_from(["", "ip-", "host.", "dyn-", "cust", "p-"]),
    after=st.sampled_from(["", ".example.net", "-static.example.net", ".dyn.example.net"]),
)
def test_every_address_is_recognized_in_every_form(
    ip: IPv4Address, back: bool, form: str, joined: str, before: str, after: str
) -> None:
    octets = [format(octet, form) for octet in (ip.packed[::-1] if back else ip.packed)]
    assert spells(before + joined.join(octets) + after, ip)


@given(ip=st.ip_addresses(), name=st.text() | st.from_regex("[a-z0-9.-]{0,80}", fullmatch=True))
def test_a_host_name_is_the_first_label_or_nothing(ip: IPv4Address, name: str) -> None:
    assert hostname(name, ip) in (None, name.partition(".")[0])
    assert hostname(name, ip, "full") in (None, name)


@pytest.mark.parametrize(
    ("there", "form", "name"),
    [
        (None, "short", "web01"),
        ("mail", "short", "web01"),
        ("web01", "short", "web01"),
        ("web01.dmz.example.org", "short", None),
        ("WEB01.dmz.example.org", "short", None),
        ("web010.example.org", "short", "web01"),
        ("web01.dmz.example.org", "full", "web01.example.net"),
        ("web01", "full", "web01.example.net"),
    ],
)
def test_a_full_name_is_never_replaced_by_its_first_label(
    there: str | None, form: str, name: str | None
) -> None:
    host = Host(IP, name="web01.example.net", address=Address(101, IP, hostname=there))
    assert reported(host, form) == name
    assert reported(host._replace(address=None), form) == (
        "web01" if form == "short" else "web01.example.net"
    )
