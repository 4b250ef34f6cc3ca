"""TLS, always verified, against the machine's trusted certificates."""

import socket
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import UsageError
from .deadline import BoundedAdapter
from .limits import Limits


class Identity(NamedTuple):
    """A CA to trust in addition to the machine's certificates, and the client certificate."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    """None if `client_cert` contains the key."""

    def context(self) -> ssl.SSLContext:
        """Return a context for a new connection. Raise UsageError if a file is not valid."""
        context = _context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca_file:
                context.load_verify_locations(self.ca_file)
        except (OSError, ssl.SSLError):
            raise UsageError(f"ca_file: {self.ca_file} holds no certificate in PEM form") from None
        try:
            if self.client_cert:
                context.load_cert_chain(self.client_cert, self.client_key, password=_refuse_to_ask)
        except (OSError, ssl.SSLError, ValueError):
            raise UsageError(
                f"client_cert: {self.client_cert} and client_key are no certificate with its key in PEM form,"
                " without a passphrase"
            ) from None
        return context


def _context() -> ssl.SSLContext:
    """Return a context that trusts the machine's certificates."""
    if ssl.get_default_verify_paths().cafile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return context
    # It also finds them where OpenSSL does not, but reads them for each connection, which takes 27 ms.
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class TrustingAdapter(BoundedAdapter):
    """Verifies TLS against the machine's trusted certificates.

    requests alone has its own bundle and ignores `update-ca-certificates`. OpenSSL's SSL_CERT_FILE works, too;
    REQUESTS_CA_BUNDLE reaches the context through requests.
    """

    def __init__(self, identity: Identity, **options: Any) -> None:
        self._identity = identity
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of direct connections."""
        super().init_poolmanager(*args, ssl_context=self._identity.context(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pool of connections through a proxy."""
        contexts = {"ssl_context": self._identity.context(), "proxy_ssl_context": self._identity.context()}
        return super().proxy_manager_for(proxy, **contexts, **kwargs)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Add no trust: the inherited method would add requests' own bundle to the machine's certificates."""
        conn.cert_reqs = "CERT_REQUIRED"


def _refuse_to_ask() -> str:
    raise ValueError  # OpenSSL would ask at the terminal, which a run from cron does not have


class Certificate(NamedTuple):
    """Issuer and remaining validity of a trusted certificate."""

    issuer: str
    days_left: int


def certificate_of(url: str, identity: Identity) -> Certificate:
    """Return the certificate of an https URL's server, without a proxy. Raise OSError if it is not trusted."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, Limits().connect) as connection,
        identity.context().wrap_socket(connection, server_hostname=parts.hostname) as tls,
    ):
        shown = tls.getpeercert() or {}
    parts_of_name: Any = shown.get("issuer", ())
    names = {key: value for part in parts_of_name for key, value in part}
    issuer = names.get("commonName") or names.get("organizationName") or "an issuer without a name"
    expires = ssl.cert_time_to_seconds(str(shown.get("notAfter", "Jan  1 00:00:00 1970 GMT")))
    return Certificate(str(issuer), int((expires - time.time()) // 86400))
