"""phpIPAM's answers → subnets, or a one-line error."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from phpipam_scan_agent.config import Config
from phpipam_scan_agent.errors import PhpIpamError, TransportError
from phpipam_scan_agent.https import Answer as Whole
from phpipam_scan_agent.models import Subnet
from phpipam_scan_agent.phpipam import PhpIpam, api, envelope
from phpipam_scan_agent.phpipam.cache import Cache
from stand_ins.https import Answer, Certificates, Request, Server, as_json
from stand_ins.phpipam import PhpIpam as StandIn
from stand_ins.phpipam import address, refusal, subnet
from thorough import thorough

pytestmark = pytest.mark.usefixtures("no_retries")

HTML = {"Content-Type": "text/html; charset=UTF-8"}


@pytest.fixture
def stand_in() -> StandIn:
    stand_in = StandIn()
    stand_in.subnets = [subnet(10, "127.0.20.0/28"), subnet(11, "127.0.21.0/28")]
    stand_in.addresses = [address(101, 10, "127.0.20.1"), address(102, 10, "127.0.20.2")]
    return stand_in


@pytest.fixture
def server(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    certificates = Certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Server(stand_in.answer, certificates.tls()) as server:
        yield server


@pytest.fixture
def phpipam(server: Server, stand_in: StandIn) -> Iterator[PhpIpam]:
    phpipam = connect(server, stand_in)
    yield phpipam
    phpipam.close()


def connect(server: Server, stand_in: StandIn, cache: Cache | None = None, **settings: object) -> PhpIpam:
    usual = {
        "api_url": f"{server.url}:{server.port}",
        "client_name": stand_in.app,
        "client_token": stand_in.token,
        "scanagent_code": stand_in.agent["code"],
    }
    config = Config.model_validate(usual | settings)
    return PhpIpam(config, cache or Cache(Path("/nonexistent"), config, time.time), time.time)


def asked(server: Server) -> list[str]:
    """The requested paths below the app, in order."""
    return [request.path.removeprefix("/api/branch/") for request in server.requests]


def with_addresses(phpipam: PhpIpam, *subnets: Subnet) -> list[Subnet]:
    """The subnets, by default all, with their addresses, by id."""
    with phpipam.with_addresses(subnets or phpipam.subnets()[0]) as answers:
        return sorted(answers, key=lambda each: each.id)


def test_subnets_and_addresses_are_read(phpipam: PhpIpam) -> None:
    (first, second), failed = phpipam.subnets()

    assert (first.id, first.network) == (10, ip_network("127.0.20.0/28"))
    assert second.id == 11
    assert failed == []
    (first,) = with_addresses(phpipam, first)
    assert [known.id for known in first.addresses] == [101, 102]


def test_text_instead_of_numbers_gives_the_same_values(
    phpipam: PhpIpam, server: Server, stand_in: StandIn
) -> None:
    numbers = with_addresses(phpipam)
    stand_in.stringify = True
    again = connect(server, stand_in)

    assert with_addresses(again) == numbers
    again.close()


def test_a_subnet_without_addresses_is_no_error(phpipam: PhpIpam) -> None:
    _, empty = with_addresses(phpipam)

    assert (empty.addresses, empty.addresses_error) == ((), None)


@pytest.mark.parametrize("status", [200, 404])
def test_nothing_found_may_come_with_status_200(phpipam: PhpIpam, stand_in: StandIn, status: int) -> None:
    envelope = {"code": status, "success": False, "message": "No addresses found", "time": 0.1}
    stand_in.instead["subnets/10/addresses/"] = as_json(status, envelope)

    first, _ = with_addresses(phpipam)
    assert (first.addresses, first.addresses_error) == ((), None)


def test_nothing_found_may_come_without_a_message(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.instead["subnets/10/addresses/"] = as_json(200, {"code": 200, "success": False, "time": 0.1})

    first, _ = with_addresses(phpipam)
    assert (first.addresses, first.addresses_error) == ((), None)


def test_404_that_is_no_empty_list_is_an_error(phpipam: PhpIpam, stand_in: StandIn) -> None:
    first = phpipam.subnets()[0][0]
    stand_in.subnets = [subnet(11, "127.0.21.0/28")]  # 10 was deleted

    (first,) = with_addresses(phpipam, first)
    assert "Invalid subnet Id (10)" in str(first.addresses_error)


def test_no_assigned_subnet_gives_an_empty_list(phpipam: PhpIpam, stand_in: StandIn) -> None:
    for row in stand_in.subnets:
        row["scanAgent"] = 7

    assert phpipam.subnets() == ([], [])


def test_folders_alone_give_an_empty_list(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.instead["subnets/"] = refusal(404, "No subnets found")

    assert phpipam.subnets() == ([], [])


def test_folders_are_left_out(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.subnets[0]["isFolder"] = 1

    assert [each.id for each in phpipam.subnets()[0]] == [11]


def test_an_invalid_subnet_does_not_affect_others(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.subnets[0]["mask"] = "33"
    subnets, (failed,) = phpipam.subnets()

    assert [each.id for each in subnets] == [11]
    assert (failed.subnet, failed.id) == ("127.0.20.0/33", 10)
    assert str(failed.error).endswith("correct it in phpIPAM")


def test_a_network_with_host_bits_is_refused(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.subnets[0]["subnet"] = "127.0.20.5"

    assert "has host bits set" in str(phpipam.subnets()[1][0].error)


def test_embedded_nameservers_are_read(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.subnets[0] |= {"resolveDNS": 1, "nameservers": {"id": 3, "namesrv1": " 127.0.0.1;;ns.test; ::1"}}

    assert phpipam.subnets()[0][0].nameservers == (ip_address("127.0.0.1"), ip_address("::1"))


def test_nameservers_are_asked_for(phpipam: PhpIpam, stand_in: StandIn) -> None:
    stand_in.subnets[0] |= {"resolveDNS": 1, "nameserverId": 3}
    stand_in.nameservers = [{"id": 3, "name": "lab", "namesrv1": "127.0.0.1;127.0.0.2"}]

    first = phpipam.subnets()[0][0]

    assert first.nameservers == (ip_address("127.0.0.1"), ip_address("127.0.0.2"))


@pytest.mark.parametrize("dangling", [9, "9", 0, None])
def test_missing_nameservers_are_ignored(
    phpipam: PhpIpam, stand_in: StandIn, dangling: object, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.subnets[0] |= {"resolveDNS": 1, "nameserverId": dangling}

    assert phpipam.subnets()[0][0].nameservers == ()
    assert ("this machine's are asked" in caplog.text) == bool(dangling)


def test_each_question_is_asked_once(phpipam: PhpIpam, server: Server) -> None:
    for _ in range(3):
        with_addresses(phpipam)

    assert asked(server)[:2] == ["tools/scanagents/", "subnets/"]
    assert sorted(asked(server)[2:]) == ["subnets/10/addresses/", "subnets/11/addresses/"]


def test_no_secret_is_in_a_url(phpipam: PhpIpam, server: Server) -> None:
    """phpIPAM's web server logs URLs."""
    with_addresses(phpipam)

    assert [dict(request.query) for request in server.requests] == [{}] * 4


