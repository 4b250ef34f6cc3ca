"""The simulated networks of the other tests have the properties that these expect."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lab.network import TAP, Counters, Hosts, LeadsOutError, Namespace, Network, require

pytestmark = pytest.mark.usefixtures("_lab")


@pytest.fixture(scope="module")
def _lab() -> None:
    require()


def scan(net: Namespace, *arguments: str) -> dict[str, str]:
    """Return nmap's reason for each address that is up."""
    done = net.run(["nmap", "-sn", "-n", "-oG", "/dev/null", "-oX", "-", *arguments], timeout=60)
    assert done.returncode == 0, done.stderr
    pattern = r'state="up" reason="([^"]+)" reason_ttl="(\d+)"/>\s*<address addr="([^"]+)"'
    return {address: f"{reason}/{ttl}" for reason, ttl, address in re.findall(pattern, done.stdout)}


def names() -> list[str]:
    listing = subprocess.run(["ip", "netns", "list"], check=True, stdout=subprocess.PIPE, text=True)
    return listing.stdout.split()


def test_all_live_hosts_of_the_segment_and_no_others_are_found() -> None:
    with Network(alive=20) as net:
        found = scan(net, "10.77.16.0/25")
        counters = net.counters()
    assert set(found) == net.live("10.77.16.0/25", ends=True)
    assert 15 <= len(found) <= 40
    assert set(found.values()) == {"arp-response/0"}
    assert counters.arp == counters.packets >= 128


def test_hosts_show_their_own_hardware_address() -> None:
    with Network() as net:
        address = min(net.live("10.77.16.0/24"))
        done = net.run(["nmap", "-sn", "-n", address])
    assert Network.mac(address) in done.stdout


def test_behind_a_gateway_quiet_hosts_answer_tcp_only() -> None:
    with Network("192.0.2.1/24", gateway="192.0.2.254", alive=40, quiet=50, serving=50) as net:
        found = scan(net, "10.77.16.0/26")
        counters = net.counters()
    assert set(found) == net.live("10.77.16.0/26", ends=True)
    assert set(found.values()) == {"echo-reply/60", "reset/60", "syn-ack/60"}
    assert min(counters.echo, counters.timestamp, counters.tcp) > 0


def test_a_firewall_with_resets_makes_every_address_appear_up() -> None:
    with Network("192.0.2.1/24", gateway="192.0.2.254", alive=20, resets=True) as net:
        found = scan(net, "10.77.16.0/26")
        honest = scan(net, "-PE", "10.77.16.0/26")
    assert len(found) == 64
    assert {address for address, reason in found.items() if reason == "echo-reply/60"} == set(honest)
    assert set(found.values()) == {"echo-reply/60", "reset/63"}
    assert set(honest) == net.live("10.77.16.0/26", ends=True)


def test_packet_loss_repeats_after_the_counters_were_read() -> None:
    with Network(alive=100, loss=40, rtt=1) as net:
        once = ["--max-retries", "0", "--min-rtt-timeout", "500ms", "10.77.16.0/26"]
        first, counted = scan(net, *once), net.counters()
        second, again = scan(net, *once), net.counters()
    assert first == second
    assert counted.lost == again.lost == 64 - len(first)
    assert 10 <= counted.lost <= 42


def test_a_seed_determines_the_live_hosts() -> None:
    one, other = Network(seed=1, alive=50), Network(seed=2, alive=50)
    block = "10.77.0.0/20"
    assert one.live(block) == Network(seed=1, alive=50).live(block) != other.live(block)
    assert 1900 < len(one.live(block)) < 2200
    assert one.live("10.77.0.0/24") < one.live(block)


def test_network_and_broadcast_addresses_are_live_only_if_configured() -> None:
    net = Network(alive=100)
    assert len(net.live("10.77.16.0/24")) == 254
    assert len(net.live("10.77.16.0/24", ends=True)) == 256
    assert len(net.live("10.77.16.0/31")) == 2


def test_the_scanner_itself_is_live() -> None:
    assert Network("10.77.16.9/24", alive=0).live("10.77.16.0/24") == {"10.77.16.9"}


def test_the_peak_is_the_busiest_second() -> None:
    sender = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for pause in (0, 1.5):\n"
        "    time.sleep(pause)\n"
        "    for port in range(300 if pause else 700):\n"
        "        s.sendto(b'', ('198.51.100.1', 1024 + port))\n"
    )
    with Network("192.0.2.1/24", gateway="192.0.2.254") as net:
        known = ["lladdr", Network.mac("192.0.2.254"), "dev", TAP, "nud", "permanent"]
        net.ip("neighbour", "replace", "192.0.2.254", *known)
        net.run(["python3", "-c", sender], check=True, timeout=30)
        counted = net.counters()
        idle = net.counters()
    assert (counted.other, counted.peak) == (1000, 700)
    assert counted.seconds > 1.4
    assert idle == Counters(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0)


def test_sigterm_prints_the_counters() -> None:
    with Network(alive=100) as net:
        scan(net, "10.77.16.1")
        net.simulator.terminate()
        out, _ = net.simulator.communicate(timeout=10)
    assert json.loads(out)["arp"] >= 1


def test_a_device_with_a_route_out_stops_every_run() -> None:
    with Network() as net:
        net.ip("tuntap", "add", "way0", "mode", "tap")
        with pytest.raises(LeadsOutError, match=f"namespace {net.name} .* way0"):
            net.run(["true"])
        net.ip("link", "delete", "way0")
        assert net.run(["true"]).returncode == 0


def test_a_veth_to_the_machine_stops_every_run() -> None:
    with Namespace() as lonely:
        lonely.ip(
            "link", "add", "way0", "type", "veth", "peer", "name", f"out{lonely.name[-8:]}", "netns", "1"
        )
        with pytest.raises(LeadsOutError, match="way0"):
            lonely.popen(["true"])


def test_a_failed_test_leaves_no_namespace() -> None:
    net = Network()
    hosts = Hosts(net, [], [])
    started: list[subprocess.Popen[str]] = []

    def failing() -> None:
        with net, hosts:
            assert {net.name, hosts.name} <= set(names())
            started.append(net.popen(["sleep", "1000"]))
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert not {net.name, hosts.name} & set(names())
    assert started[0].wait(timeout=10) == -signal.SIGKILL
    assert not Path("/etc/netns", net.name).exists()


def test_real_hosts_answer_on_both_families() -> None:
    with (
        Namespace() as scanner,
        Hosts(scanner, ["192.0.2.10/24", "2001:db8::10/64"], ["192.0.2.1/24", "2001:db8::1/64"]) as hosts,
    ):
        assert scan(scanner, "192.0.2.8/30") == {"192.0.2.10": "arp-response/0"}
        assert scan(scanner, "-6", "2001:db8::10", "2001:db8::11") == {"2001:db8::10": "nd-response/0"}
        assert hosts.mac in scanner.run(["nmap", "-sn", "-n", "192.0.2.10"]).stdout


def test_the_machines_nameservers_are_unreachable() -> None:
    with Namespace() as lonely:
        assert lonely.run(["cat", "/etc/resolv.conf"]).stdout == "nameserver 127.0.0.1\n"


def test_twenty_thousand_packets_a_second_are_all_counted() -> None:
    with Network(alive=50) as net:
        pace = ["--min-rate", "20000", "--max-rate", "20000"]
        found = scan(net, *pace, "10.77.16.0/20")
        counted = net.counters()
    assert set(found) == net.live("10.77.16.0/20", ends=True)
    assert counted.overrun == 0
