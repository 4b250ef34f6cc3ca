"""Temporary certificate authorities, and server certificates that are valid or have one fault."""

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """The TLS context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class Authority:
    """A certificate authority; `file` is its certificate in PEM."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA(organization_name=f"The tests' {name}")
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def right(self) -> ssl.SSLContext:
        """For the addresses and the name of loopback."""
        return server_context(self._ca.issue_cert("127.0.0.1", "::1", "localhost"))

    def of_another_name(self) -> ssl.SSLContext:
        return server_context(self._ca.issue_cert("phpipam.example", "192.0.2.1"))

    def expired(self) -> ssl.SSLContext:
        now = datetime.now(timezone.utc)
        span = (now - timedelta(days=30), now - timedelta(days=1))
        return server_context(self._ca.issue_cert("127.0.0.1", not_before=span[0], not_after=span[1]))

    def not_yet_valid(self) -> ssl.SSLContext:
        now = datetime.now(timezone.utc)
        span = (now + timedelta(days=1), now + timedelta(days=30))
        return server_context(self._ca.issue_cert("127.0.0.1", not_before=span[0], not_after=span[1]))
