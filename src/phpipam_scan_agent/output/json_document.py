"""`--format json`: the whole run as data. Its schema is src/packaging/summary.schema.json."""

from .. import VERSION
from ..models import Address, Outcome, Summary
from ..system.redact import safe, safe_values
from .findings import Findings, HostFinding, SubnetFindings


def document(summary: Summary, findings: Findings, dry_run: bool) -> dict[str, object]:
    """Return the run as a JSON object: its subnets, their hosts and silent addresses."""
    return {
        "version": VERSION,
        "dry_run": dry_run,
        "subnets": [_subnet(outcome, findings.of(outcome.id)) for outcome in summary.outcomes],
        "problems": [safe(problem) for problem in summary.problems],
    }


def _subnet(done: Outcome, found: SubnetFindings | None) -> dict[str, object]:
    values = safe_values(done._asdict() | {"new": done.new, "seconds": round(done.seconds, 3)})
    if found is None:
        return values | {"hosts": [], "silent": [], "excluded": []}
    missing = {each.id for each in found.missing}
    return values | {
        "hosts": [_host(each) for each in found.hosts],
        "silent": [_silent(each, each.id in missing) for each in found.silent],
        "excluded": [str(each.ip) for each in found.addresses if each.exclude_ping],
    }


def _host(found: HostFinding) -> dict[str, object]:
    host, address = found.host, found.host.address
    return safe_values(
        {
            "ip": str(host.ip),
            "status": found.status,
            "name": found.name or None,
            "mac": host.mac,
            "vendor": host.vendor or None,
            "reason": host.reason,
            "id": address.id if address else None,
            "phpipam_mac": address.mac if address else None,
            "mac_changed": host.mac_changed,
            "last_seen": str(address.last_seen) if address and address.last_seen else None,
        }
    )


def _silent(address: Address, missing: bool) -> dict[str, object]:
    return safe_values(
        {
            "ip": str(address.ip),
            "missing": missing,
            "name": address.hostname or None,
            "id": address.id,
            "last_seen": str(address.last_seen) if address.last_seen else None,
        }
    )
