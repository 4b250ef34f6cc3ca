"""Host names that reach the Scan Server, by the installed command and a real nameserver on loopback."""

import os

import pytest

from forked import ForkedSite
from nameserver import Nameserver
from stand_ins.https import Answer
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a nameserver's port 53 needs root")

NAMESERVER = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}.7"

RECORDS = [
    "1.20.0.127.in-addr.arpa. PTR web01.example.net.",
    "2.20.0.127.in-addr.arpa. PTR printer.example.net.",
    "3.20.0.127.in-addr.arpa. PTR mail.example.net.",
    "4.20.0.127.in-addr.arpa. PTR new.example.net.",
    "5.20.0.127.in-addr.arpa. PTR 5.20.0.127.dyn.example.net.",
]


@pytest.fixture(autouse=True)
def five_hosts(site: Site) -> None:
    site.phpipam.subnets = [
        subnet(10, "127.0.20.0/29", resolveDNS=1, nameserverId=1, nameservers={"namesrv1": NAMESERVER})
    ]
    site.phpipam.addresses = [
        address(101, 10, "127.0.20.1", hostname="web01.dmz.example.org"),
        address(102, 10, "127.0.20.2", hostname="Drucker <3. Stock>"),
        address(103, 10, "127.0.20.3", hostname=None),
    ]


def host_names(site: Site) -> tuple[dict[str, str], list[str]]:
    """The reported names by their last octet, and the queries to the nameserver."""
    with Nameserver(NAMESERVER, RECORDS) as nameserver:
        done = site.run()
    assert (done.returncode, done.stderr) == (0, "")
    rows = site.scan_server.reports[-1]["scan"]["results"]
    assert len(rows) == 6
    return {row["ip"][-1]: row["hostname"] for row in rows if "hostname" in row}, nameserver.asked


def test_only_addresses_without_a_name_are_looked_up_and_named(site: Site) -> None:
    names, asked = host_names(site)

    assert names == {"3": "mail", "4": "new"}
    assert sorted(name[0] for name in asked) == ["3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("short", {"2": "printer", "3": "mail", "4": "new"}),
        (
            "full",
            {
                "1": "web01.example.net",
                "2": "printer.example.net",
                "3": "mail.example.net",
                "4": "new.example.net",
            },
        ),
    ],
)
def test_names_always_replaces_names_but_no_full_name_by_its_first_label(
    form: str, names: dict[str, str], site: Site
) -> None:
    site.settings |= {"names": "always", "name_form": form}

    assert host_names(site)[0] == names


def test_names_never_sends_no_query(site: Site) -> None:
    site.settings["names"] = "never"

    assert host_names(site) == ({}, [])


def test_without_phpipams_addresses_no_name_is_looked_up(site: ForkedSite) -> None:
    site.settings["names"] = "always"
    site.phpipam.instead["subnets/10/addresses/"] = Answer(500)
    with Nameserver(NAMESERVER, RECORDS) as nameserver:
        done = site.run_once()

    assert done.returncode == 1
    assert nameserver.asked == []
    assert [row for row in site.scan_server.reports[-1]["scan"]["results"] if "hostname" in row] == []
