import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

import nameserver
from clock import Clock
from nameserver import Nameserver
from phpipam_scan_agent.models import IPAddress
from phpipam_scan_agent.scan import nameserver as server
from phpipam_scan_agent.scan.name_memory import NameMemory
from phpipam_scan_agent.scan.names import Names, ptr, system_nameservers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a nameserver's port 53 needs root")

OURS = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
"""Addresses that only this process uses, since the port is always 53."""

FIRST, SECOND, THIRD, NOBODY = f"{OURS}.1", f"{OURS}.2", f"{OURS}.3", f"{OURS}.4"


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the time of silent nameservers."""
    monkeypatch.setattr(server, "TIMEOUT", 0.5)
    monkeypatch.setattr(server, "MAX_PAUSE", 0.1)
    monkeypatch.setattr(server, "MAX_SILENCE", 2.0)


@pytest.fixture
def zone() -> Iterator[Nameserver]:
    records = [
        "1.2.0.192.in-addr.arpa. PTR gw.example.net.",
        "2.2.0.192.in-addr.arpa. PTR zeta.example.net.",
        "2.2.0.192.in-addr.arpa. PTR alpha.example.net.",
        # RFC 2317: a customer's part of the reverse zone is a separate zone
        "3.2.0.192.in-addr.arpa. CNAME 3.0/26.2.0.192.in-addr.arpa.",
        "3.0/26.2.0.192.in-addr.arpa. PTR printer.example.net.",
        "4.2.0.192.in-addr.arpa. TXT nothing",
        "5.2.0.192.in-addr.arpa. CNAME 5.2.0.192.in-addr.arpa.",
        r"6.2.0.192.in-addr.arpa. PTR o'brien\;x\.y\195\188.example.net.",
        "7.2.0.192.in-addr.arpa. PTR .",
        "8.2.0.192.in-addr.arpa. CNAME nowhere.example.net.",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.net.",
    ]
    with Nameserver(FIRST, records) as serving:
        yield serving


def ip(last: int) -> IPAddress:
    return ip_address(f"192.0.2.{last}")


def look_up(*ips: IPAddress, at: tuple[str, ...] = (FIRST,)) -> dict[IPAddress, str]:
    with Names(NameMemory(None)) as names:
        return names.look_up(ips, tuple(map(ip_address, at)))


def test_a_name_is_found_without_its_dot(zone: Nameserver) -> None:
    assert look_up(ip(1)) == {ip(1): "gw.example.net"}


def test_ipv6_names_are_found(zone: Nameserver) -> None:
    six = ip_address("2001:db8::1")
    assert look_up(six) == {six: "six.example.net"}


def test_a_delegated_reverse_zone_is_followed(zone: Nameserver) -> None:
    assert look_up(ip(3)) == {ip(3): "printer.example.net"}


def test_the_smallest_of_several_names_is_used(zone: Nameserver) -> None:
    assert look_up(ip(2)) == {ip(2): "alpha.example.net"}


@pytest.mark.parametrize("last", [99, 4, 7], ids=["no such name", "no PTR", "the root"])
def test_a_missing_name_is_no_error(last: int, zone: Nameserver, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert look_up(ip(last)) == {}
    assert caplog.messages == []


@pytest.mark.parametrize("last", [5, 8], ids=["to itself", "to nowhere"])
def test_a_dangling_alias_gives_no_name(last: int, zone: Nameserver) -> None:
    assert look_up(ip(last), ip(1)) == {ip(1): "gw.example.net"}


def test_a_hostile_name_is_escaped_to_one_line_of_ascii(zone: Nameserver) -> None:
    assert look_up(ip(6)) == {ip(6): r"o'brien\;x\.y\195\188.example.net"}


def test_many_addresses_are_looked_up_in_one_call(zone: Nameserver) -> None:
    found = look_up(*map(ip, range(256)))
    assert {1, 2, 3} <= {int(str(found_ip).rpartition(".")[2]) for found_ip in found}
    assert set(zone.asked) >= {f"{last}.2.0.192.in-addr.arpa." for last in range(256)}


def test_without_addresses_no_query_is_sent(zone: Nameserver) -> None:
    assert look_up() == {}
    assert zone.asked == []


@pytest.mark.parametrize(
    "reply", [nameserver.silence, nameserver.refusal, nameserver.failure, nameserver.garbage, nameserver.half]
)
def test_a_failing_nameserver_is_named_once(
    reply: nameserver.Reply, caplog: pytest.LogCaptureFixture
) -> None:
    with Nameserver(FIRST, reply=reply) as bad, caplog.at_level(logging.INFO):
        assert look_up(*map(ip, range(9))) == {}
    assert bad.asked
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names ")
    assert "no answer within 0.5 s" in warning or reply is not nameserver.silence
    assert len(warning.splitlines()) == 1


def test_an_unreachable_nameserver_gives_no_names(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert look_up(*map(ip, range(9)), at=(NOBODY,)) == {}
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {NOBODY} gives no names (Connection refused)")


@pytest.mark.parametrize(
    "reply", [nameserver.silence, nameserver.refusal, nameserver.failure, nameserver.garbage, nameserver.half]
)
def test_the_second_nameserver_is_asked_if_the_first_fails(reply: nameserver.Reply) -> None:
    records = ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]
    with Nameserver(FIRST, reply=reply) as first, Nameserver(SECOND, records):
        assert look_up(ip(1), at=(FIRST, SECOND)) == {ip(1): "gw.example.net"}
    assert first.asked


def test_the_second_nameserver_is_not_asked_if_the_first_answers(zone: Nameserver) -> None:
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
    assert [each.asked for each in (first, second, third)] == [["1.2.0.192.in-addr.arpa."]] * 3


def test_a_silent_nameserver_is_skipped_for_the_rest_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    addresses = [ip_address("192.0.2.0") + offset for offset in range(3 * server.CONCURRENT)]
    records = [f"{address.reverse_pointer}. PTR some.example.net." for address in addresses]
    at = (ip_address(FIRST), ip_address(SECOND))
    with (
        Nameserver(FIRST, reply=nameserver.silence) as silent,
        Nameserver(SECOND, records),
        Names(NameMemory(None)) as run,
    ):
        assert run.look_up(addresses, at) == dict.fromkeys(addresses, "some.example.net")
        asked = len(silent.asked)
        assert run.look_up(addresses, at) == dict.fromkeys(addresses, "some.example.net")
        assert len(silent.asked) == asked
    # The concurrent first queries, and a second try for each failure before the last tolerated one.
    assert 0 < asked <= server.CONCURRENT + server.MAX_FAILURES
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names (")


def test_lost_answers_are_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    """The first query for every second name is not answered: many failures, but not consecutive."""
    batch = server.MAX_FAILURES_KNOWN - 1
    seen: set[str] = set()

    def lossy(question: dns.message.Message) -> bytes | None:
        name = str(question.question[0].name)
        if int(name.partition(".")[0]) % 2 and name not in seen:
            seen.add(name)
            return None
        return nameserver.always("some.example.net.")(question)

    with Nameserver(FIRST, reply=lossy), Names(NameMemory(None)) as run:
        for start in (0, batch, 2 * batch):
            few = [ip(last) for last in range(start, start + batch)]
            assert run.look_up(few, (ip_address(FIRST),)) == dict.fromkeys(few, "some.example.net")
    assert len(seen) > server.MAX_FAILURES_KNOWN
    assert caplog.messages == []


def test_a_nameserver_that_fails_during_the_run_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    with Names(NameMemory(None)) as run:
        with Nameserver(FIRST, ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]):
            assert run.look_up([ip(1)], (ip_address(FIRST),)) == {ip(1): "gw.example.net"}
        with Nameserver(FIRST, reply=nameserver.silence) as silent:
            assert run.look_up(map(ip, range(2, 256)), (ip_address(FIRST),)) == {}
    assert len(silent.asked) <= 2 * server.CONCURRENT
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names (")


# Reverse zones and limits


def address_of(zone: int, last: int) -> IPAddress:
    return ip_address(f"192.0.{zone}.{last}")


@pytest.mark.parametrize("refuse", [nameserver.refusal, nameserver.failure])
def test_a_refused_reverse_zone_does_not_affect_other_zones(
    refuse: nameserver.Reply, caplog: pytest.LogCaptureFixture
) -> None:
    def reply(question: dns.message.Message) -> bytes | None:
        good = str(question.question[0].name).endswith(".2.0.192.in-addr.arpa.")
        return (nameserver.always("some.example.net.") if good else refuse)(question)

    good, bad = [address_of(2, last) for last in range(40)], [address_of(9, last) for last in range(200)]
    with Nameserver(FIRST, reply=reply) as asked, Names(NameMemory(None)) as run:
        assert run.look_up([*bad[:100], *good, *bad[100:]], (ip_address(FIRST),)) == dict.fromkeys(
            good, "some.example.net"
        )
        assert sum(".9.0.192" in name for name in asked.asked) <= server.CONCURRENT
    (warning,) = caplog.messages
    assert warning.startswith(f"nameserver {FIRST} gives no names of 9.0.192.in-addr.arpa (")


@pytest.mark.parametrize("limited", [nameserver.refusal, nameserver.silence])
def test_a_rate_limiting_nameserver_is_asked_more_slowly(
    limited: nameserver.Reply, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like Pi-hole: it answers 60 queries within half a second, and refuses all others."""
    monkeypatch.setattr(server, "MAX_SILENCE", 60.0)  # so that a loaded machine does not count as silence
    began, count = time.monotonic(), 0

    def reply(question: dns.message.Message) -> bytes | None:
        nonlocal began, count
        if time.monotonic() - began > 0.5:
            began, count = time.monotonic(), 0
        count += 1
        return (nameserver.always("some.example.net.") if count <= 60 else limited)(question)

    addresses = [ip(last) for last in range(250)]
    with Nameserver(FIRST, reply=reply), Names(NameMemory(None)) as run:
        assert run.look_up(addresses, (ip_address(FIRST),)) == dict.fromkeys(addresses, "some.example.net")
    assert caplog.messages == []


