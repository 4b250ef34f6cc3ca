"""Host names from nameservers that answer or are silent, and one name of many addresses."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from lab.agent import run
from lab.network import Hosts, Namespace, Network
from stand_ins.phpipam import Row, subnet

BLOCK = "192.0.2.0/28"
HOSTS = {"192.0.2.1", "192.0.2.5", "192.0.2.6"}
GOOD, SILENT, SYSTEM = "127.0.0.53", "127.0.0.54", "127.0.0.1"
ZONE = [
    "5.2.0.192.in-addr.arpa. PTR gw.example.",
    "6.2.0.192.in-addr.arpa. CNAME 6.0-15.2.0.192.in-addr.arpa.",
    "6.0-15.2.0.192.in-addr.arpa. PTR web.example.",
]
NAMES = {"192.0.2.5": "gw", "192.0.2.6": "web"}


@pytest.fixture(scope="module")
def scanner(lab: None) -> Iterator[Namespace]:
    with Namespace() as scanner, Hosts(scanner, ["192.0.2.5/28", "192.0.2.6/28"], ["192.0.2.1/28"]):
        yield scanner


def wanting_names(*nameservers: str) -> Row:
    return subnet(1, BLOCK, resolveDNS=1, nameservers={"namesrv1": "; ".join(nameservers)})


def test_hosts_have_the_names_of_the_subnets_nameserver(scanner: Namespace) -> None:
    done = run(scanner, [wanting_names(GOOD)], nameservers={GOOD: ZONE})

    assert done.each("hostname") == NAMES
    assert (done.found(), done.status, done.stderr) == (HOSTS, 0, "")


def test_a_subnet_without_nameservers_uses_the_systems(scanner: Namespace) -> None:
    done = run(scanner, [subnet(1, BLOCK, resolveDNS=1)], nameservers={SYSTEM: ZONE})

    assert done.each("hostname") == NAMES


def test_names_are_looked_up_only_if_phpipam_requests_it(scanner: Namespace) -> None:
    done = run(scanner, [wanting_names(GOOD) | {"resolveDNS": 0}], nameservers={GOOD: ZONE})

    assert done.found() == HOSTS
    assert done.each("hostname") == {}


@pytest.mark.usefixtures("lab")
def test_a_silent_nameserver_of_many_subnets_is_named_once() -> None:
    blocks = {number: f"10.77.{number}.0/24" for number in range(1, 5)}
    with Network(alive=100) as network:
        live = {str(ip) for block in blocks.values() for ip in network.live(block)}
        zone = [f"{ip_address(ip).reverse_pointer}. PTR pc-{ip.split('.')[3]}.example." for ip in live]
        nameservers = {"namesrv1": f"{SILENT}; {GOOD}"}
        rows = [subnet(*block, resolveDNS=1, nameservers=nameservers) for block in blocks.items()]
        done = run(network, rows, nameservers={SILENT: None, GOOD: zone})

    assert done.found() == live
    assert done.each("hostname") == {ip: f"pc-{ip.split('.')[3]}" for ip in live}
    assert done.status == 0
    assert len(done.said) == 1
    assert f"nameserver {SILENT}" in done.stderr


@pytest.mark.usefixtures("lab")
def test_many_addresses_may_have_one_name() -> None:
    zone = [f"{number}.0.77.10.in-addr.arpa. PTR pool.example." for number in range(1, 255)]
    with Network(alive=100) as network:
        rows = [subnet(1, "10.77.0.0/24", resolveDNS=1, nameservers={"namesrv1": GOOD})]
        done = run(network, rows, nameservers={GOOD: zone})

    assert set(done.each("hostname").values()) == {"pool"}
    assert len(done.each("hostname")) == 254
