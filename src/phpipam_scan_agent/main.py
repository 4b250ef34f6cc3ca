"""One run of the workflow: config → cache → phpIPAM → nmap → report → upload."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from urllib.parse import urlsplit

from . import output
from .arguments import Options
from .config import Config, load
from .delivery import Delivery
from .delivery.server import ScanServer
from .delivery.spool import Spool
from .errors import Interrupted, LockedError, ScanAgentError
from .models import Outcome, Subnet, Summary
from .phpipam import PhpIpam
from .phpipam.cache import Cache
from .plan import targets
from .scan import Scan
from .scan.nmap import find_nmap
from .system import folders, lock, redact, signals

log = logging.getLogger(__name__)


def main(options: Options) -> int:
    """Run the agent once and return the exit code; every failure is a line on stderr."""
    signals.install()
    began = time.time()
    config = spool = None
    summary = Summary()
    findings = output.Findings(options.view)
    try:
        # ANSIBLE_LOG_PATH is the variable of the Ansible collection, kept so that old crontabs work.
        log_file = options.log_file or os.environ.get("ANSIBLE_LOG_PATH")
        output.start_logging(options.verbosity, options.log_format, log_file or None)
        # Check the configuration before anything is contacted
        config = load(options.config)
        redact.hide(config.secrets)
        spool = _spool(config)
        if options.check:
            return _check(options, config, spool)
        summary = run(options, config, spool, findings)
        output.show(summary, findings, options.wanted, options.dry_run)
        exit_code = int(summary.failed)
    except LockedError as error:
        output.failed(error)
        return error.exit_code  # the metrics are of the run that has the lock
    except (ScanAgentError, Interrupted) as error:
        output.failed(error)
        exit_code = error.exit_code
    output.end_logging()
    signals.finish()
    if config and spool and config.metrics_file and not options.partial:
        from .output import metrics  # takes a while to load

        metrics.write(config.metrics_file, summary, exit_code, began, time.time(), spool.facts())
    return exit_code


def run(options: Options, config: Config, spool: Spool, findings: output.Findings) -> Summary:
    """Run the workflow, add the findings for the view, and return the outcomes and problems.

    An error before the first scan is raised; a later one becomes an Outcome.
    """
    clock = _clock(config)
    folders.prepare()
    nmap = find_nmap()
    with (
        lock.held(folders.cache() / "lock"),
        closing(ScanServer(config)) as server,
        # Upload the reports of earlier runs meanwhile
        Delivery(spool, server, options.dry_run, config.name_form) as delivery,
        Cache(folders.cache() / "phpipam.json", config, clock) as cache,
        closing(PhpIpam(config, cache, clock)) as phpipam,
    ):
        # Expire the cache
        cache.load(renew=options.refresh)

        # Ask phpIPAM for this agent's subnets
        subnets, outcomes = _assigned(phpipam, config, options)

        # Ask for their addresses, scan each subnet as soon as its addresses are there, and deliver its report
        with phpipam.with_addresses(subnets) as answered:
            scan = Scan(answered, subnets, config, nmap, _now(config, clock))
            bar = output.Bar(len(subnets), scan.addresses, options.verbosity < 0, lambda: answered.done)
            outcomes += _scan(scan, bar, delivery, findings)
        if delivery.assignments_changed:
            cache.drop()
    return Summary(tuple(outcomes), tuple(delivery.problems), cache.age)


def _assigned(phpipam: PhpIpam, config: Config, options: Options) -> tuple[list[Subnet], list[Outcome]]:
    """Return the subnets to scan, without their addresses, and an Outcome for each of the others."""

    def ask(again: bool) -> tuple[list[Subnet], list[Outcome]]:
        assigned, failed = phpipam.subnets(again)
        chosen, left = targets.choose(assigned, options.only, config.ipv6, config.scan_parents)
        return chosen, failed + left

    chosen, outcomes = ask(again=False)
    if phpipam.only_cached and not (chosen and all(outcome.skipped for outcome in outcomes)):
        # The administrator may have corrected phpIPAM since.
        log.info(
            "phpIPAM's cached list of subnets leaves nothing to scan or has an error; asking for it again"
        )
        chosen, outcomes = ask(again=True)
    for warning in (targets.nothing_to_scan(chosen, outcomes), targets.in_several_vrfs(chosen)):
        if warning:
            log.warning("%s", warning)
    for outcome in outcomes:
        _log_error(outcome)
        if outcome.skipped:
            log.info("subnet %s: skipped: %s", outcome.subnet, outcome.skipped)
    return chosen, outcomes


def _scan(scan: Scan, bar: output.Bar, delivery: Delivery, findings: output.Findings) -> list[Outcome]:
    """Scan the subnets and deliver the results; return the outcome of each."""
    outcomes: list[Outcome] = []

    def finish(outcome: Outcome) -> None:
        bar.finish_subnet()
        _log_error(outcome)
        outcomes.append(outcome)

    try:
        with scan, bar:
            for result in scan:
                delivery.deliver(result)
                bar.advance(result)
                findings.add(result)
                for outcome in delivery.finished():
                    finish(outcome)
            for outcome in delivery.finish():
                finish(outcome)
    except Interrupted:
        for result in scan.untaken():
            for report, error in delivery.keep(result):
                output.failed(f"subnet {report.network}: {error}", subnet=str(report.network))
        raise
    return outcomes


def _log_error(outcome: Outcome) -> None:
    """Log the error of an outcome, if there is one."""
    if outcome.error:
        output.failed(f"subnet {outcome.subnet}: {outcome.error}", subnet=outcome.subnet)


def _check(options: Options, config: Config, spool: Spool) -> int:
    """Run the checks, show each, and return the exit code."""
    from . import check  # takes a while to load
    from .output.checks import show_checks

    checks = check.run_checks(options.config, config, _clock(config), spool)
    return int(not show_checks(checks, options.format))


def _spool(config: Config) -> Spool:
    parts = urlsplit(config.api_url)
    owner = f"{parts.hostname}{parts.path} {config.client_name}"
    return Spool(folders.spool(), config.spool_max_age, config.spool_max_size, _clock(config), owner)


def _clock(config: Config) -> Callable[[], float]:
    """Return the agent's clock, in seconds since the epoch: it ages cached answers and dates reports."""
    return lambda: time.time() + config.epoch_time_offset


def _now(config: Config, clock: Callable[[], float]) -> Callable[[], datetime]:
    """Return the agent's time with its zone."""
    zone = None
    if config.timezone:
        from zoneinfo import ZoneInfo  # takes a while to load

        zone = ZoneInfo(config.timezone)
    return lambda: datetime.fromtimestamp(clock(), zone).astimezone(zone)
