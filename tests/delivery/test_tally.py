from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network

from phpipam_scan_agent.delivery.tally import Tally
from phpipam_scan_agent.models import Address, Delivered, Host, Outcome, ScanResult, Subnet

UPLOADED = Delivered(uploaded=True)

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def result(
    *last: int,
    id_: int = 10,
    parts: int = 1,
    began: float = 0.0,
    ended: float = 1.5,
    error: str | None = None,
) -> ScanResult:
    """A part of a scan that found these hosts; `began` and `ended` are seconds after noon."""
    known = {
        at: Address(100 + at, ip_address(f"192.0.2.{at}"), last_seen=datetime(2026, 11, 24, 11))
        for at in (1, 2, 3)
    }
    subnet = Subnet(id_, ip_network("192.0.2.0/24"), discover=True, addresses=tuple(known.values()))
    hosts = tuple(Host(ip_address(f"192.0.2.{at}"), address=known.get(at)) for at in last)
    return ScanResult(subnet, hosts, NOON + timedelta(seconds=ended), ended - began, parts=parts, error=error)


def test_a_small_subnet_is_done_with_its_result() -> None:
    done = Tally().add(result(2, 3, 4, 5, 6), UPLOADED)
    assert done == Outcome("192.0.2.0/24", 10, up=5, known=2, seconds=1.5, uploaded=True)
    assert done.new == 3


def test_a_large_one_is_done_with_its_last_part() -> None:
    tally = Tally()
    assert tally.add(result(1, 9, parts=3), UPLOADED) is None
    assert tally.add(result(parts=3), UPLOADED) is None
    assert tally.add(result(2, parts=3), UPLOADED) == Outcome(
        "192.0.2.0/24", 10, up=3, known=2, seconds=1.5, uploaded=True
    )


def test_parts_of_several_subnets_may_come_in_any_order() -> None:
    """Also of subnets with the same network, which are two."""
    tally = Tally()
    assert tally.add(result(1, id_=10, parts=2), UPLOADED) is None
    assert tally.add(result(1, 2, id_=11, parts=2), UPLOADED) is None
    second = tally.add(result(3, id_=11, parts=2), UPLOADED)
    first = tally.add(result(id_=10, parts=2), UPLOADED)
    assert first is not None
    assert second is not None
    assert [(done.id, done.up) for done in (first, second)] == [(10, 1), (11, 3)]


def test_a_subnet_takes_from_its_first_packet_to_its_last() -> None:
    """Its parts are scanned side by side, or one after another with a gap."""
    tally = Tally()
    tally.add(result(parts=3, began=5, ended=10), UPLOADED)
    tally.add(result(parts=3, began=2, ended=4), UPLOADED)
    done = tally.add(result(parts=3, began=3, ended=9), UPLOADED)
    assert done is not None
    assert done.seconds == 8


def test_a_failed_part_fails_the_subnet_and_its_hosts_count() -> None:
    tally = Tally()
    tally.add(result(1, parts=2, error="nmap failed"), UPLOADED)
    done = tally.add(result(2, parts=2), UPLOADED)
    assert done == Outcome("192.0.2.0/24", 10, up=2, known=2, seconds=1.5, uploaded=True, error="nmap failed")


def test_a_failed_upload_fails_the_subnet_and_says_that_not_all_is_uploaded() -> None:
    tally = Tally()
    tally.add(result(1, parts=2), Delivered(error="HTTP 500"))
    done = tally.add(result(2, parts=2), UPLOADED)
    assert done is not None
    assert (done.error, done.uploaded) == ("HTTP 500", False)


def test_the_same_error_of_many_parts_is_said_once() -> None:
    tally = Tally()
    for _ in range(63):
        tally.add(result(parts=64, error="nmap failed"), Delivered(error="HTTP 500"))
    done = tally.add(result(parts=64, error="too slow"), UPLOADED)
    assert done is not None
    assert done.error == "nmap failed; too slow; HTTP 500"


def test_a_dry_run_uploads_nothing() -> None:
    done = Tally().add(result(1), Delivered())
    assert done is not None
    assert (done.uploaded, done.error) == (False, None)


def test_a_part_that_waits_for_the_next_run_is_no_failure() -> None:
    tally = Tally()
    tally.add(result(1, parts=2), Delivered(waiting=True))
    done = tally.add(result(2, parts=2), UPLOADED)
    assert done is not None
    assert (done.uploaded, done.waiting, done.error) == (False, True, None)
