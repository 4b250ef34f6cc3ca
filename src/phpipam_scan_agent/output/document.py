"""`--format json`: the whole run as data. Its schema is src/packaging/summary.schema.json."""

from datetime import datetime

from .. import VERSION
from ..models import Address, Outcome, Summary
from ..system.redact import safe
from .findings import Findings, Found, SubnetFindings


def document(summary: Summary, findings: Findings, dry_run: bool) -> dict[str, object]:
    """Return the run as what json.dumps takes: every subnet, host and change."""
    return {
        "version": VERSION,
        "dry_run": dry_run,
        "subnets": [_subnet(outcome, findings.of(outcome.id)) for outcome in summary.outcomes],
        "problems": [safe(problem) for problem in summary.problems],
    }


def _subnet(done: Outcome, found: SubnetFindings | None) -> dict[str, object]:
    return {
        "id": done.id,
        "subnet": safe(done.subnet),
        "up": done.up,
        "known": done.known,
        "new": done.new,
        "back": done.back,
        "mac_changed": done.mac_changed,
        "missing": done.missing,
        "seconds": round(done.seconds, 3),
        "uploaded": done.uploaded,
        "waiting": done.waiting,
        "skipped": done.skipped,
        "error": _safe(done.error),
        "hosts": [_host(each) for each in found.hosts] if found else [],
        "silent": [_silent(each, each in found.missing) for each in found.silent] if found else [],
        "excluded": [str(each.ip) for each in found.addresses if each.exclude_ping] if found else [],
    }


def _host(found: Found) -> dict[str, object]:
    host, address = found.host, found.host.address
    return {
        "ip": str(host.ip),
        "status": found.status,
        "name": _safe(found.name),
        "mac": host.mac,
        "vendor": _safe(host.vendor),
        "reason": safe(host.reason),
        "id": address.id if address else None,
        "phpipam_mac": address.mac if address else None,
        "mac_changed": host.mac_changed,
        "last_seen": _time(address.last_seen) if address else None,
    }


def _silent(address: Address, missing: bool) -> dict[str, object]:
    return {
        "ip": str(address.ip),
        "missing": missing,
        "name": _safe(address.hostname),
        "id": address.id,
        "last_seen": _time(address.last_seen),
    }


def _safe(text: str | None) -> str | None:
    return safe(text) if text else None


def _time(time: datetime | None) -> str | None:
    return str(time) if time else None
