"""TLS, always verified, against what the machine trusts."""

import ssl
from typing import Any

import truststore
from requests.adapters import HTTPAdapter


class TrustingTheMachine(HTTPAdapter):
    """Verifies TLS against the machine's trusted certificates.

    requests alone brings a bundle of its own and knows nothing of `update-ca-certificates`. SSL_CERT_FILE
    is OpenSSL's and works here too; REQUESTS_CA_BUNDLE reaches the context through requests itself.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of direct connections."""
        super().init_poolmanager(*args, ssl_context=_context(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pool of connections through a proxy."""
        contexts = {"ssl_context": _context(), "proxy_ssl_context": _context()}
        return super().proxy_manager_for(proxy, **contexts, **kwargs)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Add no trust: the inherited method would add requests' own bundle to what the machine trusts."""
        conn.cert_reqs = "CERT_REQUIRED"


def _context() -> ssl.SSLContext:
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