# Forged answers


def spoiled(change: Callable[[dns.message.Message], object]) -> nameserver.Reply:
    """An invalid answer with a name that must not be used."""

    def reply(question: dns.message.Message) -> bytes:
        answer = dns.message.from_wire(nameserver.always("evil.example.net.")(question) or b"")
        change(answer)
        return answer.to_wire()

    return reply


def of_another_id(answer: dns.message.Message) -> None:
    answer.id ^= 1


def of_another_question(answer: dns.message.Message) -> None:
    answer.question[0].name = dns.name.from_text("9.9.0.192.in-addr.arpa.")


def of_no_answer(answer: dns.message.Message) -> None:
    answer.flags &= ~dns.flags.QR


@pytest.mark.parametrize("change", [of_another_id, of_another_question, of_no_answer])
def test_an_invalid_datagram_is_ignored(
    change: Callable[[dns.message.Message], object], caplog: pytest.LogCaptureFixture
) -> None:
    good = nameserver.always("gw.example.net.")
    with Nameserver(FIRST, reply=good, before=[spoiled(change)] * 3):
        assert look_up(ip(1), ip(2), ip(3)) == {ip(last): "gw.example.net" for last in (1, 2, 3)}
    assert caplog.messages == []


def test_a_defect_costs_one_name(zone: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = server.Nameserver.ask

    async def defective(self: server.Nameserver, question: dns.message.Message, zone: str) -> object:
        assert not str(question.question[0].name).startswith("2.")
        return await ask(self, question, zone)

    monkeypatch.setattr(server.Nameserver, "ask", defective)
    assert look_up(ip(1), ip(2)) == {ip(1): "gw.example.net"}


def test_a_datagram_from_another_source_is_ignored() -> None:
    evil, good = nameserver.always("evil.example.net."), nameserver.always("gw.example.net.")
    with Nameserver(FIRST, reply=good, before=[evil], source=SECOND):
        assert look_up(ip(1)) == {ip(1): "gw.example.net"}


def of_another_name(answer: dns.message.Message) -> None:
    answer.answer[0].name = dns.name.from_text("9.2.0.192.in-addr.arpa.")


@pytest.mark.parametrize("change", [of_another_name])
def test_a_record_of_another_question_is_ignored(
    change: Callable[[dns.message.Message], object],
) -> None:
    with Nameserver(FIRST, reply=spoiled(change)):
        assert look_up(ip(1)) == {}


def test_records_of_other_classes_are_ignored() -> None:
    question = dns.message.make_query("1.2.0.192.in-addr.arpa.", "PTR")
    answer = dns.message.make_response(question)
    record = dns.rrset.from_text("1.2.0.192.in-addr.arpa.", 60, "CH", "PTR", "evil.example.net.")
    answer.answer.append(record)
    assert ptr(answer)[0] is None


# Cached names


def test_a_name_is_asked_for_again_only_after_its_ttl(zone: Nameserver, tmp_path: Path, clock: Clock) -> None:
    def run() -> tuple[dict[IPAddress, str], int]:
        zone.asked.clear()
        with Names(NameMemory(tmp_path / "names.json", clock)) as names:
            return names.look_up([ip(1), ip(3), ip(99)], (ip_address(FIRST),)), len(zone.asked)

    found = {ip(1): "gw.example.net", ip(3): "printer.example.net"}
    assert run() == (found, 3)
    clock.now += 4
    assert run() == (found, 0)
    clock.now += 61
    assert run()[0] == found
    assert {"1.2.0.192.in-addr.arpa.", "3.2.0.192.in-addr.arpa."} <= set(zone.asked)


def test_other_nameservers_do_not_share_cached_names(zone: Nameserver, tmp_path: Path) -> None:
    with Nameserver(SECOND, ["1.2.0.192.in-addr.arpa. PTR other.example.net."]):
        for at, name in ((FIRST, "gw.example.net"), (SECOND, "other.example.net")):
            with Names(NameMemory(tmp_path / "names.json")) as names:
                assert names.look_up([ip(1)], (ip_address(at),)) == {ip(1): name}


def test_a_missing_answer_is_not_cached(tmp_path: Path) -> None:
    with Nameserver(FIRST, reply=nameserver.failure), Names(NameMemory(tmp_path / "names.json")) as names:
        names.look_up([ip(1)], (ip_address(FIRST),))
    assert not (tmp_path / "names.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2, "answers": {}}',
        b'{"format": 1, "answers": {"192.0.2.1": [1, 2]}}',
        b'{"format": 1, "answers": {"192.0.2.1": ["x", null]}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_damaged_file_of_names_is_ignored(content: bytes, zone: Nameserver, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_bytes(content)
    with Names(NameMemory(tmp_path / "names.json")) as names:
        assert names.look_up([ip(1)], (ip_address(FIRST),)) == {ip(1): "gw.example.net"}


def test_names_are_cached_for_a_day_and_their_absence_for_an_hour_at_most(clock: Clock) -> None:
    memory = NameMemory(None, clock)
    memory.set((FIRST,), ip(1), "gw", 10**9)
    memory.set((FIRST,), ip(2), None, 10**9)
    clock.now += 3601
    assert (memory.get((FIRST,), ip(1)), memory.get((FIRST,), ip(2))) == ((True, "gw"), (False, None))
    clock.now += 86400
    assert memory.get((FIRST,), ip(1)) == (False, None)


# Parallel use and the end


def test_many_threads_look_up_in_parallel(zone: Nameserver) -> None:
    with Names(NameMemory(None)) as run, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda last: run.look_up([ip(last)], (ip_address(FIRST),)), [1, 3, 99] * 20))
    assert found == [{ip(1): "gw.example.net"}, {ip(3): "printer.example.net"}, {}] * 20