def test_one_list_has_the_subnets_of_other_agents_nested_in_ours(
    phpipam: PhpIpam, server: Server, stand_in: StandIn
) -> None:
    stand_in.subnets.append(subnet(12, "127.0.20.8/30", scanAgent=3, masterSubnetId=10))
    (first, second), _ = phpipam.subnets()

    assert (first.nested, second.nested) == ((ip_network("127.0.20.8/30"),), ())
    assert asked(server) == ["tools/scanagents/", "subnets/"]


def test_without_the_list_of_all_subnets_nested_subnets_are_asked_for(
    server: Server, stand_in: StandIn
) -> None:
    stand_in.subnets.append(subnet(12, "127.0.20.8/30", scanAgent=3, masterSubnetId=10))
    whole = connect(server, stand_in)
    expected = whole.subnets()
    whole.close()
    stand_in.lists_all = False
    server.requests.clear()
    phpipam = connect(server, stand_in)

    assert phpipam.subnets() == expected
    assert sorted(asked(server)) == [
        "subnets/",
        "subnets/",
        "subnets/10/slaves/",
        "subnets/11/slaves/",
        "tools/scanagents/",
    ]
    phpipam.close()


def test_subnets_keep_their_order_in_any_order_of_answers(server: Server, stand_in: StandIn) -> None:
    stand_in.lists_all = False
    answer, second = server._answer, threading.Event()

    def second_first(request: Request) -> Answer:
        if request.path.endswith("subnets/11/slaves/"):
            second.set()
        elif request.path.endswith("subnets/10/slaves/"):
            second.wait(30)
            time.sleep(0.05)
        return answer(request)

    server._answer = second_first
    phpipam = connect(server, stand_in)

    assert [each.id for each in phpipam.subnets()[0]] == [10, 11]
    phpipam.close()


