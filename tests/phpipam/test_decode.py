import json
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.errors import PhpIpamError
from phpipam_scan_agent.models import Address, Subnet
from phpipam_scan_agent.phpipam import decode
from phpipam_scan_agent.phpipam.decode import Row
from thorough import thorough

SUBNET: dict[str, object] = {
    "id": 10,
    "subnet": "192.0.2.0",
    "mask": "24",
    "discoverSubnet": 1,
    "resolveDNS": 0,
}

FIELDS = sorted(decode.SUBNET_FIELDS | decode.ADDRESS_FIELDS | {"code", "namesrv1", "nested"})

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["1", "10", "192.0.2.0", "24", "2001:db8::", "192.0.2.1; ;::1", 0, 1, 24]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
        | st.dictionaries(st.text(max_size=5), inner, max_size=1)
    ),
    max_leaves=8,
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PhpIpamError) as refused:
        call()
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    return said


def subnet(row: Row) -> Subnet:
    """The subnet of this row. Raise PhpIpamError if the row is not valid."""
    made, failed = decode.subnets([row])
    if failed:
        raise PhpIpamError(failed[0].error)
    return made[0]


# Rows


def test_only_the_fields_asked_for_are_kept() -> None:
    data = [{"id": 2, "code": "secret", "name": "agent"}, {"ip": "192.0.2.1"}]
    assert decode.rows(data, frozenset(("id", "ip"))) == [{"id": 2}, {"ip": "192.0.2.1"}]


def test_a_single_object_is_a_list_of_one() -> None:
    assert decode.rows({"id": 2}, frozenset(("id",))) == [{"id": 2}]


def test_an_empty_list_has_no_rows() -> None:
    assert decode.rows([], frozenset(("id",))) == []


@pytest.mark.parametrize("data", [None, True, 1, "text", [[]], ["text"], [{"id": 1}, None], [1]])
def test_data_without_rows_is_refused(data: object) -> None:
    said = refusal(lambda: decode.rows(data, frozenset(("id",))))
    assert said == "phpIPAM's answer is not a list of objects"


# The agent


def test_the_agents_code_must_match_exactly() -> None:
    found: list[Row] = [{"id": 7, "code": "000123"}, {"id": "8", "code": "123"}, {"id": 9, "code": "0123"}]
    assert decode.agent(found, "123")["id"] == 8
    assert decode.agent(found, "000123")["id"] == 7


def test_a_numeric_code_matches_its_text() -> None:
    assert decode.agent([{"id": 7, "name": "a", "code": 123}], "123") == {"id": 7, "name": "a"}


@pytest.mark.parametrize(
    "found",
    [
        [],
        [{"id": 7, "code": "000123"}],
        [{"id": 7, "code": "123"}, {"id": 8, "code": "123"}],
        [{"id": 0, "code": "123"}],
        [{"id": None, "code": "123"}],
        [{"code": "123"}],
        [{"id": 7}],
        [{"id": 7, "code": None}],
    ],
)
def test_no_agent_or_several_agents_are_refused(found: list[Row]) -> None:
    said = refusal(lambda: decode.agent(found, "123"))
    assert "Administration → Scan agents" in said
    assert "123" not in said


# Subnets


@pytest.mark.parametrize(
    "row",
    [
        SUBNET,
        {**SUBNET, "id": "10", "mask": 24, "discoverSubnet": "1", "resolveDNS": "0"},
        {**SUBNET, "resolveDNS": None, "isFull": 1, "custom_fields": {"a": None}, "description": "x\0\n"},
    ],
    ids=["ints", "strings", "null and more"],
)
def test_numbers_and_their_text_give_the_same_subnet(row: Row) -> None:
    assert subnet(row) == Subnet(
        id=10, network=ip_network("192.0.2.0/24"), discover=True, resolve_names=False
    )


def test_an_ipv6_subnet_is_read() -> None:
    made = subnet({**SUBNET, "subnet": "2001:db8::", "mask": "64"})
    assert made.network == ip_network("2001:db8::/64")


def test_embedded_nameservers_are_used() -> None:
    row = {
        **SUBNET,
        "resolveDNS": 1,
        "nameserverId": "2",
        "nameservers": {"namesrv1": "192.0.2.53;ns.example"},
    }
    assert subnet(row).nameservers == (ip_address("192.0.2.53"),)
    assert not decode.lacks_nameservers(row)


@pytest.mark.parametrize("embedded", [None, [], "192.0.2.53", 0, {}, {"namesrv1": None}])
def test_nameservers_are_looked_up_by_id_if_not_embedded(embedded: object) -> None:
    row = {**SUBNET, "resolveDNS": 1, "nameserverId": 3, "nameservers": embedded}
    assert decode.lacks_nameservers(row)
    whole = decode.with_nameservers(row, {3: {"id": 3, "namesrv1": "192.0.2.53"}})
    assert subnet(whole).nameservers == (ip_address("192.0.2.53"),)


