"""Ask phpIPAM's REST API for this agent's subnets and their addresses (read-only)."""

import logging
import threading
from collections.abc import Callable, Sequence

from ..config import Config
from ..errors import PhpIpamAwayError, PhpIpamError, ScanAgentError, TransportError
from ..models import Outcome, Subnet
from ..system.parallel import ParallelMap
from . import decode
from .api import AGENTS, Api
from .cache import Cache, Rows
from .decode import Row

log = logging.getLogger(__name__)

NAMESERVERS = "tools/nameservers/"
"""All sets of nameservers; only phpIPAM's filtered lists of subnets contain them."""


class PhpIpam:
    """phpIPAM as one agent's app sees it. Each answer goes into the cache; a fresh answer saves the request.

    `clock` gives the agent's time in seconds since the epoch.
    """

    def __init__(self, config: Config, cache: Cache, clock: Callable[[], float]) -> None:
        self._code = config.scanagent_code
        self._connections = config.phpipam_connections
        self._cache = cache
        self._api = Api(config, clock, lambda: cache.memory)
        self._lock = threading.Lock()
        self._stale_used = False
        self._again = False
        self.only_cached = True
        """Whether the cache has answered each question so far."""

    def close(self) -> None:
        """End the sessions."""
        self._api.close()

    def agent_name(self) -> str:
        """Return phpIPAM's name of this agent."""
        return str(self._agent()["name"])

    @property
    def clock_ahead(self) -> float | None:
        """Seconds that this machine's clock is ahead of phpIPAM's; None before an answer."""
        return self._api.clock_ahead

    def subnets(self, again: bool = False) -> tuple[list[Subnet], list[Outcome]]:
        """Return the subnets assigned to this agent, without their addresses, and an Outcome for each invalid row.

        With `again`, no cached answer is used while phpIPAM answers.
        """
        self._again = again
        agent = decode.number(self._agent()["id"])
        rows = self._ask("subnets", lambda: self._assigned(agent))
        rows, without_nested = self._with_nested([row for row in rows if not decode.flag(row, "isFolder")])
        rows, without_nameservers = self._with_nameservers(rows)
        subnets, invalid = decode.subnets(rows)
        self._again = False
        # The answers about nested subnets arrive in any order.
        return sorted(subnets, key=lambda subnet: subnet.id), without_nested + without_nameservers + invalid

    def with_addresses(self, subnets: Sequence[Subnet]) -> ParallelMap[Subnet, Subnet]:
        """Request the addresses of subnets, several at a time; give each subnet as soon as its addresses are there.

        `addresses_error` is the error of a failed request: phpIPAM runs out of memory at 25,000 addresses in one
        subnet, and a report is possible without their ids. Subnets whose last request is longest ago come first, so
        that no subnet is missed in every run if the runs end early.
        """
        by_question = {_addresses_of(subnet): subnet for subnet in subnets}
        ordered = [by_question[question] for question in self._cache.ordered(by_question)]
        return ParallelMap(self._with_addresses, ordered, self._connections)

    def _with_addresses(self, subnet: Subnet) -> Subnet:
        # Not addresses/?filter_by=subnetId, for which phpIPAM loads all addresses of all subnets.
        question = _addresses_of(subnet)
        try:
            rows = self._list(question, decode.ADDRESS_FIELDS)
        except ScanAgentError as error:
            excluded = self._cache.excluded(question)
            if excluded is None:
                why = f"{error}; its addresses with Ping exclude are not known either"
                return subnet._replace(addresses_error=why)
            return subnet._replace(addresses=decode.addresses(excluded), addresses_error=str(error))
        self._cache.exclude(question, [row for row in rows if decode.flag(row, "excludePing")])
        log.info("subnet %s: addresses that phpIPAM knows: %d", subnet.network, len(rows))
        return subnet._replace(addresses=decode.addresses(rows))

    def _agent(self) -> Row:
        """Return this agent's row, without its code, which is a secret."""
        code = self._code.get_secret_value()
        rows = self._ask("agent", lambda: [decode.agent(self._api.rows(AGENTS, decode.AGENT_FIELDS), code)])
        return rows[0]

    def _assigned(self, agent: int) -> Rows:
        """Return the rows of this agent's subnets.

        The list of all subnets also contains the nested subnets, which saves a request for each subnet. With 30,000
        subnets PHP's memory is too small for that list; then only this agent's subnets are requested.
        """
        try:
            return decode.assigned(self._api.rows("subnets/", decode.SUBNET_FIELDS), agent)
        except (TransportError, PhpIpamError) as error:
            log.info("phpIPAM does not list all subnets, asking for this agent's: %s", error)
            query = {"filter_by": "scanAgent", "filter_value": str(agent)}
            return self._api.rows("subnets/", decode.SUBNET_FIELDS, query)

    def _with_nested(self, rows: Rows) -> tuple[list[Row], list[Outcome]]:
        """Request nested subnets for rows without them; return the complete rows and an Outcome for each error."""
        found: list[Row] = []
        failed: list[Outcome] = []
        with ParallelMap(self._nested, rows, self._connections) as answers:
            for row, error in answers:
                if error:
                    failed.append(decode.failed(row, error))
                else:
                    found.append(row)
        return found, failed

    def _nested(self, row: Row) -> tuple[Row, ScanAgentError | None]:
        id_ = decode.number(row.get("id"))
        if "nested" in row or not id_ or not decode.flag(row, "discoverSubnet"):
            return row, None
        try:
            rows = self._list(f"subnets/{id_}/slaves/", decode.NESTED_FIELDS)
        except ScanAgentError as error:
            return row, error
        return {**row, "nested": decode.nested(rows)}, None

    def _with_nameservers(self, rows: Rows) -> tuple[list[Row], list[Outcome]]:
        """Return the rows with their nameservers, by one request, and an Outcome for each row that lacks them."""
        lacking = [row for row in rows if decode.lacks_nameservers(row)]
        complete = [row for row in rows if not decode.lacks_nameservers(row)]
        if not lacking:
            return complete, []
        try:
            found = self._list(NAMESERVERS, decode.NAMESERVER_FIELDS)
        except ScanAgentError as error:
            return complete, [decode.failed(row, error) for row in lacking]
        sets = {decode.number(row.get("id")): row for row in found}
        return complete + [decode.with_nameservers(row, sets) for row in lacking], []

    def _list(self, path: str, fields: frozenset[str]) -> Rows:
        return self._ask(path, lambda: self._api.rows(path, fields))

    def _ask(self, question: str, fetch: Callable[[], Rows]) -> Rows:
        """Return a fresh answer of the cache, else phpIPAM's answer to `fetch`, else a stale answer of the cache.

        Raise TransportError or PhpIpamError without any of these.
        """
        rows = None if self._again else self._cache.get(question)
        if rows is not None:
            return rows
        self.only_cached = False
        try:
            rows = fetch()
        except (TransportError, PhpIpamAwayError) as error:
            self._cache.tried(question)
            return self._stale(question, error)
        self._cache.set(question, rows)
        return rows

    def _stale(self, question: str, error: ScanAgentError) -> Rows:
        stale = self._cache.stale(question)
        if stale is None:
            raise error
        age, rows = stale
        with self._lock:
            first, self._stale_used = not self._stale_used, True
        if first:
            message = "%s; its answer of %.0f minutes ago is used, see cache_stale_if_error"
            log.warning(message, error, age / 60)
        return rows


def _addresses_of(subnet: Subnet) -> str:
    return f"subnets/{subnet.id}/addresses/"
