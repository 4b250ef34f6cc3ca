from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from zoneinfo import ZoneInfo

from phpipam_scan_agent.delivery.outcomes import Outcomes, Upload
from phpipam_scan_agent.models import Address, Host, Outcome, ScanResult, Subnet
from phpipam_scan_agent.plan.targets import unscannable

UPLOADED = Upload("name", 1, uploaded=True)

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def result(
    *last: int,
    id_: int = 10,
    parts: int = 1,
    began: float = 0.0,
    ended: float = 1.5,
    error: str | None = None,
) -> ScanResult:
    """A part of a scan with these hosts; `began` and `ended` are seconds after noon."""
    known = {
        at: Address(100 + at, ip_address(f"192.0.2.{at}"), last_seen=datetime(2026, 11, 24, 11))
        for at in (1, 2, 3)
    }
    subnet = Subnet(id_, ip_network("192.0.2.0/24"), discover=True, addresses=tuple(known.values()))
    hosts = tuple(Host(ip_address(f"192.0.2.{at}"), address=known.get(at)) for at in last)
    return ScanResult(subnet, hosts, NOON + timedelta(seconds=ended), ended - began, parts=parts, error=error)


def tallied(*parts: tuple[ScanResult, Upload]) -> list[Outcome]:
    """The outcomes after these results, each with its report and upload."""
    outcomes = Outcomes()
    for at, (each, ended) in enumerate(parts):
        upload = ended._replace(name=str(at))
        outcomes.expect(each, [upload])
        assert outcomes.settle(upload)
    return outcomes.finished()


def test_a_small_subnet_is_done_with_its_result() -> None:
    (done,) = tallied((result(2, 3, 4, 5, 6), UPLOADED))
    assert done == Outcome("192.0.2.0/24", 10, up=5, known=2, seconds=1.5, uploaded=True)
    assert done.new == 3


def test_a_large_subnet_is_done_with_its_last_part() -> None:
    parts = [(result(1, 9, parts=3), UPLOADED), (result(parts=3), UPLOADED), (result(2, parts=3), UPLOADED)]
    assert tallied(*parts[:2]) == []
    assert tallied(*parts) == [Outcome("192.0.2.0/24", 10, up=3, known=2, seconds=1.5, uploaded=True)]


def test_an_outcome_is_returned_once() -> None:
    outcomes = Outcomes()
    outcomes.expect(result(1), [])
    assert len(outcomes.finished()) == 1
    assert outcomes.finished() == []


def test_a_subnet_is_done_when_all_its_uploads_have_ended() -> None:
    outcomes = Outcomes()
    outcomes.expect(result(1), [Upload("one", 1), Upload("two", 1)])
    assert outcomes.settle(Upload("one", 1, uploaded=True))
    assert outcomes.finished() == []
    assert not outcomes.settle(Upload("another", 1, uploaded=True))
    assert outcomes.settle(Upload("two", 1, uploaded=True))
    assert [done.uploaded for done in outcomes.finished()] == [True]


def test_a_merged_report_counts_for_the_earlier_upload_too() -> None:
    outcomes = Outcomes()
    outcomes.expect(result(1, id_=10, parts=2), [Upload("name", 1)])
    outcomes.expect(result(2, id_=10, parts=2), [Upload("name", 2)])
    outcomes.settle(Upload("name", 1, uploaded=True))
    assert outcomes.finished() == []
    outcomes.settle(Upload("name", 2, uploaded=True))
    assert len(outcomes.finished()) == 1

    outcomes.expect(result(1, id_=10, parts=2), [Upload("name", 3)])
    outcomes.expect(result(2, id_=10, parts=2), [Upload("name", 4)])
    outcomes.settle(Upload("name", 4, uploaded=True))
    assert len(outcomes.finished()) == 1


def test_parts_of_several_subnets_may_come_in_any_order() -> None:
    """Also of two subnets with the same network."""
    done = tallied(
        (result(1, id_=10, parts=2), UPLOADED),
        (result(1, 2, id_=11, parts=2), UPLOADED),
        (result(3, id_=11, parts=2), UPLOADED),
        (result(id_=10, parts=2), UPLOADED),
    )
    assert [(each.id, each.up) for each in done] == [(11, 3), (10, 1)]


def test_the_duration_of_a_subnet_covers_all_its_parts() -> None:
    """Its parts are scanned in parallel, or one after another with a gap."""
    times = [(5, 10), (2, 4), (3, 9)]
    (done,) = tallied(*((result(parts=3, began=began, ended=ended), UPLOADED) for began, ended in times))
    assert done.seconds == 8


def test_the_duration_of_a_subnet_does_not_contain_the_hour_of_a_clock_change() -> None:
    ends = [
        datetime(2026, 10, 25, 0, 59, 55, tzinfo=timezone.utc),
        datetime(2026, 10, 25, 1, 0, 5, tzinfo=timezone.utc),
    ]
    parts = [
        result(parts=2)._replace(seen=end.astimezone(ZoneInfo("Europe/Berlin")), seconds=5) for end in ends
    ]
    (done,) = tallied(*((part, UPLOADED) for part in parts))
    assert done.seconds == 15


def test_a_status_check_without_addresses_has_one_error() -> None:
    subnet = Subnet(10, ip_network("192.0.2.0/24"), ping=True, addresses_error="HTTP 500")
    (done,) = tallied((ScanResult(subnet, (), NOON, 0.0, error=unscannable(subnet)), UPLOADED))
    assert done.error == "its known addresses cannot be checked: HTTP 500"


def test_a_failed_part_fails_the_subnet_and_its_hosts_count() -> None:
    (done,) = tallied((result(1, parts=2, error="nmap failed"), UPLOADED), (result(2, parts=2), UPLOADED))
    assert done == Outcome("192.0.2.0/24", 10, up=2, known=2, seconds=1.5, uploaded=True, error="nmap failed")


def test_a_failed_upload_fails_the_subnet() -> None:
    (done,) = tallied(
        (result(1, parts=2), Upload("name", 1, error="HTTP 500")), (result(2, parts=2), UPLOADED)
    )
    assert (done.error, done.uploaded) == ("HTTP 500", False)


def test_the_same_error_of_many_parts_is_reported_once() -> None:
    (done,) = tallied(
        *[(result(parts=64, error="nmap failed"), Upload("name", 1, error="HTTP 500"))] * 63,
        (result(parts=64, error="too slow"), UPLOADED),
    )
    assert done.error == "nmap failed; too slow; HTTP 500"


def test_without_a_report_nothing_is_uploaded() -> None:
    outcomes = Outcomes()
    outcomes.expect(result(1), [])
    (done,) = outcomes.finished()
    assert (done.uploaded, done.error) == (False, None)


def test_a_part_that_waits_for_the_next_run_is_no_failure() -> None:
    (done,) = tallied((result(1, parts=2), Upload("name", 1, waiting=True)), (result(2, parts=2), UPLOADED))
    assert (done.uploaded, done.waiting, done.error) == (False, True, None)
