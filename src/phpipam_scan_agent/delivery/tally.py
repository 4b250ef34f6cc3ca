"""How it went with each subnet, summed over the parts of the large ones. Pure."""

from datetime import timedelta

from ..models import Delivered, Outcome, ScanResult


class Tally:
    """Takes results one by one; tells when a subnet's last part has come."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[ScanResult, Delivered]]] = {}

    def add(self, result: ScanResult, delivered: Delivered) -> Outcome | None:
        """Given a result and how its upload went, return the subnet's Outcome if no more parts will come."""
        parts = self._parts.setdefault(result.subnet.id, [])
        parts.append((result, delivered))
        if len(parts) < result.parts:
            return None
        del self._parts[result.subnet.id]
        return _sum([part for part, _ in parts], [delivered for _, delivered in parts])


def _sum(parts: list[ScanResult], deliveries: list[Delivered]) -> Outcome:
    subnet = parts[0].subnet
    began = min(part.seen - timedelta(seconds=part.seconds) for part in parts)
    errors = [
        subnet.addresses_error
        and f"scanned without the addresses that phpIPAM knows: {subnet.addresses_error}",
        *(part.error for part in parts),
        *(delivered.error for delivered in deliveries),
    ]
    return Outcome(
        subnet=str(subnet.network),
        id=subnet.id,
        up=sum(len(part.hosts) for part in parts),
        known=sum(host.address is not None for part in parts for host in part.hosts),
        back=sum(part.status(host) == "back" for part in parts for host in part.hosts),
        mac_changed=sum(host.mac_changed for part in parts for host in part.hosts),
        missing=sum(len(part.missing) for part in parts),
        seconds=(max(part.seen for part in parts) - began).total_seconds(),
        uploaded=all(delivered.uploaded for delivered in deliveries),
        waiting=any(delivered.waiting for delivered in deliveries),
        error="; ".join(dict.fromkeys(error for error in errors if error)) or None,
    )
