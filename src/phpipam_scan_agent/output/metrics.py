"""Metrics of a run for Prometheus, in a file for node_exporter's textfile collector."""

import logging
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from .. import VERSION
from ..models import Outcome, Summary
from ..system import files
from ..system.redact import safe

log = logging.getLogger(__name__)

PREFIX = "phpipam_scan_agent_"
MAX_SIZE = 16 * 1024 * 1024
"""Maximum size of the file in bytes: about 40,000 subnets."""

LAST_SUCCESS = f"{PREFIX}last_success_timestamp_seconds"


def write(
    path: Path, summary: Summary, exit_code: int, began: float, ended: float, spool: tuple[int, int]
) -> None:
    """Write the metrics of a run to a temporary file and rename it; failure is a warning.

    `began` and `ended` are in seconds since the epoch, `spool` is the number of reports in the spool and their bytes.
    """
    registry = CollectorRegistry()
    figures = {
        "last_run_timestamp_seconds": ("When the last run ended", ended),
        "last_run_duration_seconds": ("Duration of the last run", ended - began),
        "last_run_success": ("1 if nothing failed in the last run", exit_code == 0),
        "last_run_exit_code": ("Exit code of the last run", exit_code),
        "last_success_timestamp_seconds": (
            "When the last run without a failure ended",
            min(_last_success(path), ended) if exit_code else ended,  # the clock may have been ahead
        ),
        "spool_reports": ("Reports that wait for the Scan Server", spool[0]),
        "spool_bytes": ("Bytes of the waiting reports", spool[1]),
        "cache_age_seconds": ("Age of the oldest answer of phpIPAM's in use", summary.cache_age),
    }
    for name, (help_, value) in figures.items():
        Gauge(PREFIX + name, help_, registry=registry).set(value)
    Gauge(f"{PREFIX}info", "The agent's version", ["version"], registry=registry).labels(VERSION).set(1)
    _subnet_gauges(registry, summary)
    try:
        # Readable, as node_exporter runs as another user, who may write in this folder: no symlink is followed.
        files.replace(path, generate_latest(registry), mode=0o644)
    except OSError as error:
        log.warning("metrics_file: %s cannot be written: %s", path, error.strerror)


def _subnet_gauges(registry: CollectorRegistry, summary: Summary) -> None:
    figures: dict[str, tuple[str, Callable[[Outcome], float]]] = {
        "subnet_hosts_up": ("Hosts that answered", lambda outcome: outcome.up),
        "subnet_hosts_new": ("Hosts up that phpIPAM does not have", lambda outcome: outcome.new),
        "subnet_hosts_back": ("Hosts up, not seen for a day", lambda outcome: outcome.back),
        "subnet_macs_changed": ("Hosts up with another MAC address", lambda outcome: outcome.mac_changed),
        "subnet_hosts_missing": ("Silent addresses, seen within a day", lambda outcome: outcome.missing),
        "subnet_scan_seconds": ("Duration of the scan", lambda outcome: outcome.seconds),
        "subnet_uploaded": ("1 if each report was uploaded", lambda outcome: outcome.uploaded),
        "subnet_waiting": ("1 if a report waits for the next run", lambda outcome: outcome.waiting),
    }
    for name, (help_, value) in figures.items():
        gauge = Gauge(PREFIX + name, help_, ["subnet", "id"], registry=registry)
        for outcome in summary.outcomes:
            if not outcome.skipped:
                # The subnet's text is phpIPAM's, not validated.
                gauge.labels(safe(outcome.subnet), str(outcome.id or "")).set(value(outcome))


def _last_success(path: Path) -> float:
    """Return the time of the last success from the file of an earlier run; 0 if there is none."""
    try:
        for family in text_string_to_metric_families(files.read(path, MAX_SIZE).decode()):
            if family.name == LAST_SUCCESS:
                return family.samples[0].value
    except (OSError, ValueError, IndexError, KeyError):
        pass
    return 0.0
