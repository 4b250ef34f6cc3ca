"""Text from outside made safe to show: without secrets, control characters and line breaks, and short."""

import json
import re
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote, quote_plus

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_TAGS = re.compile(r"(?s)<(style|script)\b.*?</\1>|</?[a-zA-Z!][^<>]*>")
"""The parts of an HTML page that are not its text."""

_secrets: list[str] = []
"""The values to mask, longest first."""


def hide(secrets: Iterable[str]) -> None:
    """Mask these values from now on, also URL-encoded and JSON-escaped."""
    # The agent's own messages hold no secret; this is for a peer that echoes one.
    encodings = (str, partial(quote, safe=""), quote, quote_plus, lambda secret: json.dumps(secret)[1:-1])
    forms = {encode(secret) for secret in secrets for encode in encodings}
    _secrets[:] = sorted((form for form in forms if len(form) > 3), key=len, reverse=True)


def masked(text: str) -> str:
    """Return a text with `***` in place of each secret."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def safe(text: str) -> str:
    """Return a text with secrets masked and control characters escaped."""
    return _UNPRINTABLE.sub(lambda bad: ascii(bad[0])[1:-1], masked(text))


def excerpt(text: str, limit: int) -> str:
    """Return the start of a text, without HTML tags, as one line of at most `limit` characters."""
    # Masked first: half a secret, or one with its blanks joined, would not be recognized any more.
    words = _TAGS.sub(" ", masked(text)).split()
    return " ".join(words)[:limit]
