"""Untrusted text made safe to show: without secrets, control characters and line breaks, and short."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

MAX_SHOWN = 2000
"""Maximum length of a shown text in characters."""

_WINDOW = 10_000
"""Characters of a text from which an excerpt is made; most of them may be HTML tags."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_TAGS = re.compile(r"(?s)<(style|script)\b.*?</\1>|</?[a-zA-Z!][^<>]*>")
"""Parts of an HTML page that are not text."""

_secrets = re.compile(r"(?!)")
"""Matches each secret in each of its encodings; `(?!)` matches nothing."""

_longest_secret = 0
"""Length of the longest encoded secret in characters."""


def hide(secrets: Iterable[str]) -> None:
    """Mask these values from now on, in any case and in the encodings in which servers echo them."""
    # The agent's own messages contain no secret; a peer may echo one.
    global _secrets, _longest_secret
    forms = {form for secret in secrets for form in _encodings(secret) if len(form) > 3}
    longest_first = sorted(forms, key=len, reverse=True)
    _secrets = re.compile("|".join(map(re.escape, longest_first)) or "(?!)", re.IGNORECASE)
    _longest_secret = max(map(len, forms), default=0)


def _encodings(secret: str) -> Iterator[str]:
    """Yield a secret as text and in the encodings of URLs, JSON, HTML and base64 (also inside a longer text)."""
    in_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1])
    yield from in_json
    yield from (form.replace("/", r"\/") for form in in_json)  # PHP's
    for entities in (html.escape(secret), html.escape(secret, quote=False)):
        yield from (entities, entities.replace("&#x27;", "&#39;"), entities.replace("&#x27;", "&#039;"))
    content = secret.encode("utf-8", "surrogatepass")
    yield content.hex()
    for before in range(3):
        # Without the characters that also encode bits of the text before or after the secret.
        encoded = base64.b64encode(bytes(before) + content).decode().rstrip("=")
        end = None if (before + len(content)) % 3 == 0 else -1
        inner = encoded[(0, 2, 3)[before] : end]
        if len(inner) > 7:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


def masked(text: str) -> str:
    """Return a text with `***` in place of each secret."""
    return _secrets.sub("***", text)


def safe(text: str) -> str:
    """Return a text as one line of bounded length, with secrets masked and control characters escaped."""
    shown = _UNPRINTABLE.sub(lambda bad: ascii(bad[0])[1:-1], _start(text, MAX_SHOWN))
    if len(text) <= MAX_SHOWN:
        return shown
    return f"{shown[:MAX_SHOWN]}… ({len(text):,} characters)"


def safe_values(fields: Mapping[str, object]) -> dict[str, object]:
    """Return data fields with each text made safe."""
    return {key: safe(value) if isinstance(value, str) else value for key, value in fields.items()}


def excerpt(text: str, limit: int) -> str:
    """Return the start of a text, without HTML tags, as one line of at most `limit` characters."""
    return " ".join(_TAGS.sub(" ", _start(text, _WINDOW)).split())[:limit]


def _start(text: str, limit: int) -> str:
    """Return the start of a text, masked before the cut: a part of a secret would not be recognized."""
    if len(text) <= limit:
        return masked(text)
    window = masked(text[: limit + _longest_secret])
    return window[:-_longest_secret] if _longest_secret else window  # without a secret that the window cuts
