"""All live hosts and no others are found, in simulated networks on the agent's segment and behind a router."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from lab.agent import run
from lab.network import Network
from stand_ins.phpipam import address, subnet

pytestmark = pytest.mark.usefixtures("lab")

SEGMENT: dict[str, Any] = {}
ROUTED: dict[str, Any] = {"address": "192.0.2.1/24", "gateway": "192.0.2.254", "quiet": 20}

LOSSY = {
    "segment 0.3 ms": (SEGMENT | {"rtt": 0.3, "loss": 5, "alive": 50}, "10.77.16.0/22"),
    "segment 150 ms": (SEGMENT | {"rtt": 150, "loss": 5, "alive": 50}, "10.77.16.0/23"),
    "routed 0.3 ms": (ROUTED | {"rtt": 0.3, "loss": 5, "alive": 50}, "10.77.16.0/24"),
    "routed 150 ms": (ROUTED | {"rtt": 150, "loss": 5, "alive": 50}, "10.77.16.0/24"),
}


@pytest.fixture(scope="module", autouse=True)
def defaults(lab: None) -> Iterator[dict[str, Future[set[str]]]]:
    """The hosts that nmap finds by its defaults in networks with loss, in parallel to other tests."""
    with ThreadPoolExecutor(len(LOSSY)) as pool:
        yield {name: pool.submit(found_by_default, *case) for name, case in LOSSY.items()}


def found_by_default(like: dict[str, Any], block: str) -> set[str]:
    with Network(**like) as network:
        listing = network.run(["nmap", "-sn", "-n", "-oG", "-", block]).stdout
    return {line.split()[1] for line in listing.splitlines() if line.endswith("Status: Up")}


@pytest.mark.parametrize(
    ("like", "block"),
    [
        pytest.param(SEGMENT | {"rtt": 0.3}, "10.77.16.0/20", id="segment"),
        pytest.param(SEGMENT | {"rtt": 20, "loss": 1}, "10.77.16.0/21", id="segment, 20 ms, 1 % loss"),
        pytest.param(SEGMENT | {"alive": 99}, "10.77.252.0/22", id="segment, full, the agent in it"),
        pytest.param(ROUTED | {"rtt": 20, "loss": 1}, "10.77.16.0/20", id="routed, 20 ms, 1 % loss"),
        pytest.param(ROUTED | {"rtt": 150, "loss": 5}, "10.77.16.0/22", id="routed, 150 ms, 5 % loss"),
    ],
)
def test_all_live_hosts_and_no_others_are_reported(like: dict[str, Any], block: str) -> None:
    with Network(**like) as network:
        live = network.live(block)
        done = run(network, [subnet(1, block)])

    assert done.found() == live
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "like",
    [{"late": 30, "lateness": 1500}, {"dozing": 30}],
    ids=["answer after 1.5 s", "every third request"],
)
def test_slow_known_hosts_are_found_among_quick_hosts(like: dict[str, Any]) -> None:
    block = "10.77.16.0/24"
    with Network(alive=20, **like) as network:
        live = network.live(block)
        done = run(
            network, [subnet(1, block)], addresses=[address(at, 1, ip) for at, ip in enumerate(live, 1)]
        )

    assert done.found() == live
    assert (done.status, done.stderr) == (0, "")


def test_hosts_of_many_small_subnets_are_reported_each_for_its_own() -> None:
    blocks = {number: f"10.77.{number}.{number % 4 * 64}/26" for number in range(1, 41)}
    with Network(alive=20) as network:
        live = {number: network.live(block) for number, block in blocks.items()}
        done = run(network, [subnet(number, block) for number, block in blocks.items()])

    assert {number: done.found(number) for number in blocks} == live
    assert sorted(report["subnet"] for report in done.reports) == sorted(blocks.values())


@pytest.mark.parametrize("name", LOSSY)
def test_no_fewer_hosts_are_found_than_by_nmaps_defaults(
    defaults: dict[str, Future[set[str]]], name: str
) -> None:
    like, block = LOSSY[name]
    with Network(**like) as network:
        live = network.live(block)
        found = run(network, [subnet(1, block)]).found()

    by_default = defaults[name].result() & live  # without the broadcast address, which nmap probes as well
    assert len(by_default) > 100
    assert found <= live
    assert found >= by_default
