"""The workflow, once: config → cache → phpIPAM → nmap → report → upload."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from . import arguments, config, folders, interruption, lock, masking, output, probe
from .arguments import Options
from .cache import Cache
from .config import Config
from .delivery import Delivery
from .errors import Interrupted, ScanAgentError
from .models import Outcome, Subnet, Summary
from .phpipam import PhpIpam
from .scanner import Scan
from .server import ScanServer
from .spool import Spool
from .tally import Tally

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent once and return the exit code; every failure is a line on stderr."""
    options = arguments.parse(argv)
    interruption.install()
    try:
        output.start_logging(options.verbosity, options.log_format, _log_file(options))
        summary = run(options)
        output.summarise(summary, options.format, options.dry_run, options.verbosity < 0)
        return int(summary.failed)
    except ScanAgentError as error:
        output.failed(error)
        return error.exit_code
    except Interrupted as interrupted:
        output.failed(f"ended by {interrupted}")
        return interrupted.exit_code


def run(options: Options) -> Summary:
    """Do the whole workflow and return how it went.

    What fails before the first scan is raised; from then on a failure is an Outcome.
    """
    # Check the configuration before anything is contacted
    settings = config.load(options.config)
    masking.hide(settings.secrets)
    clock = _clock(settings)

    with lock.held(folders.cache() / "lock"), closing(ScanServer(settings)) as server:
        # Send what earlier runs could not
        delivery = Delivery(_spool(settings, clock), server, options.dry_run)
        problems = delivery.send_waiting()
        output.failed(*problems)

        # Expire the cache
        cache = Cache(folders.cache() / "phpipam.json", settings, clock)
        if not options.refresh:
            cache.load()

        # Ask phpIPAM for this agent's subnets and what it knows of them
        subnets, outcomes = _assigned(settings, cache, clock, options)
        cache.save()

        # Scan them, and deliver each report as soon as there is one
        outcomes += _scan(subnets, settings, clock, delivery)

        # Say what waits for the next run
        if left := delivery.left():
            output.failed(left)
            problems.append(left)
    return Summary(tuple(outcomes), tuple(problems))


def _assigned(
    settings: Config, cache: Cache, clock: Callable[[], float], options: Options
) -> tuple[list[Subnet], list[Outcome]]:
    """Return the subnets to scan, with their addresses, and how it went with those that will not be."""
    with closing(PhpIpam(settings, cache, clock)) as phpipam:
        assigned, outcomes = phpipam.subnets()
        if not assigned and not outcomes:
            log.warning("phpIPAM assigns no subnet to this agent; choose it as scan agent of a subnet there")
        chosen, left = probe.choose(assigned, options.only, settings.ipv6)
        outcomes += left
        subnets = []
        for subnet in chosen:
            try:
                subnets.append(probe.possible(phpipam.details(subnet)))
            except ScanAgentError as error:
                outcomes.append(Outcome(str(subnet.network), subnet.id, error=str(error)))
    for outcome in outcomes:
        _name_failure(outcome)
    return subnets, outcomes


def _scan(
    subnets: Sequence[Subnet], settings: Config, clock: Callable[[], float], delivery: Delivery
) -> list[Outcome]:
    """Scan the subnets and deliver what is found; return how it went with each."""
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    scan = Scan(subnets, settings, lambda: datetime.fromtimestamp(clock(), zone).astimezone(zone))
    tally = Tally()
    outcomes = []
    try:
        with scan:
            for result in scan:
                if outcome := tally.add(result, delivery.deliver(result)):
                    _name_failure(outcome)
                    outcomes.append(outcome)
    except Interrupted:
        for result in scan.rest():
            delivery.keep(result)
        raise
    return outcomes


def _name_failure(outcome: Outcome) -> None:
    if outcome.error:
        output.failed(f"subnet {outcome.subnet}: {outcome.error}")


def _spool(settings: Config, clock: Callable[[], float]) -> Spool:
    spool = Spool(folders.state() / "spool", settings.spool_max_age, settings.spool_max_size, clock)
    spool.tidy()
    return spool


def _clock(settings: Config) -> Callable[[], float]:
    """Return the agent's clock, in seconds since the epoch: what ages the cache and dates the reports."""
    return lambda: time.time() + settings.epoch_time_offset


def _log_file(options: Options) -> Path | None:
    # ANSIBLE_LOG_PATH is the Ansible collection's name for it, kept so that old crontabs work.
    return options.log_file or (Path(path) if (path := os.environ.get("ANSIBLE_LOG_PATH")) else None)
