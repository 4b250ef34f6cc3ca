import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

import nameserver
from nameserver import Nameserver
from phpipam_scan_agent import names
from phpipam_scan_agent.models import IPAddress

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a nameserver's port 53 needs root")

OURS = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
"""Addresses of this run alone, since port 53 cannot be another."""

FIRST, SECOND, NOBODY = f"{OURS}.1", f"{OURS}.2", f"{OURS}.3"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that silence does not take long."""
    monkeypatch.setattr(names, "PATIENCE", 0.3)


@pytest.fixture
def zone() -> Iterator[Nameserver]:
    records = [
        "1.2.0.192.in-addr.arpa. PTR gw.example.net.",
        "2.2.0.192.in-addr.arpa. PTR zeta.example.net.",
        "2.2.0.192.in-addr.arpa. PTR alpha.example.net.",
        # RFC 2317: a customer's part of the reverse zone lies in a zone of its own
        "3.2.0.192.in-addr.arpa. CNAME 3.0/26.2.0.192.in-addr.arpa.",
        "3.0/26.2.0.192.in-addr.arpa. PTR printer.example.net.",
        "4.2.0.192.in-addr.arpa. TXT nothing",
        "5.2.0.192.in-addr.arpa. CNAME 5.2.0.192.in-addr.arpa.",
        r"6.2.0.192.in-addr.arpa. PTR o'brien\;x\.y\195\188.example.net.",
        "7.2.0.192.in-addr.arpa. PTR .",
        "8.2.0.192.in-addr.arpa. CNAME nowhere.example.net.",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.net.",
    ]
    with Nameserver(FIRST, records) as server:
        yield server


def ip(last: int) -> IPAddress:
    return ip_address(f"192.0.2.{last}")


def look_up(*ips: IPAddress, at: tuple[str, ...] = (FIRST,)) -> dict[IPAddress, str]:
    return names.look_up(ips, tuple(map(ip_address, at)))


def test_a_name_is_found_without_its_dot(zone: Nameserver) -> None:
    assert look_up(ip(1)) == {ip(1): "gw.example.net"}


def test_ipv6_names_are_found(zone: Nameserver) -> None:
    six = ip_address("2001:db8::1")
    assert look_up(six) == {six: "six.example.net"}


def test_a_delegated_reverse_zone_is_followed(zone: Nameserver) -> None:
    assert look_up(ip(3)) == {ip(3): "printer.example.net"}


def test_the_smallest_of_several_names_is_taken(zone: Nameserver) -> None:
    assert look_up(ip(2)) == {ip(2): "alpha.example.net"}


@pytest.mark.parametrize("last", [99, 4, 7], ids=["no such name", "no PTR", "the root"])
def test_without_a_name_there_is_none_and_nothing_to_say(
    last: int, zone: Nameserver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert look_up(ip(last)) == {}
    assert caplog.messages == []


@pytest.mark.parametrize("last", [5, 8], ids=["to itself", "to nowhere"])
def test_an_alias_that_leads_nowhere_gives_no_name(last: int, zone: Nameserver) -> None:
    assert look_up(ip(last), ip(1)) == {ip(1): "gw.example.net"}


def test_a_wild_name_stays_one_line_of_ascii(zone: Nameserver) -> None:
    assert look_up(ip(6)) == {ip(6): r"o'brien\;x\.y\195\188.example.net"}


def test_many_are_looked_up_in_one_go(zone: Nameserver) -> None:
    found = look_up(*map(ip, range(256)))
    assert {1, 2, 3} <= {int(str(found_ip).rpartition(".")[2]) for found_ip in found}
    assert set(zone.asked) >= {f"{last}.2.0.192.in-addr.arpa." for last in range(256)}


def test_no_addresses_ask_nothing(zone: Nameserver) -> None:
    assert look_up() == {}
    assert zone.asked == []


@pytest.mark.parametrize(
    "reply", [nameserver.silence, nameserver.refusal, nameserver.failure, nameserver.garbage, nameserver.half]
)
def test_a_bad_nameserver_costs_the_name_and_says_so(
    reply: nameserver.Reply, caplog: pytest.LogCaptureFixture
) -> None:
    with Nameserver(FIRST, reply=reply) as server, caplog.at_level(logging.INFO):
        assert look_up(ip(1)) == {}
    assert server.asked
    assert [line for line in caplog.messages if not line.startswith("no name for 192.0.2.1: ")] == []
    assert len(caplog.messages) == 1


def test_a_nameserver_that_is_not_there_costs_the_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert look_up(ip(1), at=(NOBODY,)) == {}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "reply", [nameserver.silence, nameserver.refusal, nameserver.failure, nameserver.garbage, nameserver.half]
)
def test_the_second_nameserver_answers_for_a_bad_first(reply: nameserver.Reply) -> None:
    records = ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]
    with Nameserver(FIRST, reply=reply) as first, Nameserver(SECOND, records):
        assert look_up(ip(1), at=(FIRST, SECOND)) == {ip(1): "gw.example.net"}
    assert first.asked


def test_the_second_nameserver_is_not_asked_when_the_first_knows(zone: Nameserver) -> None:
    with Nameserver(SECOND, ["1.2.0.192.in-addr.arpa. PTR other.example.net."]) as second:
        assert look_up(ip(1), ip(99), at=(FIRST, SECOND)) == {ip(1): "gw.example.net"}
    assert second.asked == []


SYSTEM = """
import logging, sys
from ipaddress import ip_address
from nameserver import Nameserver
from phpipam_scan_agent import names
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
with Nameserver("127.53.0.3", ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]):
    print(names.look_up([ip_address("192.0.2.1")], ()))
"""


@pytest.mark.parametrize(
    ("resolv_conf", "said"),
    [
        ("nameserver 127.53.0.3\nsearch example.org\n", "{IPv4Address('192.0.2.1'): 'gw.example.net'}\n"),
        ("", "WARNING no names: /etc/resolv.conf names no nameserver\n{}\n"),
        ("# none\n", "WARNING no names: /etc/resolv.conf names no nameserver\n{}\n"),
    ],
    ids=["one nameserver", "empty", "none"],
)
def test_the_systems_nameservers_are_used_without_others(resolv_conf: str, said: str, tmp_path: Path) -> None:
    """In namespaces with an /etc/resolv.conf of our own and no way out to the real one's nameserver."""
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    inside = 'mount --bind "$1" /etc/resolv.conf && ip link set lo up && exec "$2" -c "$3"'
    command = ("unshare", "--mount", "--net", "sh", "-ec", inside, "sh")
    done = subprocess.run(
        (*command, tmp_path / "resolv.conf", sys.executable, SYSTEM),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert (done.stdout, done.stderr) == (said, "")
