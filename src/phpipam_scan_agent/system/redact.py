"""What may be shown of text from outside: no secret, no control character, no more than a line."""

import json
import re
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote, quote_plus

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_TAGS = re.compile(r"(?s)<(style|script)\b.*?</\1>|</?[a-zA-Z!][^<>]*>")
"""What is in an HTML page beside its words."""

_secrets: list[str] = []
"""What is masked everywhere, longest first."""


def hide(secrets: Iterable[str]) -> None:
    """Mask these values from now on, also as they stand in a URL or in JSON."""
    # Messages are made without them; this catches a peer that says back what it was told.
    ways = (str, partial(quote, safe=""), quote, quote_plus, lambda secret: json.dumps(secret)[1:-1])
    forms = {way(secret) for secret in secrets for way in ways}
    _secrets[:] = sorted((form for form in forms if len(form) > 3), key=len, reverse=True)


def masked(text: str) -> str:
    """Return a text without the secrets in it."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def safe(text: str) -> str:
    """Return a text as it may be shown: secrets masked, control characters spelled out."""
    return _UNPRINTABLE.sub(lambda bad: ascii(bad[0])[1:-1], masked(text))


def quoted(text: str, most: int) -> str:
    """Return what somebody said, in one line of at most so many characters."""
    # Masked first: half a secret, or one with its blanks joined, would not be found any more.
    words = _TAGS.sub(" ", masked(text)).split()
    return " ".join(words)[:most]