@pytest.mark.parametrize(
    "change", [{"nameserverId": None}, {"nameserverId": "0"}, {"resolveDNS": 0}], ids=str
)
def test_a_subnet_without_nameservers_needs_no_lookup(change: dict[str, object]) -> None:
    assert not decode.lacks_nameservers({**SUBNET, "resolveDNS": 1, "nameserverId": 3, **change})


def test_assigned_subnets_have_their_direct_children() -> None:
    rows: list[Row] = [
        {**SUBNET, "scanAgent": "2", "masterSubnetId": 0},
        {"id": 11, "subnet": "192.0.2.0", "mask": 26, "scanAgent": 3, "masterSubnetId": "10"},
        {"id": 12, "subnet": "192.0.2.0", "mask": 28, "scanAgent": 2, "masterSubnetId": 11},
        {"id": 13, "subnet": "folder", "mask": "", "isFolder": 1, "masterSubnetId": 10, "scanAgent": None},
    ]
    outer, inner = decode.assigned(rows, 2)
    assert (outer["id"], outer["nested"]) == (10, ["192.0.2.0/26"])
    assert (inner["id"], inner["nested"]) == (12, [])


def test_nested_subnets_of_this_agent_and_of_others_add_up() -> None:
    (outer, _), _ = decode.subnets(
        [
            {**SUBNET, "nested": ["192.0.2.0/30", "no network", 5, "192.0.2.9/30"]},
            {**SUBNET, "id": 11, "subnet": "192.0.2.64", "mask": 26},
        ]
    )
    assert list(map(str, outer.nested)) == ["192.0.2.0/30", "192.0.2.8/30", "192.0.2.64/26"]


@pytest.mark.parametrize("value", [1, "1"])
def test_a_flag_is_set_by_1(value: object) -> None:
    assert decode.flag({"discoverSubnet": value}, "discoverSubnet")


@pytest.mark.parametrize("value", [0, "0", None, "", "yes", 2, "01 ", -1, 1.5, [], {}, "1\n"])
def test_a_flag_is_not_set_by_other_values(value: object) -> None:
    assert not decode.flag({"discoverSubnet": value}, "discoverSubnet")
    assert not decode.flag({}, "discoverSubnet")


@pytest.mark.parametrize(
    "change",
    [
        {"subnet": None},
        {"subnet": ""},
        {"subnet": "printers"},
        {"subnet": "192.0.2"},
        {"subnet": "192.0.2.77"},
        {"subnet": "192.0.2.0/24"},
        {"subnet": "192.0.2.0 --script=evil"},
        {"subnet": "-iL/etc/passwd"},
        {"subnet": 3221225984},
        {"subnet": ["192.0.2.0"]},
        {"mask": None},
        {"mask": ""},
        {"mask": "33"},
        {"mask": "-1"},
        {"mask": "24\n"},
        {"mask": "24 192.0.3.0"},
        {"mask": {}},
    ],
    ids=str,
)
def test_an_invalid_network_is_refused(change: dict[str, object]) -> None:
    said = refusal(lambda: subnet({**SUBNET, **change}))
    assert said.startswith("is not a network (")
    assert said.endswith("; correct it in phpIPAM")
    assert len(said) < 200


@pytest.mark.parametrize("id_", [0, "0", None, "", "ten", "1 OR 1", [], {}, 1.5])
def test_a_subnet_without_an_id_is_refused(id_: object) -> None:
    """For phpIPAM the id 0 means all subnets."""
    said = refusal(lambda: subnet({**SUBNET, "id": id_}))
    assert said == f"has the id {id_}, which is not valid; check it in phpIPAM"


@pytest.mark.parametrize("other", [{}, {"subnet": "192.0.3.0"}, {"id": "10"}])
def test_a_second_subnet_with_the_same_id_is_refused(other: dict[str, object]) -> None:
    """The addresses and the results are found by the id."""
    found, (failure,) = decode.subnets([{**SUBNET, "id": 10}, {**SUBNET, "id": 10, **other}])
    assert [each.id for each in found] == [10]
    assert failure.error == "has the id 10 of another subnet; check it in phpIPAM"


def test_a_label_is_short_for_any_row() -> None:
    assert decode.label(SUBNET) == "192.0.2.0/24"
    assert decode.label({}) == "None/None"
    assert len(decode.label({"subnet": "x" * 1000, "mask": "y" * 1000})) == 80


# Addresses and nameservers


def test_numbers_and_their_text_give_the_same_addresses() -> None:
    found: list[Row] = [
        {"id": 101, "ip": "192.0.2.1"},
        {"id": "102", "ip": "192.0.2.2"},
        {"id": 103, "ip": "2001:db8::1"},
    ]
    assert decode.addresses(found) == (
        Address(101, ip_address("192.0.2.1")),
        Address(102, ip_address("192.0.2.2")),
        Address(103, ip_address("2001:db8::1")),
    )


