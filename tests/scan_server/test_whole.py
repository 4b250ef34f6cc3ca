"""The whole workflow: phpIPAM's stand-in, the agent, nmap on loopback, the Scan Server over TLS, MariaDB."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trustme

from scan_server_lab import MariaDb, ScanServer, Start, decimal
from stand_ins.phpipam import address, subnet
from stand_ins.site import Site

OFFICE, LABORATORY = "127.0.20.0/30", "127.0.21.0/30"


@pytest.fixture(autouse=True)
def two_subnets(site: Site, mariadb: MariaDb) -> None:
    """Put the same rows into phpIPAM's API and into its database."""
    site.phpipam.subnets = [subnet(10, OFFICE), subnet(11, LABORATORY)]
    site.phpipam.addresses = [address(101, 10, "127.0.20.1")]
    mariadb.agent(2, site.settings["scanagent_code"])
    mariadb.subnet(10, OFFICE, agent=2)
    mariadb.subnet(11, LABORATORY, agent=2)
    mariadb.address(101, 10, "127.0.20.1", hostname="gw", description="the gateway")


@pytest.fixture
def server(site: Site, mariadb: MariaDb, start: Start, tmp_path: Path) -> ScanServer:
    """Start the server with a certificate that the agent trusts, and PHP in New York."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "server.crt"))
    authority.cert_pem.write_to_path(str(site.ca_file), append=True)
    server = start(
        **mariadb.settings,
        http_host="127.0.0.1",
        tls_cert="server.crt",
        tls_key="server.key",
        timezone="America/New_York",
    )
    url, _, port = server.url.rpartition(":")
    site.settings |= {"http_server": url, "http_port": int(port), "auth_token": server.token}
    return server


def test_hosts_arrive_in_the_database(site: Site, mariadb: MariaDb, server: ScanServer) -> None:
    done = site.run(TZ="Asia/Kolkata")
    assert done.returncode == 0, done.stderr
    rows = mariadb.addresses("subnetId", "ip_addr", "hostname", "description")
    assert [row for row in rows if row[1] == decimal("127.0.20.1")] == [
        (10, decimal("127.0.20.1"), "gw", "the gateway")
    ]
    for id_, ip in ((10, "127.0.20.2"), (11, "127.0.21.1"), (11, "127.0.21.2")):
        assert (id_, decimal(ip), None, "-- autodiscovered --") in rows
    for time in (*mariadb.addresses("lastSeen"), *_times(mariadb)):
        assert _is_now_in_new_york(time)

    before = mariadb.addresses("id")
    assert site.run(TZ="Asia/Kolkata").returncode == 0
    assert mariadb.addresses("id") == before
    server.stop()  # its log is complete
    assert [line["added"] for line in server.requests[-2:]] == [0, 0]


def test_reports_refused_in_a_database_outage_are_sent_by_the_next_run(
    site: Site, mariadb: MariaDb, server: ScanServer
) -> None:
    mariadb.stop()
    try:
        done = site.run()
    finally:
        mariadb.start()
    assert done.returncode == 1
    assert "keep the report" in done.stderr
    assert mariadb.addresses("ip_addr") == [decimal("127.0.20.1")]

    # Without a scan, only the hosts of the earlier scan can arrive.
    then = datetime.now(ZoneInfo("America/New_York")).replace(tzinfo=None)
    for row in site.phpipam.subnets:
        row["discoverSubnet"] = row["pingSubnet"] = 0
    site.forget()
    assert site.run().returncode == 0
    assert {decimal("127.0.20.2"), decimal("127.0.21.1")} <= set(mariadb.addresses("ip_addr"))
    assert "gw" in mariadb.addresses("hostname")
    for time in mariadb.addresses("lastSeen"):
        assert _is_now_in_new_york(time)
        assert datetime.fromisoformat(time) <= then


def test_agent_shows_the_reason_of_a_refusal(site: Site, mariadb: MariaDb, server: ScanServer) -> None:
    mariadb.execute("UPDATE subnets SET scanAgent = 1 WHERE id = 11")
    done = site.run()
    assert done.returncode == 1
    assert f"scan.subnet: phpIPAM assigns no {LABORATORY} to this scan agent" in done.stderr
    assert decimal("127.0.20.2") in mariadb.addresses("ip_addr")

    site.settings["auth_token"] = "wrong-token"
    done = site.run()
    assert done.returncode == 1
    assert "auth_token: missing or wrong" in done.stderr
    assert "wrong-token" not in done.stderr


def _times(mariadb: MariaDb) -> list[str]:
    return [
        mariadb.one("SELECT last_access FROM scanAgents"),
        *(row["lastDiscovery"] for row in mariadb.execute("SELECT lastDiscovery FROM subnets")),
    ]


def _is_now_in_new_york(time: str) -> bool:
    now = datetime.now(ZoneInfo("America/New_York")).replace(tzinfo=None)
    return abs(now - datetime.fromisoformat(time)) < timedelta(minutes=5)
