"""Ask phpIPAM's REST API for this agent's subnets and their addresses (read-only)."""

import logging
from collections.abc import MutableMapping
from dataclasses import replace
from urllib.parse import quote

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from .. import decode
from ..config import Config
from ..decode import Row
from ..errors import PhpIpamError
from ..http import Client
from ..models import Outcome, Subnet
from . import envelope

log = logging.getLogger(__name__)

Answers = MutableMapping[str, list[Row]]
"""What phpIPAM has said before, without secrets; each question is asked once."""

Query = dict[str, str] | None

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes; 25,000 addresses, more than phpIPAM can send of one subnet, are about 12 MiB."""


class PhpIpam:
    """PhpIPAM as one agent's app sees it.

    One session serves the whole run: each call without its cookie would add a row to phpIPAM's session
    table.
    """

    def __init__(self, config: Config, answers: Answers) -> None:
        self._base = f"{config.api_url}/api/{quote(config.client_name, safe='')}"
        self._code = config.scanagent_code
        self._answers = answers
        self._client = Client("phpIPAM", "api_url", _AppCode(config.client_token), MAX_ANSWER)

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def subnets(self) -> tuple[list[Subnet], list[Outcome]]:
        """Return the subnets assigned to this agent, without their addresses.

        One that makes no sense is an Outcome with its error, so that the others are not held up.
        """
        subnets: list[Subnet] = []
        failed: list[Outcome] = []
        query = {"filter_by": "scanAgent", "filter_value": str(self._agent_id())}
        for row in self._ask("subnets", "subnets/", decode.SUBNET_FIELDS, query):
            if decode.flag(row, "isFolder"):
                continue
            try:
                subnets.append(decode.subnet(row))
            except PhpIpamError as error:
                failed.append(Outcome(decode.label(row), decode.number(row.get("id")), error=str(error)))
        return subnets, failed

    def details(self, subnet: Subnet) -> Subnet:
        """Given a subnet, return it with all that a scan of it has to know."""
        return self._with_addresses(self._with_nested(self._with_nameservers(subnet)))

    def _with_addresses(self, subnet: Subnet) -> Subnet:
        """Given a subnet, return it with the addresses that phpIPAM knows of it."""
        # Never addresses/?filter_by=subnetId: phpIPAM then loads all addresses of all subnets.
        path = f"subnets/{subnet.id}/addresses/"
        found = decode.addresses(self._ask(path, path, decode.ADDRESS_FIELDS))
        log.info("subnet %s: phpIPAM knows %d addresses", subnet.network, len(found))
        return replace(subnet, addresses=found)

    def _with_nameservers(self, subnet: Subnet) -> Subnet:
        """Given a subnet, return it with its nameservers, if its names are wanted."""
        if not subnet.resolve_names or subnet.nameservers or not subnet.nameserver_set:
            return subnet
        path = f"tools/nameservers/{subnet.nameserver_set}/"
        found = decode.nameservers(self._ask(path, path, decode.NAMESERVER_FIELDS))
        if not found:
            log.warning(
                "subnet %s: its nameservers in phpIPAM (id %d) have no address; the system's are asked",
                subnet.network,
                subnet.nameserver_set,
            )
        return replace(subnet, nameservers=found)

    def _with_nested(self, subnet: Subnet) -> Subnet:
        """Given a subnet, return it with the networks directly below it, whoever scans them."""
        if not subnet.discover:
            return subnet
        path = f"subnets/{subnet.id}/slaves/"
        found = decode.nested(self._ask(path, path, decode.NESTED_FIELDS))
        return replace(subnet, nested=(*subnet.nested, *found))

    def _agent_id(self) -> int:
        agent = self._answers.get("agent")
        if agent is None:
            code = self._code.get_secret_value()
            query = {"filter_by": "code", "filter_value": code}
            found = decode.rows(self._get("tools/scanagents/", query), decode.AGENT_FIELDS)
            # Only the id is remembered: the answer holds the code, which is a secret.
            agent = self._answers["agent"] = [{"id": decode.agent_id(found, code)}]
        return decode.number(agent[0]["id"])

    def _ask(self, key: str, path: str, fields: frozenset[str], query: Query = None) -> list[Row]:
        rows = self._answers.get(key)
        if rows is None:
            rows = self._answers[key] = decode.rows(self._get(path, query), fields)
        return rows

    def _get(self, path: str, query: Query = None) -> object:
        url = f"{self._base}/{path}"
        if not url.startswith("https:"):
            query = None  # it may hold the scan agent code
        log.info("asking phpIPAM for %s", path)
        return envelope.data(url, self._client.send("GET", url, params=query))


class _AppCode(AuthBase):
    """Sends the app's code the way phpIPAM wants it; the only place where it is opened."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # phpIPAM refuses plain http, but only once the whole network has read the token.
        if str(request.url).startswith("https:"):
            request.headers["token"] = self._token.get_secret_value()
        return request
