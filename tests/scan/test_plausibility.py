"""Suspects in modelled networks, which answer probes like the simulated networks of tests/network."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address

import pytest

from phpipam_scan_agent.models import Host, IPAddress
from phpipam_scan_agent.plan import ranges
from phpipam_scan_agent.scan import plausibility
from phpipam_scan_agent.scan.discovery import CONFIRMING
from phpipam_scan_agent.scan.plausibility import Answers, Kind
from phpipam_scan_agent.scan.probes import Probes

NEAR, FAR = 63, 60
"""TTL of a firewall's answers and of the hosts'."""

ROUTER = "02:00:00:00:00:01"


@dataclass
class Net:
    """A network; dead addresses are answered for by the kinds `answerer`, a share of them by `share`."""

    block: str = "10.1.1.0/24"
    alive: float = 0.05
    answerer: tuple[Kind, ...] = ()
    share: float = 1
    quiet: float = 0
    loss: float = 0
    forges: bool = False
    segment: bool = False
    seed: int = 0
    owners: dict[str, str] = field(default_factory=dict)
    """MAC addresses of machines with more than one address."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.ips = [ip_address(ip) for ip in IPv4Network(self.block).hosts()]
        self.live = {ip for ip in self.ips if self.random.random() < self.alive}
        self.live |= {ip_address(ip) for ip in self.owners}
        self.quiets = {ip for ip in self.ips if self.random.random() < self.quiet}
        self.answered_for = {ip for ip in self.ips if self.random.random() < self.share} - self.live

    def answer(self, ip: IPAddress, kinds: Iterable[Kind]) -> Host | None:
        """Return the answer of an address to two probes of each of these kinds, in this order; None without one."""
        for kind in kinds:
            if self.random.random() < self.loss**2:
                continue
            if kind is Kind.ARP and ip in self.live:
                return Host(ip, "arp-response", mac=self.owners.get(str(ip), f"02:01:{ip}"))
            if kind in self.answerer and (
                ip in self.answered_for or (kind is Kind.SYN_ACK and ip in self.live)
            ):
                ttl = FAR if self.forges else NEAR
                return Host(ip, kind.value[0], ttl, ROUTER if kind is Kind.ARP else None)
            if ip in self.live and kind is not Kind.SYN_ACK and (kind.is_tcp or ip not in self.quiets):
                return Host(ip, kind.value[0], 64 if str(ip) in self.owners else FAR)
        return None

    def accepted(self, *, whole: bool = True) -> tuple[Host, ...]:
        """Return the hosts that the rule accepts, by the agent's steps."""
        first = (Kind.ARP,) if self.segment else (Kind.ECHO, Kind.SYN_ACK, Kind.RST)
        hosts = [host for ip in self.ips if (host := self.answer(ip, first))]
        return self.judge(Answers(self.block, len(self.ips), tuple(hosts), whole))

    def judge(self, answers: Answers) -> tuple[Host, ...]:
        suspects = plausibility.suspects(answers)
        unproven = {host.ip for suspect in suspects for host in suspect.hosts}
        accepted = [host for host in answers.hosts if host.ip not in unproven]
        for suspect in suspects:
            confirmed = self.confirm(suspect.hosts, suspect.kind)
            if suspect.kind is Kind.ARP:
                confirmed = self.judge(Answers(self.block, len(suspect.hosts), confirmed, whole=False))
            accepted += plausibility.accepted(suspect, confirmed)
        return tuple(accepted)

    def confirm(self, hosts: Iterable[Host], kind: Kind) -> tuple[Host, ...]:
        kinds = {
            "-PE": [Kind.ECHO],
            "-PP": [Kind.TIMESTAMP],
            "-PA80": [Kind.RST],
            "-PS443": [Kind.SYN_ACK, Kind.RST],
            "-PS22,443,445": [Kind.SYN_ACK],
        }
        found: dict[IPAddress, Host] = {}
        for probes in CONFIRMING[kind]:
            asked = [kind for option in probes.value for kind in kinds.get(option, [])]
            for host in hosts:
                if host.ip not in found and (answer := self.answer(host.ip, asked)):
                    found[host.ip] = answer
        return tuple(found.values())


def outcome(net: Net) -> tuple[int, int]:
    """The number of missed hosts, and of reported unused addresses."""
    found = {host.ip for host in net.accepted()}
    return len(net.live - found), len(found - net.live)


ANSWERERS = {
    "proxy ARP": ((Kind.ARP,), True),
    "SYN proxy": ((Kind.SYN_ACK,), False),
    "SYN proxy with RST": ((Kind.SYN_ACK, Kind.RST), False),
    "echoes": ((Kind.ECHO,), False),
    "echoes and timestamps": ((Kind.ECHO, Kind.TIMESTAMP), False),
    "RST": ((Kind.RST,), False),
}


