"""Ask phpIPAM's REST API for this agent's subnets and their addresses (read-only)."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..config import Config
from ..errors import PhpIpamAwayError, PhpIpamError, ScanAgentError, TransportError
from ..models import Outcome, Subnet
from ..system.side_by_side import SideBySide
from . import decode
from .api import AGENTS, Api
from .cache import Cache, Rows
from .decode import Row

log = logging.getLogger(__name__)

NAMESERVERS = "tools/nameservers/"
"""All sets of nameservers; only phpIPAM's filtered lists of subnets have them embedded."""


class PhpIpam:
    """phpIPAM as one agent's app sees it. Every answer goes into the cache; a fresh one is not asked for again.

    `clock` gives the agent's time in seconds since the epoch.
    """

    def __init__(self, config: Config, cache: Cache, clock: Callable[[], float]) -> None:
        self._code = config.scanagent_code
        self._connections = config.phpipam_connections
        self._cache = cache
        self._api = Api(config, clock)
        self._lock = threading.Lock()
        self._stale_used = False
        self._asked = 0
        self._again = False

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

    def subnets(
        self, complete: Callable[[Sequence[Subnet]], bool] = bool
    ) -> tuple[list[Subnet], list[Outcome]]:
        """Return the subnets assigned to this agent, without their addresses.

        A subnet whose row is not valid is an Outcome with its error, so that the others are not held up. A cached
        list with such a row, or for which `complete` is false, is asked for again at once: the administrator may
        just have corrected it.
        """
        asked = self._asked
        subnets, failed = self._subnets()
        if self._asked == asked and (failed or not complete(subnets)):
            log.info(
                "phpIPAM's cached list of subnets leaves nothing to scan or has an error; asking for it again"
            )
            self._again = True
            subnets, failed = self._subnets()
            self._again = False
        return subnets, failed

    def _subnets(self) -> tuple[list[Subnet], list[Outcome]]:
        agent = decode.number(self._agent()["id"])
        rows = self._ask("subnets", lambda: self._assigned(agent))
        rows, without_nested = self._with_nested([row for row in rows if not decode.flag(row, "isFolder")])
        rows, without_nameservers = self._with_nameservers(rows)
        subnets, invalid = decode.subnets(rows)
        # The answers about nested subnets come in any order.
        return sorted(subnets, key=lambda subnet: subnet.id), without_nested + without_nameservers + invalid

    def with_addresses(self, subnets: Sequence[Subnet]) -> SideBySide[Subnet, Subnet]:
        """Ask for the addresses of subnets, several at a time; give each subnet with them as soon as they are there.

        Where phpIPAM does not give them, `addresses_error` says why: phpIPAM runs out of memory at 25,000 in one
        subnet, and a report works without their ids. The subnets asked about longest ago come first, so that none
        is left out in every run if the runs end early.
        """
        by_question = {_addresses_of(subnet): subnet for subnet in subnets}
        ordered = [by_question[question] for question in self._cache.ordered(by_question)]
        return SideBySide(self._with_addresses, ordered, self._connections)

    def _with_addresses(self, subnet: Subnet) -> Subnet:
        # Never addresses/?filter_by=subnetId: phpIPAM then loads all addresses of all subnets.
        question = _addresses_of(subnet)
        try:
            rows = self._list(question, decode.ADDRESS_FIELDS)
        except ScanAgentError as error:
            excluded = self._cache.excluded(question)
            if excluded is None:
                why = f"{error}; nor is it known which of them are not to be pinged (ping exclude)"
                return replace(subnet, addresses_error=why)
            return replace(subnet, addresses=decode.addresses(excluded), addresses_error=str(error))
        self._cache.exclude(question, [row for row in rows if decode.flag(row, "excludePing")])
        log.info("subnet %s: addresses that phpIPAM knows: %d", subnet.network, len(rows))
        return replace(subnet, addresses=decode.addresses(rows))

    def _agent(self) -> Row:
        """Return the row of this agent, without its code, which is a secret."""
        code = self._code.get_secret_value()
        return self._ask("agent", lambda: [decode.agent(self._rows(AGENTS, decode.AGENT_FIELDS), code)])[0]

    def _assigned(self, agent: int) -> Rows:
        """Return the rows of this agent's subnets.

        From the list of all subnets, each has those nested in it. That list replaces a request for each subnet; at
        30,000 subnets PHP's memory is too small for it, and this agent's alone are asked for.
        """
        try:
            return decode.assigned(self._rows("subnets/", decode.SUBNET_FIELDS), agent)
        except (TransportError, PhpIpamError) as error:
            log.info("phpIPAM does not list all subnets, asking for this agent's: %s", error)
            query = {"filter_by": "scanAgent", "filter_value": str(agent)}
            return self._api.rows("subnets/", decode.SUBNET_FIELDS, query)

    def _with_nested(self, rows: Rows) -> tuple[list[Row], list[Outcome]]:
        """Return the rows with the subnets nested in each, and what failed; the list of all subnets has them."""
        found: list[Row] = []
        failed: list[Outcome] = []
        with SideBySide(self._nested, rows, self._connections) as answers:
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
        """Return the rows with the nameservers that they refer to, and what failed. One question for all."""
        if not any(map(decode.wants_nameservers, rows)):
            return list(rows), []
        try:
            sets = {
                decode.number(row.get("id")): row for row in self._list(NAMESERVERS, decode.NAMESERVER_FIELDS)
            }
        except ScanAgentError as error:
            failed = [decode.failed(row, error) for row in rows if decode.wants_nameservers(row)]
            return [row for row in rows if not decode.wants_nameservers(row)], failed
        return [
            decode.with_nameservers(row, sets) if decode.wants_nameservers(row) else row for row in rows
        ], []

    def _list(self, path: str, fields: frozenset[str]) -> Rows:
        return self._ask(path, lambda: self._rows(path, fields))

    def _rows(self, path: str, fields: frozenset[str]) -> list[Row]:
        return self._api.rows(path, fields)

    def _ask(self, question: str, fetch: Callable[[], Rows]) -> Rows:
        """Return a fresh answer of the cache, else what `fetch` gets from phpIPAM, else a stale one of the cache.

        Raise TransportError or PhpIpamError if there is none of these.
        """
        rows = None if self._again else self._cache.get(question)
        if rows is not None:
            return rows
        self._asked += 1
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
            said = "%s; its answer of %.0f minutes ago is used, see cache_stale_if_error"
            log.warning(said, error, age / 60)
        return rows


def _addresses_of(subnet: Subnet) -> str:
    return f"subnets/{subnet.id}/addresses/"