def test_leaving_the_block_ends_running_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run does not wait for a nameserver."""
    monkeypatch.setattr(server, "TIMEOUT", 3600)
    arrived = threading.Event()

    def silence(question: dns.message.Message) -> None:
        arrived.set()

    with Nameserver(FIRST, reply=silence), ThreadPoolExecutor(1) as pool:
        with Names(NameMemory(None)) as run:
            waiting = pool.submit(run.look_up, [ip(1)], (ip_address(FIRST),))
            assert arrived.wait(30)
        assert waiting.result(30) == {}


def test_after_the_block_there_are_no_names(zone: Nameserver) -> None:
    """Scanning threads may still ask for names at the end of the run."""
    with Names(NameMemory(None)) as run:
        pass
    assert run.look_up([ip(1)], (ip_address(FIRST),)) == {}


@pytest.mark.parametrize(
    ("lines", "found", "wrong"),
    [
        (b"nameserver 192.0.2.1\nsearch example.org\n", ["192.0.2.1"], []),
        (b"nameserver 192.0.2.1, \nnameserver 192.0.2.2\n", ["192.0.2.2"], [1]),
        (
            b"nameserver\nnameserver dns.example.org\n\tnameserver  fe80::1%eth0 # x\n",
            ["fe80::1%eth0"],
            [1, 2],
        ),
        ("; b\u00fcro\nnameserver b\u00fcro\nnameserver ::1\r\n".encode("latin-1"), ["::1"], [2]),
        (b"nameserver 192.0.2.1\n" * 9, ["192.0.2.1"], []),
        (
            b"".join(b"nameserver 192.0.2.%d\n" % last for last in range(1, 6)),
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
            [],
        ),
        (b"\xff\x00options x\n", [], []),
    ],
)
def test_an_invalid_line_of_resolv_conf_is_ignored(
    lines: bytes, found: list[str], wrong: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "resolv.conf").write_bytes(lines)
    assert system_nameservers(tmp_path / "resolv.conf") == tuple(found)
    assert [int(message.split("line ")[1].split()[0]) for message in caplog.messages] == wrong


SYSTEM = """
import logging, sys
from ipaddress import ip_address
from nameserver import Nameserver
from phpipam_scan_agent.scan.name_memory import NameMemory
from phpipam_scan_agent.scan.names import Names
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
with Nameserver("127.53.0.3", ["1.2.0.192.in-addr.arpa. PTR gw.example.net."]), Names(NameMemory(None)) as names:
    names.look_up([ip_address("192.0.2.2")], ())
    print(names.look_up([ip_address("192.0.2.1")], ()))
"""


@pytest.mark.parametrize(
    ("resolv_conf", "said"),
    [
        ("nameserver 127.53.0.3\nsearch example.org\n", "{IPv4Address('192.0.2.1'): 'gw.example.net'}\n"),
        ("", "WARNING no host names: /etc/resolv.conf has no nameserver\n{}\n"),
        ("# none\n", "WARNING no host names: /etc/resolv.conf has no nameserver\n{}\n"),
    ],
    ids=["one nameserver", "empty", "none"],
)
def test_the_systems_nameservers_are_the_default(resolv_conf: str, said: str, tmp_path: Path) -> None:
    """In namespaces with another /etc/resolv.conf and without a route to the real nameservers."""
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