@pytest.mark.parametrize("name", ANSWERERS)
@pytest.mark.parametrize("loss", [0, 0.05])
@pytest.mark.parametrize("alive", [0.05, 0.4, 0.9])
def test_no_unused_address_is_accepted_and_no_host_is_missed(name: str, loss: float, alive: float) -> None:
    answerer, segment = ANSWERERS[name]
    for seed in range(10):
        net = Net(alive=alive, answerer=answerer, segment=segment, loss=loss, seed=seed)
        missed, false = outcome(net)
        assert (missed <= 2 if loss else missed == 0, false) == (True, 0)


@pytest.mark.parametrize("name", ANSWERERS)
@pytest.mark.parametrize("alive", [0.05, 0.4, 0.9])
def test_no_unused_address_is_accepted_if_four_fifths_are_answered_for(name: str, alive: float) -> None:
    answerer, segment = ANSWERERS[name]
    for seed in range(30):
        assert outcome(Net(alive=alive, answerer=answerer, segment=segment, share=0.79, seed=seed)) == (0, 0)


@pytest.mark.parametrize("name", ANSWERERS)
def test_no_unused_address_is_accepted_in_a_small_subnet(name: str) -> None:
    answerer, segment = ANSWERERS[name]
    for seed in range(10):
        for alive in (0.05, 0.4, 0.9):
            net = Net("10.1.1.0/28", alive, answerer, segment=segment, seed=seed)
            missed, false = outcome(net)
            assert missed == 0
            if (
                net.live or len(answerer) == 1
            ):  # otherwise two kinds agree, as in a full subnet of quiet hosts
                # Three addresses or fewer may be of two routers and their virtual address.
                assert false <= (3 if alive == 0.9 else 0)


@pytest.mark.parametrize("answerer", [Kind.SYN_ACK, Kind.ECHO, Kind.RST])
def test_a_firewall_that_forges_the_distance_of_the_hosts_is_not_accepted(answerer: Kind) -> None:
    assert outcome(Net(answerer=(answerer,), forges=True)) == (0, 0)


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(Net(alive=0.95), id="95 % live"),
        pytest.param(Net(alive=1), id="full"),
        pytest.param(Net(alive=1, quiet=0.5), id="full, half of it quiet"),
        pytest.param(Net(alive=0.9, quiet=0.5), id="90 % live, half of it quiet"),
        pytest.param(Net("10.1.1.0/28", alive=1), id="a full /28"),
        pytest.param(Net("10.1.1.0/28", alive=1, quiet=0.5), id="a full /28, half of it quiet"),
        pytest.param(Net(alive=1, segment=True), id="full segment"),
    ],
)
def test_a_full_subnet_is_accepted(net: Net) -> None:
    assert outcome(net) == (0, 0)


def owned(first: int, number: int, block: str = "10.1.1.") -> dict[str, str]:
    return {f"{block}{first + at}": ROUTER for at in range(number)}


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(Net(owners=owned(100, 60), segment=True), id="server with 60 addresses"),
        pytest.param(Net(owners=owned(100, 60), alive=0.4, segment=True), id="the same, 40 % live"),
        pytest.param(Net(owners=owned(100, 60), alive=0.95, segment=True), id="the same, 95 % live"),
        pytest.param(Net("10.1.1.0/28", owners=owned(1, 12), segment=True), id="NAT router in a /28"),
        pytest.param(Net(owners=owned(1, 240), segment=True), id="server with 240 addresses"),
    ],
)
def test_several_addresses_of_one_machine_keep_its_mac(net: Net) -> None:
    found = {str(host.ip): host.mac for host in net.accepted()}
    assert outcome(net) == (0, 0)
    assert {ip: found[ip] for ip in net.owners} == net.owners


def test_a_nat_router_with_a_dozen_addresses_is_accepted() -> None:
    net = Net(owners=owned(1, 12), segment=True)
    answers = Answers(
        net.block, 254, tuple(Host(ip_address(ip), "arp-response", mac=ROUTER) for ip in net.owners), True
    )
    assert plausibility.suspects(answers) == ()


def test_the_mac_of_a_router_is_not_reported_for_hosts_behind_it() -> None:
    hosts = [Host(ip, "arp-response", mac=ROUTER) for ip in Net().ips]
    (suspect,) = plausibility.suspects(Answers("10.1.1.0/24", 254, tuple(hosts), True))
    for confirmed in (
        [Host(host.ip, "echo-reply", 64) for host in hosts[:100]],  # the others are silent
        [Host(host.ip, "echo-reply", 63) for host in hosts],  # all are behind it
    ):
        accepted = plausibility.accepted(suspect, confirmed)
        assert (len(accepted), {host.mac for host in accepted}) == (len(confirmed), {None})


