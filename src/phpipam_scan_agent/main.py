"""The workflow, once: config → cache → phpIPAM → nmap → report → upload."""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import FrameType

from . import arguments, config, folders, masking, output, probe, report, scanner
from .arguments import Options
from .cache import Cache
from .config import Config
from .errors import Interrupted, ScanAgentError
from .models import Outcome, ScanResult, Subnet
from .phpipam import PhpIpam
from .server import ScanServer
from .tally import Tally

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent once and return the exit code; every failure is a line on stderr."""
    options = arguments.parse(argv)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        output.start_logging(options.verbosity, options.log_format, _log_file(options))
        outcomes = run(options)
        output.summarise(outcomes, options.format, options.dry_run, options.verbosity < 0)
        return int(any(done.error for done in outcomes))
    except ScanAgentError as error:
        output.failed(error)
        return error.exit_code
    except Interrupted as interruption:
        output.failed(f"ended by {interruption}")
        return interruption.exit_code


def run(options: Options) -> list[Outcome]:
    """Do the whole workflow and return how it went with each subnet.

    What fails before the first scan is raised; from then on a failure is an Outcome.
    """
    # Check the configuration before anything is contacted
    settings = config.load(options.config)
    masking.hide(settings.secrets)
    clock = _clock(settings)

    # Expire the cache
    cache = Cache(folders.cache() / "phpipam.json", settings, clock)
    if not options.refresh:
        cache.load()

    # Ask phpIPAM for this agent's subnets and what it knows of them
    subnets, outcomes = _assigned(settings, cache, options)
    cache.save()
    for done in outcomes:
        _name_failure(done)

    # Scan each subnet and upload its report as soon as there is one
    with closing(ScanServer(settings)) as server:
        tally = Tally()
        for result in scanner.scan(subnets, settings, lambda: datetime.fromtimestamp(clock()).astimezone()):
            error = None if options.dry_run else _upload(server, result)
            if outcome := tally.add(result, not options.dry_run, error):
                _name_failure(outcome)
                outcomes.append(outcome)
    return outcomes


def _assigned(settings: Config, cache: Cache, options: Options) -> tuple[list[Subnet], list[Outcome]]:
    """Return the subnets to scan, with their addresses, and how it went with those that will not be."""
    with closing(PhpIpam(settings, cache)) as phpipam:
        assigned, outcomes = phpipam.subnets()
        if not assigned and not outcomes:
            log.warning("phpIPAM assigns no subnet to this agent; choose it as scan agent of a subnet there")
        chosen, skipped = probe.choose(assigned, options.only, settings.ipv6)
        outcomes += skipped
        whole = []
        for subnet in chosen:
            try:
                whole.append(phpipam.details(subnet))
            except ScanAgentError as error:
                outcomes.append(Outcome(str(subnet.network), subnet.id, error=str(error)))
        return whole, outcomes


def _upload(server: ScanServer, result: ScanResult) -> str | None:
    """Upload the report of a result; return what failed."""
    try:
        server.upload(report.make(result))
    except ScanAgentError as error:
        return str(error)
    return None


def _name_failure(done: Outcome) -> None:
    if done.error:
        output.failed(f"subnet {done.subnet}: {done.error}")


def _clock(settings: Config) -> Callable[[], float]:
    """Return the agent's clock, in seconds since the epoch: what ages the cache and dates the reports."""
    return lambda: time.time() + settings.epoch_time_offset


def _log_file(options: Options) -> Path | None:
    # ANSIBLE_LOG_PATH is the Ansible collection's name for it, kept so that old crontabs work.
    return options.log_file or (Path(path) if (path := os.environ.get("ANSIBLE_LOG_PATH")) else None)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)
