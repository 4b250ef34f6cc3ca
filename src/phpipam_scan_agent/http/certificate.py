"""The certificate that a server shows."""

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import patience
from .tls import Identity


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an operator wants to know of a certificate that is trusted."""

    issuer: str
    days_left: int


def shown_by(url: str, identity: Identity) -> Certificate:
    """Return the certificate of an https URL's server, asked directly. Raise OSError if it is not trusted."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, patience.CONNECT) as connection,
        identity.context().wrap_socket(connection, server_hostname=parts.hostname) as tls,
    ):
        shown = tls.getpeercert() or {}
    parts_of_name: Any = shown.get("issuer", ())
    names = {key: value for part in parts_of_name for key, value in part}
    issuer = names.get("commonName") or names.get("organizationName") or "an issuer without a name"
    expires = ssl.cert_time_to_seconds(str(shown.get("notAfter", "Jan  1 00:00:00 1970 GMT")))
    return Certificate(str(issuer), int((expires - time.time()) // 86400))