def test_known_addresses_that_are_all_up_are_accepted() -> None:
    ips = [ip_address(f"10.1.1.{last}") for last in range(1, 13)]
    for reason, mac in (("reset", None), ("arp-response", ROUTER)):
        hosts = tuple(Host(ip, reason, 60, mac) for ip in ips)
        assert plausibility.suspects(Answers("10.1.1.0/24", 12, hosts, False)) == ()


def test_routers_and_their_virtual_address_nearer_than_the_hosts_are_accepted() -> None:
    hosts = [
        Host(ip_address(f"10.1.1.{last}"), "echo-reply", 254 if last < 4 else 60) for last in range(1, 15)
    ]
    suspects = plausibility.suspects(Answers("10.1.1.0/28", 14, tuple(hosts), True))
    assert not [host for suspect in suspects for host in suspect.hosts if host.ttl == 254]


def answered(network: str, reason: str, lasts: Iterable[int]) -> Answers:
    block = IPv4Network(network)
    hosts = tuple(Host(block[last], reason, FAR) for last in lasts)
    ends = tuple(range(int(block[last]), int(block[last]) + 1) for last in (0, -1))
    return Answers(network, block.num_addresses - 2, hosts, True, ends)


@pytest.mark.parametrize(
    ("network", "reason"),
    [("10.1.1.0/29", "reset"), ("10.1.1.0/30", "reset"), ("10.1.1.0/29", "echo-reply")],
)
def test_a_small_full_subnet_is_a_firewalls_if_its_network_address_answers_like_all_others(
    network: str, reason: str
) -> None:
    answers = answered(network, reason, range(1, IPv4Network(network).num_addresses - 1))
    (undecided,) = plausibility.undecided(answers)
    assert plausibility.suspects(answers) == ()
    assert (undecided.controls, undecided.suspect.hosts) == (answers.reserved, answers.hosts)
    assert undecided.is_proven([Host(ip_address("10.1.1.0"), reason, FAR)])
    assert not undecided.is_proven([Host(ip_address("10.1.1.0"), reason, NEAR)])
    assert not undecided.is_proven([])


def test_hosts_that_answer_syn_ack_at_an_unserved_port_are_a_syn_proxys() -> None:
    answers = answered("10.1.1.0/28", "syn-ack", range(1, 13))  # two are silent
    (undecided,) = plausibility.undecided(answers)
    assert undecided.kinds is Probes.UNSERVED
    asked = [host for host in answers.hosts if ranges.contains(undecided.controls, int(host.ip))]
    assert len(asked) < len(answers.hosts)
    assert undecided.is_proven(asked[1:])  # one probe was lost
    assert not undecided.is_proven(asked[:2])  # honeypots among web servers
    assert not undecided.is_proven([host._replace(reason="reset") for host in asked])


@pytest.mark.parametrize(
    "answers",
    [
        answered("10.1.1.0/29", "reset", range(1, 4)),
        answered("10.1.1.0/29", "syn-ack", range(1, 4)),
        answered("10.1.1.0/28", "syn-ack", range(1, 8)),
        answered("10.1.1.0/29", "echo-reply", range(1, 6)),
        answered("10.1.1.0/30", "echo-reply", range(1, 3)),
        answered("10.1.1.0/29", "reset", range(1, 7))._replace(reserved=()),
    ],
    ids=["three reset", "three SYN/ACK", "half of them SYN/ACK", "one is silent to echo", "/30", "a pool"],
)
def test_other_small_subnets_need_no_further_probe(answers: Answers) -> None:
    assert plausibility.undecided(answers) == ()


@pytest.mark.parametrize(
    "different", [Host(ip_address("10.1.1.1"), "echo-reply", 61), Host(ip_address("10.1.1.1"), "reset", FAR)]
)
def test_a_full_small_subnet_of_hosts_with_their_router_needs_no_further_probe(different: Host) -> None:
    answers = answered("10.1.1.0/29", "echo-reply", range(2, 7))
    assert plausibility.undecided(answers._replace(hosts=(different, *answers.hosts))) == ()


def test_resets_with_all_ttls_come_from_one_firewall() -> None:
    hosts = tuple(Host(ip, "reset", 40 + int(ip) % 20) for ip in Net().ips)
    (suspect,) = plausibility.suspects(Answers("10.1.1.0/24", 254, hosts, True))
    assert (suspect.kind, len(suspect.hosts)) == (Kind.RST, 254)


def test_loopback_is_always_accepted() -> None:
    hosts = tuple(Host(ip_address(f"127.0.1.{last}"), "reset", 64) for last in range(1, 255))
    assert plausibility.suspects(Answers("127.0.1.0/24", 254, hosts, True)) == ()


def test_every_kind_of_answer_can_be_confirmed_by_other_probes() -> None:
    assert set(CONFIRMING) == set(Kind)
    assert all(
        isinstance(probes, Probes) and probes.skips_arp
        for ways in CONFIRMING.values()
        for probes in ways
        if probes is not Probes.TIMESTAMP
    )
