"""Counters of reports, hosts and refusals, for Prometheus."""

from typing import Any

from prometheus_client import Counter, Histogram, generate_latest

_reports = Counter("scan_server_reports", "Reports stored")
_hosts = Counter("scan_server_hosts", "Results of stored reports", ["outcome"])
_refusals = Counter("scan_server_refusals", "Requests refused", ["reason"])
_seconds = Histogram("scan_server_report_seconds", "Time from a report's head to its answer")


def count(fields: dict[str, Any]) -> None:
    """Count a request by its fields in the log."""
    # A fault is answered after the request has been counted.
    if reason := "fault" if fields["status"] == 500 else fields.get("reason"):
        _refusals.labels(reason).inc()
    if "updated" in fields:
        _reports.inc()
        _seconds.observe(fields["seconds"])
        for outcome in ("updated", "added", "skipped", "refused"):
            _hosts.labels(outcome).inc(fields.get(outcome, 0))


def text() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest()