def test_cached_answers_count_for_the_memory_limit(
    server: Server, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.subnets = [subnet(id_, f"127.0.{id_}.0/24") for id_ in range(10, 15)]
    stand_in.addresses = [address(n, 10 + n % 5, f"127.0.{10 + n % 5}.{1 + n // 5}") for n in range(1, 501)]

    def run() -> list[bool]:
        """Return the subnets whose addresses were answered."""
        cache = Cache(tmp_path / "phpipam.json", configs.config(), time.time)
        with cache, closing(connect(server, stand_in, cache, phpipam_connections=1)) as phpipam:
            cache.load()
            found = with_addresses(phpipam)
        assert all(each.addresses or "has memory for" in str(each.addresses_error) for each in found)
        return [bool(each.addresses) for each in found]

    monkeypatch.setattr(api, "MAX_MEMORY", 450_000)
    assert run() == [True] * 3 + [False] * 2
    assert run() == [True] * 3 + [False] * 2
    monkeypatch.setattr(api, "MAX_MEMORY", 2_000_000)
    assert run() == [True] * 5


def test_a_failed_request_for_nested_subnets_fails_its_subnet_only(
    phpipam: PhpIpam, stand_in: StandIn
) -> None:
    stand_in.lists_all = False
    stand_in.instead["subnets/10/slaves/"] = refusal(500, "out of order")
    subnets, (failed,) = phpipam.subnets()

    assert [each.id for each in subnets] == [11]
    assert failed.id == 10
    assert "HTTP 500: out of order" in str(failed.error)


def test_a_failed_request_for_nameservers_fails_the_subnets_that_need_them(
    phpipam: PhpIpam, stand_in: StandIn
) -> None:
    stand_in.subnets[0] |= {"resolveDNS": 1, "nameserverId": 3}
    stand_in.instead["tools/nameservers/"] = refusal(500, "out of order")
    subnets, (failed,) = phpipam.subnets()

    assert [each.id for each in subnets] == [11]
    assert "HTTP 500: out of order" in str(failed.error)


@pytest.mark.parametrize("connections", [1, 3])
def test_requests_use_the_configured_number_of_connections(
    connections: int, server: Server, stand_in: StandIn
) -> None:
    stand_in.subnets = [subnet(10 + at, f"127.0.{20 + at}.0/28") for at in range(3 * connections)]
    answer = server._answer
    parallel = threading.Barrier(connections)

    def together(request: Request) -> Answer:
        if request.path.endswith("/addresses/"):
            parallel.wait(30)  # fails if fewer requests come at a time
        return answer(request)

    server._answer = together
    phpipam = connect(server, stand_in, phpipam_connections=connections)

    assert [each.addresses_error for each in with_addresses(phpipam)] == [None] * 3 * connections
    assert server.connections == connections
    phpipam.close()


@pytest.mark.parametrize("path", ["/phpipam", "/phpipam/", "/"])
def test_api_url_may_have_a_path_or_a_slash(server: Server, stand_in: StandIn, path: str) -> None:
    phpipam = connect(server, stand_in, api_url=f"{server.url}:{server.port}{path}")
    stand_in.instead["*"] = refusal(404, "No results (filter applied)")
    with suppress(PhpIpamError, TransportError):
        phpipam.subnets()
    phpipam.close()

    assert server.requests[0].path == f"{path.rstrip('/')}/api/branch/tools/scanagents/"


def test_the_scan_agent_code_must_match_exactly(server: Server, stand_in: StandIn) -> None:
    stand_in.agent["code"] = "000123"
    phpipam = connect(server, stand_in, scanagent_code="123")

    with pytest.raises(PhpIpamError, match="knows no scan agent with this scanagent_code"):
        phpipam.subnets()
    phpipam.close()


def test_a_wrong_token_is_named(server: Server, stand_in: StandIn) -> None:
    phpipam = connect(server, stand_in, client_token="wrong-token-123")

    with pytest.raises(PhpIpamError, match="Unauthorized; check client_token") as caught:
        phpipam.subnets()
    assert "wrong-token-123" not in str(caught.value)
    phpipam.close()


def test_an_unknown_app_is_named(server: Server, stand_in: StandIn) -> None:
    phpipam = connect(server, stand_in, client_name="nobody")

    with pytest.raises(PhpIpamError, match="HTTP 400: Invalid application id; check client_name"):
        phpipam.subnets()
    phpipam.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(403, "Invalid token"), "Invalid token; client_token belongs to another app"),
        (refusal(503, "Application disabled"), "Application disabled; enable the app"),
        (refusal(503, "API server disabled"), "API server disabled; switch the API on"),
        (refusal(503, "SSL connection is required for API"), "SSL connection is required .* use https"),
        (refusal(503, "Invalid enc_request"), "Invalid enc_request; the app's security must be"),
        (refusal(500, "Your IP has been blocked"), "Your IP has been blocked"),
        (refusal(500, "Unable to read subnets"), "Unable to read subnets; phpIPAM has no subnet, or"),
        (
            Answer(500, b"", HTML),
            "HTTP 500 with an empty body; its database is down or PHP ran out of memory",
        ),
        (Answer(200, b"", HTML), "HTTP 200 with an empty body"),
        (Answer(200, b"<br>Notice: x {}", HTML), r"\(Notice: x {}\), which is not JSON; check that api_url"),
        (Answer(404, b"<h1>Not Found</h1>", HTML), r"\(Not Found\), which is not JSON; check that api_url"),
        (Answer(502, b"<h1>Bad Gateway</h1>", HTML), r"HTTP 502 \(Bad Gateway\); see the log of the web"),
        (Answer(200, b"[1]", {"Content-Type": "application/json"}), "is not JSON"),
        (refusal(400, "Invalid application id"), "check client_name, .* that api_url ends before /api"),
        (
            refusal(500, "Your IP has been blocked for 5 minutes"),
            "logins from this machine's address have failed",
        ),
        (refusal(500, "no\r\n\nphpipam-scan-agent: forged"), "HTTP 500: no phpipam-scan-agent: forged; see"),
        (refusal(500, "x" * 1000), f"HTTP 500: {'x' * 300}; see phpIPAM's log"),
        (as_json(500, {"success": False, "message": ["a", None]}), r"HTTP 500: \['a', None\]; see"),
        (as_json(200, {"success": True, "data": "text"}), "answer is not a list of objects"),
    ],
)
def test_phpipams_error_message_is_shown(
    phpipam: PhpIpam, stand_in: StandIn, answer: Answer, said: str
) -> None:
    stand_in.instead["*"] = answer

    with pytest.raises(PhpIpamError, match=said) as caught:
        phpipam.subnets()
    assert "\n" not in str(caught.value)
    assert stand_in.agent["code"] not in str(caught.value)


