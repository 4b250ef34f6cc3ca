"""Ask phpIPAM's REST API for this agent's subnets and what it knows of them (read-only)."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ..config import Config
from ..errors import PhpIpamError, ScanAgentError
from ..models import Outcome, Subnet
from . import decode
from .api import Answers, Questions
from .decode import Row

log = logging.getLogger(__name__)


class PhpIpam:
    """PhpIPAM as one agent's app sees it."""

    def __init__(self, config: Config, answers: Answers, clock: Callable[[], float]) -> None:
        self._code = config.scanagent_code
        self._questions = Questions(config, answers, clock)

    def close(self) -> None:
        """End the session."""
        self._questions.close()

    def agent_name(self) -> str:
        """Return what phpIPAM calls this agent."""
        return str(self._agent()["name"])

    @property
    def clock_ahead(self) -> float | None:
        """Seconds that this machine's clock is ahead of phpIPAM's; None before an answer."""
        return self._questions.clock_ahead

    def subnets(self) -> tuple[list[Subnet], list[Outcome]]:
        """Return the subnets assigned to this agent, without what phpIPAM knows of them.

        One that makes no sense is an Outcome with its error, so that the others are not held up.
        """
        subnets: list[Subnet] = []
        failed: list[Outcome] = []
        query = {"filter_by": "scanAgent", "filter_value": str(self._agent()["id"])}
        read = partial(decode.rows, fields=decode.SUBNET_FIELDS)
        for row in self._questions.ask("subnets", "subnets/", read, query):
            if decode.flag(row, "isFolder"):
                continue
            try:
                subnets.append(decode.subnet(row))
            except PhpIpamError as error:
                failed.append(Outcome(decode.label(row), decode.number(row.get("id")), error=str(error)))
        return subnets, failed

    def details(self, subnet: Subnet) -> Subnet:
        """Given a subnet, return it with all that a scan of it has to know.

        Where phpIPAM does not hand out its addresses, it says so in `unknown`: phpIPAM runs out of memory at
        25,000 in one subnet, and a report works without their ids.
        """
        subnet = self._with_nested(self._with_nameservers(subnet))
        try:
            return self._with_addresses(subnet)
        except ScanAgentError as error:
            return replace(subnet, unknown=str(error))

    def _with_addresses(self, subnet: Subnet) -> Subnet:
        # Never addresses/?filter_by=subnetId: phpIPAM then loads all addresses of all subnets.
        found = decode.addresses(self._list(f"subnets/{subnet.id}/addresses/", decode.ADDRESS_FIELDS))
        log.info("subnet %s: addresses that phpIPAM knows: %d", subnet.network, len(found))
        return replace(subnet, addresses=found)

    def _with_nameservers(self, subnet: Subnet) -> Subnet:
        if not subnet.resolve_names or subnet.nameservers or not subnet.nameserver_set:
            return subnet
        path = f"tools/nameservers/{subnet.nameserver_set}/"
        found = decode.nameservers(self._list(path, decode.NAMESERVER_FIELDS))
        if not found:
            log.warning(
                "subnet %s: its nameservers in phpIPAM (id %d) have no address; the system's are asked",
                subnet.network,
                subnet.nameserver_set,
            )
        return replace(subnet, nameservers=found)

    def _with_nested(self, subnet: Subnet) -> Subnet:
        """Add the networks directly below it, whoever scans them."""
        if not subnet.discover:
            return subnet
        found = decode.nested(self._list(f"subnets/{subnet.id}/slaves/", decode.NESTED_FIELDS))
        return replace(subnet, nested=(*subnet.nested, *found))

    def _agent(self) -> Row:
        code = self._code.get_secret_value()

        def read(data: object) -> list[Row]:
            return [decode.agent(decode.rows(data, decode.AGENT_FIELDS), code)]

        query = {"filter_by": "code", "filter_value": code}
        return self._questions.ask("agent", "tools/scanagents/", read, query)[0]

    def _list(self, path: str, fields: frozenset[str]) -> list[Row]:
        return self._questions.ask(path, path, partial(decode.rows, fields=fields))