@pytest.mark.parametrize(
    ("typed", "mac"),
    [
        ("00:16:3e:00:00:01", "00:16:3E:00:00:01"),
        ("00-16-3E-00-00-01", "00:16:3E:00:00:01"),
        ("0016.3e00.0001", "00:16:3E:00:00:01"),
        ("00163E000001", "00:16:3E:00:00:01"),
        (" 00 16 3e 00 00 01 ", "00:16:3E:00:00:01"),
        ("0:16:3e:0:0:1", None),
        ("unknown", None),
        ("", None),
        (None, None),
        (16, None),
    ],
)
def test_a_mac_address_is_read_in_any_notation(typed: object, mac: str | None) -> None:
    (found,) = decode.addresses([{"id": 1, "ip": "192.0.2.1", "mac": typed}])
    assert found.mac == mac


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("gw", "gw"),
        (" web01.example.org ", "web01.example.org"),
        ("<b>\n", "<b>"),
        ("", None),
        (" ", None),
        (None, None),
    ],
)
def test_a_host_name_is_kept_unchanged(typed: object, name: str | None) -> None:
    (found,) = decode.addresses([{"id": 1, "ip": "192.0.2.1", "hostname": typed}])
    assert found.hostname == name


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("2026-11-24 12:00:00", datetime(2026, 11, 24, 12)),
        ("1970-01-01 00:00:01", None),
        ("0000-00-00 00:00:00", None),
        ("2026-11-24 12:00:00+01:00", None),
        ("yesterday", None),
        (None, None),
        (1, None),
    ],
)
def test_invalid_last_seen_times_mean_never(said: object, seen: datetime | None) -> None:
    (found,) = decode.addresses([{"id": 1, "ip": "192.0.2.1", "lastSeen": said}])
    assert found.last_seen == seen


def test_invalid_addresses_are_left_out() -> None:
    odd: list[Row] = [
        {},
        {"id": 1},
        {"ip": "192.0.2.1"},
        {"id": 0, "ip": "192.0.2.1"},
        {"id": None, "ip": "192.0.2.1"},
        {"id": 1, "ip": None},
        {"id": 1, "ip": ""},
        {"id": 1, "ip": "192.0.2.256"},
        {"id": 1, "ip": 3221225985},
        {"id": 1, "ip": ["192.0.2.1"]},
        {"id": 1, "ip": "192.0.2.1/24"},
    ]
    right: Row = {"id": 7, "ip": "192.0.2.7"}
    assert decode.addresses([*odd, right]) == (Address(7, ip_address("192.0.2.7")),)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("192.0.2.53", ["192.0.2.53"]),
        ("192.0.2.53;192.0.2.54", ["192.0.2.53", "192.0.2.54"]),
        (" 192.0.2.53 ; ;\t2001:db8::53;", ["192.0.2.53", "2001:db8::53"]),
        ("192.0.2.54;192.0.2.53;192.0.2.54", ["192.0.2.54", "192.0.2.53"]),
        ("ns1.example;192.0.2.53;--dns-servers;$(id)", ["192.0.2.53"]),
        ("192.0.2.53,192.0.2.54", []),
        ("192.0.2.53:5353", []),
        ("", []),
        (None, []),
        (53, []),
        ([], []),
        ({"a": "192.0.2.53"}, []),
    ],
)
def test_nameservers_are_the_valid_addresses_of_the_field(typed: object, found: list[str]) -> None:
    assert [str(ip) for ip in decode.nameservers({"namesrv1": typed})] == found


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        ("007", 7),
        (0, 0),
        ("", 0),
        (None, 0),
        (-7, 0),
        ("-7", 0),
        (True, 0),
        ("9" * 20, 0),
        ("7.0", 0),
        (7.5, 0),
        ("\u0667", 0),
    ],
)
def test_a_number_is_an_int_or_its_decimal_text(value: object, number: int) -> None:
    assert decode.number(value) == number


# Any JSON


@thorough
@given(data=JSON)
def test_any_json_gives_values_or_a_refusal(data: object) -> None:
    try:
        rows = decode.rows(json.loads(json.dumps(data)), frozenset(FIELDS))
    except PhpIpamError:
        return
    assert all(isinstance(address, Address) and address.id for address in decode.addresses(rows))
    for row in rows:
        decode.label(row)
        for nameserver in decode.nameservers(row):
            assert ip_address(str(nameserver)) == nameserver
        try:
            made = subnet(row)
        except PhpIpamError:
            continue
        assert made.id
        assert ip_network(str(made.network)) == made.network


@thorough
@given(value=JSON, field=st.sampled_from(sorted(SUBNET)))
def test_any_value_in_a_valid_row_gives_a_subnet_or_a_refusal(value: object, field: str) -> None:
    try:
        made = subnet({**SUBNET, field: value})
    except PhpIpamError:
        return
    assert made.id
    assert ip_network(str(made.network)) == made.network


@thorough
@given(data=JSON)
def test_any_json_gives_a_list_of_assigned_subnets(data: object) -> None:
    try:
        rows = decode.rows(data, decode.SUBNET_FIELDS)
    except PhpIpamError:
        return
    ours = decode.assigned(rows, 1)
    subnets, failed = decode.subnets(ours)
    assert len(subnets) + len(failed) == len(ours) <= len(rows)