def test_a_wrong_api_url_redirects_to_the_login_page(server: Server, stand_in: StandIn) -> None:
    phpipam = connect(server, stand_in, api_url=f"{server.url}:{server.port}/nosuch")

    with pytest.raises(TransportError, match="redirects to /login/ .* check api_url"):
        phpipam.subnets()
    assert len(server.requests) == 1
    phpipam.close()


def test_https_to_an_http_port_is_named(stand_in: StandIn) -> None:
    with Server(stand_in.answer, None) as plain:
        phpipam = connect(plain, stand_in, api_url=f"https://127.0.0.1:{plain.port}")
        with pytest.raises(TransportError, match="TLS fails .* check that the port serves https"):
            phpipam.subnets()
        phpipam.close()


def test_a_closed_port_is_named(stand_in: StandIn, server: Server) -> None:
    phpipam = connect(server, stand_in, api_url="https://127.0.0.1:1")

    with pytest.raises(TransportError, match="Connection refused; check that it runs, the URL"):
        phpipam.subnets()
    phpipam.close()


def test_cached_answers_contain_no_secret(server: Server, stand_in: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "phpipam.json", configs.config(), time.time)
    phpipam = connect(server, stand_in, cache)
    phpipam.subnets()

    cache.save()
    assert stand_in.agent["code"] not in (tmp_path / "phpipam.json").read_text()
    phpipam.close()


_BODIES = (
    st.binary(max_size=60)
    | st.text(alphabet='<scriptyle/>"\\{}[]:,\x1b\n\u2028 ok', max_size=80).map(str.encode)
    | st.fixed_dictionaries(
        {},
        optional={
            "success": st.sampled_from([True, False, 0, 1, "true", None]),
            "data": st.none() | st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
            "message": st.text(max_size=20) | st.none() | st.integers() | st.lists(st.text(max_size=3)),
        },
    ).map(lambda document: json.dumps(document).encode())
)


@thorough
@given(
    status=st.sampled_from([200, 201, 204, 400, 401, 404, 429, 500, 502, 503, 504]),
    body=_BODIES,
    protocol=st.sampled_from(["http", "https"]),
)
def test_any_answer_gives_data_or_a_one_line_error(status: int, body: bytes, protocol: str) -> None:
    refused = ""
    try:
        data = envelope.data(f"{protocol}://h/api/", Whole(status, "application/json", body), 10**6)
    except PhpIpamError as error:
        refused = str(error)
    if refused:
        assert len(refused.splitlines()) == 1
        assert f"HTTP {status}" in refused
        return
    said = json.loads(body)
    assert (status == 200 and data == said.get("data")) or (data == [] and status in (200, 404))
