import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import dns.message
import pytest

import nameserver
from nameserver import Nameserver
from phpipam_scan_agent.models import IPAddress
from phpipam_scan_agent.scan import names
from phpipam_scan_agent.scan.names import Names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a nameserver's port 53 needs root")

OURS = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
"""Addresses of this run alone, since port 53 cannot be another."""

FIRST, SECOND, THIRD, NOBODY = f"{OURS}.1", f"{OURS}.2", f"{OURS}.3", f"{OURS}.4"


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
    with Names() as names:
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
def test_a_bad_nameserver_costs_the_names_and_is_named_once(
    reply: nameserver.Reply, caplog: pytest.LogCaptureFixture
) -> None:
    with Nameserver(FIRST, reply=reply) as server, caplog.at_level(logging.INFO):
        assert look_up(*map(ip, range(9))) == {}
    assert server.asked
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names (")
    assert len(warning.splitlines()) == 1


def test_a_nameserver_that_is_not_there_costs_the_names(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert look_up(*map(ip, range(9)), at=(NOBODY,)) == {}
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {NOBODY} gives no names (")


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


def test_many_addresses_may_have_the_same_name() -> None:
    records = [f"{last}.2.0.192.in-addr.arpa. PTR dhcp.example.net." for last in range(200)]
    with Nameserver(FIRST, records):
        assert look_up(*map(ip, range(200))) == {ip(last): "dhcp.example.net" for last in range(200)}


def test_all_nameservers_are_asked_in_order_until_one_answers() -> None:
    records = ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]
    with (
        Nameserver(FIRST, reply=nameserver.refusal) as first,
        Nameserver(SECOND, reply=nameserver.failure) as second,
        Nameserver(THIRD, records) as third,
    ):
        assert look_up(ip(1), at=(FIRST, SECOND, THIRD)) == {ip(1): "gw.example.net"}
    assert [server.asked for server in (first, second, third)] == [["1.2.0.192.in-addr.arpa."]] * 3


def test_a_silent_nameserver_is_left_out_for_the_rest_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    everybody = [ip_address("192.0.2.0") + offset for offset in range(3 * names.AT_ONCE)]
    records = [f"{address.reverse_pointer}. PTR some.example.net." for address in everybody]
    at = (ip_address(FIRST), ip_address(SECOND))
    with Nameserver(FIRST, reply=nameserver.silence) as silent, Nameserver(SECOND, records), Names() as run:
        assert run.look_up(everybody, at) == dict.fromkeys(everybody, "some.example.net")
        asked = len(silent.asked)
        assert run.look_up(everybody, at) == dict.fromkeys(everybody, "some.example.net")
        assert len(silent.asked) == asked
    # Those under way at once, and a second try for each failure before the last that is borne with.
    assert 0 < asked <= names.AT_ONCE + names.STRIKES_NEW
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names (")


def test_lost_answers_cost_neither_names_nor_the_nameserver(caplog: pytest.LogCaptureFixture) -> None:
    """The first question for every other name stays unanswered: more than strikes, but not in a row."""
    batch = names.STRIKES_KNOWN - 1
    seen: set[str] = set()

    def lossy(question: dns.message.Message) -> bytes | None:
        name = str(question.question[0].name)
        if int(name.partition(".")[0]) % 2 and name not in seen:
            seen.add(name)
            return None
        return nameserver.always("some.example.net.")(question)

    with Nameserver(FIRST, reply=lossy), Names() as run:
        for start in (0, batch, 2 * batch):
            few = [ip(last) for last in range(start, start + batch)]
            assert run.look_up(few, (ip_address(FIRST),)) == dict.fromkeys(few, "some.example.net")
    assert len(seen) > names.STRIKES_KNOWN
    assert caplog.messages == []


def test_a_nameserver_that_dies_during_the_run_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with Names() as run:
        with Nameserver(FIRST, ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]):
            assert run.look_up([ip(1)], (ip_address(FIRST),)) == {ip(1): "gw.example.net"}
        with Nameserver(FIRST, reply=nameserver.silence) as silent:
            assert run.look_up(map(ip, range(256)), (ip_address(FIRST),)) == {}
    assert len(silent.asked) <= names.AT_ONCE + names.STRIKES_KNOWN
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names (")


def test_many_threads_look_up_side_by_side(zone: Nameserver) -> None:
    with Names() as run, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda last: run.look_up([ip(last)], (ip_address(FIRST),)), [1, 3, 99] * 20))
    assert found == [{ip(1): "gw.example.net"}, {ip(3): "printer.example.net"}, {}] * 20


def test_leaving_the_block_ends_questions_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run waits for no nameserver."""
    monkeypatch.setattr(names, "PATIENCE", 3600)
    arrived = threading.Event()

    def silence(question: dns.message.Message) -> None:
        arrived.set()

    with Nameserver(FIRST, reply=silence), ThreadPoolExecutor(1) as pool:
        with Names() as run:
            waiting = pool.submit(run.look_up, [ip(1)], (ip_address(FIRST),))
            assert arrived.wait(30)
        assert waiting.result(30) == {}


def test_after_the_block_there_are_no_names(zone: Nameserver) -> None:
    """Threads that scan may still want some when the run is being ended."""
    with Names() as run:
        pass
    assert run.look_up([ip(1)], (ip_address(FIRST),)) == {}


SYSTEM = """
import logging, sys
from ipaddress import ip_address
from nameserver import Nameserver
from phpipam_scan_agent.scan.names import Names
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
with Nameserver("127.53.0.3", ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]), Names() as names:
    names.look_up([ip_address("192.0.2.2")], ())
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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
    )
    assert (done.stdout, done.stderr) == (said, "")
