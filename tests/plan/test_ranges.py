from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.models import Host
from phpipam_scan_agent.plan import ranges
from phpipam_scan_agent.plan.ranges import Ranges

PARTS = st.lists(st.builds(range, st.integers(0, 60), st.integers(0, 60)), max_size=8)
"""Parts in any order: overlapping, adjacent, empty."""

RANGES = PARTS.map(ranges.union)


def numbers(parts: Ranges | list[range]) -> set[int]:
    return {number for part in parts for number in part}


def is_tidy(found: Ranges) -> bool:
    """Sorted, not adjacent, and not empty."""
    return all(found) and all(one.stop < other.start for one, other in pairwise(found))


@given(PARTS)
def test_a_union_contains_all_parts(parts: list[range]) -> None:
    found = ranges.union(parts)
    assert numbers(found) == numbers(parts)
    assert is_tidy(found)


@given(RANGES, PARTS)
def test_without_removes_the_excluded_addresses(kept: Ranges, excluded: list[range]) -> None:
    found = ranges.without(kept, excluded)
    assert numbers(found) == numbers(kept) - numbers(excluded)
    assert is_tidy(found)


@given(RANGES)
def test_the_size_is_the_number_of_addresses(some: Ranges) -> None:
    assert ranges.size(some) == len(numbers(some))


@given(RANGES)
def test_contains_looks_into_every_part(some: Ranges) -> None:
    assert {number for number in range(-1, 62) if ranges.contains(some, number)} == numbers(some)


@given(RANGES, st.integers(1, 70))
def test_all_pieces_but_the_last_are_full_and_in_order(some: Ranges, most: int) -> None:
    pieces = list(ranges.cut(some, most))
    assert [number for piece in pieces for part in piece for number in part] == sorted(numbers(some))
    assert all(ranges.size(piece) == most for piece in pieces[:-1])
    assert all(0 < ranges.size(piece) <= most for piece in pieces)


@given(RANGES, st.integers(1, 70))
def test_a_piece_is_normalized(some: Ranges, most: int) -> None:
    assert all(is_tidy(piece) for piece in ranges.cut(some, most))


@given(RANGES, st.sampled_from(["192.0.2.0", "2001:db8::"]))
def test_lines_name_each_address_once(some: Ranges, base: str) -> None:
    first = ip_address(base)
    shifted = tuple(range(part.start + int(first), part.stop + int(first)) for part in some)
    lines = list(ranges.lines(shifted, first.version))
    networks: list[Any] = list(map(ip_network, lines))
    named = [int(ip) - int(first) for network in networks for ip in network]
    assert named == sorted(numbers(some))
    assert list(collapse_addresses(networks)) == networks, "as few lines as there can be"


def test_the_first_addresses_are_of_the_requested_version() -> None:
    assert list(ranges.lines((range(1, 2),), 4)) == ["0.0.0.1/32"]
    assert list(ranges.lines((range(1, 2),), 6)) == ["::1/128"]


@pytest.mark.parametrize(
    "network",
    [
        IPv4Network("192.0.2.0/24"),
        IPv4Network("192.0.2.7/32"),
        IPv4Network("0.0.0.0/0"),
        IPv6Network("2001:db8::/32"),
        IPv6Network("::/0"),
    ],
    ids=str,
)
def test_a_network_needs_no_more_memory_than_an_address(network: IPv4Network | IPv6Network) -> None:
    whole = ranges.of_network(network)
    middle = whole.start + network.num_addresses // 2
    assert ranges.size((whole,)) == network.num_addresses
    assert list(ranges.lines((whole,), network.version)) == [str(network)]
    assert ranges.size(ranges.without((whole,), [range(middle, middle + 1)])) == network.num_addresses - 1
    assert next(ranges.cut((whole,), 1)) == (range(whole.start, whole.start + 1),)
    assert ranges.contains((whole,), middle)


@given(st.lists(st.integers(0, 60), unique=True), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20))))
def test_items_are_picked_by_their_addresses(numbers: list[int], parts: list[tuple[int, int]]) -> None:
    both = [Host(IPv4Address(number)) for number in numbers] + [
        Host(IPv6Address(number)) for number in numbers
    ]
    some = ranges.union(range(start, start + length) for start, length in parts)
    found = list(ranges.pick(ranges.sort(both), some, 6))
    assert found == [Host(IPv6Address(number)) for number in sorted(numbers) if ranges.contains(some, number)]
