"""phpIPAM's answers → their data, or an error with phpIPAM's message and what to check. Pure."""

import json

from ..errors import PhpIpamAwayError, PhpIpamError
from ..https import Answer
from ..system.redact import excerpt

NOTHING_FOUND = {
    "No results (filter applied)",
    "No subnets found",
    "No addresses found",
    "No slaves",
    "No objects found",
}
"""Messages that mean an empty list, with status 404, or 200 in phpIPAM 1.4. Other answers with 404 are errors."""

SECURITY = "the app's security must be 'SSL with App code token'"

ADVICE = {
    "Unauthorized": f"check client_token; {SECURITY}",
    "Invalid token": "client_token belongs to another app; check client_name and client_token",
    "Invalid application id": "check client_name, phpIPAM's App id, and that api_url ends before /api",
    "Application disabled": "enable the app below Administration → API",
    "API server disabled": "switch the API on below Administration → phpIPAM settings",
    "SSL connection is required for API": f"use https in api_url; {SECURITY}",
    "Invalid enc_request": SECURITY,
    "Invalid controller": "check api_url, which ends before /api",
    "invalid permissions": "give the app the permission Read",
    "Your IP has been blocked": "logins from this machine's address have failed; wait, and find their source",
    "Unable to read subnets": "phpIPAM has no subnet, or cannot read its database",
}


MEMORY_PER_VALUE = 170
"""Maximum bytes of memory for each comma or bracket of an answer during decoding, measured with hostile answers.
30,000 subnets with 50 fields each have 1,500,000 of them."""

MEMORY_PER_CHARACTER = 8
"""Bytes of memory for each character during decoding unless all are ASCII: two copies of four bytes."""


def data(url: str, answer: Answer, memory: int) -> object:
    """Given an answer, return its data. Raise PhpIpamError with phpIPAM's message and what to check.

    `memory` is the maximum number of bytes for the values.
    """
    needed = MEMORY_PER_VALUE * sum(map(answer.body.count, (b",", b"{", b"[")))
    if not answer.body.isascii():
        needed += MEMORY_PER_CHARACTER * len(answer.body)
    if needed > memory:
        why = "answers with more values than this run has memory for; check that it is phpIPAM"
        raise PhpIpamError(f"phpIPAM at {url} {why}")
    try:
        envelope = json.loads(answer.body)
        if not isinstance(envelope, dict):
            raise ValueError
    except (ValueError, RecursionError):
        kind = PhpIpamAwayError if answer.status >= 500 else PhpIpamError
        raise kind(f"phpIPAM at {url} answers HTTP {answer.status} {_not_json(answer)}") from None
    if answer.status == 200 and envelope.get("success") is True and "data" in envelope:
        return envelope["data"]
    message = excerpt(str(envelope.get("message") or "no message"), 300)
    if answer.status in (200, 404) and (message in NOTHING_FOUND or "message" not in envelope):
        return []
    advice = next(
        (advice for start, advice in ADVICE.items() if message.startswith(start)), "see phpIPAM's log"
    )
    raise PhpIpamError(f"phpIPAM at {url} refuses with HTTP {answer.status}: {message}; {advice}")


def _not_json(answer: Answer) -> str:
    if not answer.body and answer.status == 500:
        return "with an empty body; its database is down or PHP ran out of memory, see its log"
    if not answer.body:
        return "with an empty body; see the log of its web server and PHP"
    message = excerpt(answer.body[:100_000].decode("utf-8", "replace"), 120)
    if answer.status in (502, 503, 504):
        return f"({message}); see the log of the web server or proxy in front of phpIPAM"
    return f"({message}), which is not JSON; check that api_url is phpIPAM's front page, and see its log"
