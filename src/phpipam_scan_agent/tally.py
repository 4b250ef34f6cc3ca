"""How it went with each subnet, summed over the parts of the large ones. Pure."""

from datetime import timedelta

from .models import Outcome, ScanResult


class Tally:
    """Takes results one by one; tells when a subnet's last part has come."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[ScanResult, str | None]]] = {}

    def add(self, result: ScanResult, uploaded: bool, error: str | None) -> Outcome | None:
        """Given a result and how its upload went, return the subnet's Outcome if no more parts will come."""
        parts = self._parts.setdefault(result.subnet.id, [])
        parts.append((result, error))
        if len(parts) < result.parts:
            return None
        del self._parts[result.subnet.id]
        return _sum([part for part, _ in parts], [error for _, error in parts], uploaded)


def _sum(parts: list[ScanResult], upload_errors: list[str | None], uploaded: bool) -> Outcome:
    subnet = parts[0].subnet
    ips = {address.ip for address in subnet.addresses}
    began = min(part.seen - timedelta(seconds=part.seconds) for part in parts)
    errors = [error for error in (*(part.error for part in parts), *upload_errors) if error]
    return Outcome(
        subnet=str(subnet.network),
        id=subnet.id,
        up=sum(len(part.hosts) for part in parts),
        known=sum(host.ip in ips for part in parts for host in part.hosts),
        seconds=(max(part.seen for part in parts) - began).total_seconds(),
        uploaded=uploaded and not any(upload_errors),
        error="; ".join(dict.fromkeys(errors)) or None,
    )
