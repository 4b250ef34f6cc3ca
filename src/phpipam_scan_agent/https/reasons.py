"""Errors of requests → plain words; the errors' own text contains the URL with its query. Pure."""

import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    InvalidChunkLength,
    NewConnectionError,
    ProtocolError,
)

from ..errors import ConnectionLostError, TransportError, UnreachableError
from .deadline import TooSlow
from .limits import Limits

WORDS: dict[type[BaseException] | tuple[type[BaseException], ...], str] = {
    RemoteDisconnected: "it closed the connection without an answer",
    (IncompleteRead, InvalidChunkLength): "the answer was cut off",
    (DecodeError, zlib.error): "the answer cannot be decompressed",
    HTTPException: "its answer is not HTTP",
    ProtocolError: "the answer was cut off",
}
"""Words for exceptions without `strerror`; classes that wrap others come last."""


class InTheClearError(ValueError):
    """A proxy would see the request unencrypted, and a report contains the scan agent code."""


def reason(error: BaseException, limits: Limits) -> str:
    """Given an error of a request with these limits, return the cause and what to do."""
    if isinstance(error, TooSlow):
        return f"no whole answer within {limits.whole:g} s; check that it is not overloaded, and the network"
    found = list(causes(error))
    for cause in found:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, FileNotFoundError) or "no certificate or crl found" in str(cause):
            return "the trusted certificates cannot be read; check SSL_CERT_FILE and REQUESTS_CA_BUNDLE"
    if words := _about_the_proxy(error, found):
        return words
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"TLS fails ({_innermost(found)}); check that the port serves https; it may require a client_cert"
        )
    if any(isinstance(cause, socket.gaierror) for cause in found):
        return f"the name does not resolve ({_innermost(found)}); check DNS and the name"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {limits.connect:g} s; check address, port and firewalls"
    if isinstance(error, requests.exceptions.Timeout) or any(isinstance(c, TimeoutError) for c in found):
        return f"no answer within {limits.read:g} s; check that it is not overloaded"
    return f"{_innermost(found)}; check that it runs, the URL and the network"


def _about_the_proxy(error: BaseException, found: list[BaseException]) -> str | None:
    """Return the cause and what to do if it is the environment's proxy; None otherwise."""
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy does not forward it ({_innermost(found)}); check https_proxy and no_proxy"
    if isinstance(error, InTheClearError):
        return (
            "the proxy of http_proxy would see it unencrypted, so it is not sent; use https, or add the host"
            " to no_proxy"
        )
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in str(error):
        return (
            "the proxy of the environment (ALL_PROXY, https_proxy) is a SOCKS proxy, which needs the Python package"
            " PySocks in the agent's environment; install it, or name an http proxy"
        )
    return None


def error_class(error: BaseException) -> type[TransportError]:
    """Given an error of requests, return the class of the agent's error."""
    unreachable = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
    lost = (ConnectionError, ProtocolError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    found = list(causes(error))
    if isinstance(error, requests.exceptions.ProxyError):
        return UnreachableError
    if any(isinstance(cause, unreachable) for cause in found):
        return UnreachableError
    if any(isinstance(cause, lost) for cause in found):
        return ConnectionLostError
    return TransportError


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message.rstrip(".") or "not verified"
    if "match" in why or "not valid for" in why:
        advice = "use the name that the certificate was made for"
    elif "expired" in why or "not yet valid" in why:
        advice = "renew it, or check this machine's clock"
    else:
        advice = "add its CA with update-ca-certificates, or name its file in ca_file or SSL_CERT_FILE"
    return f"its certificate is not trusted ({why}); {advice}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it wraps, from the outermost to the innermost."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__]


def _innermost(found: list[BaseException]) -> str:
    for cause in reversed(found):
        if isinstance(cause, OSError) and cause.strerror:
            return re.sub(r"^\[.*?\] | \(_ssl.*\)$", "", cause.strerror)
    for kinds, words in WORDS.items():
        if any(isinstance(cause, kinds) for cause in found):
            return words
    return f"the answer is not valid ({type(found[-1]).__name__})"
