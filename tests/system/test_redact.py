"""Secrets in the answers of servers are masked in each encoding, before texts are shortened."""

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phpipam_scan_agent.system import redact
from stand_ins.https import Answer
from stand_ins.phpipam import subnet
from stand_ins.site import Site

SECRET = "Zk3/vX9+qL'2Rt&w7BnP\"4HsUc6<dGa1"


@pytest.fixture(autouse=True)
def hidden() -> Iterator[None]:
    redact.hide((SECRET, "another-secret"))
    yield
    redact.hide(())


def pieces(text: str, secret: str = SECRET) -> list[str]:
    """The parts of a secret, of six characters, that a text contains."""
    parts = [secret[start : start + 6] for start in range(len(secret) - 5)]
    return [part for part in parts if part.lower() in text.lower()]


@pytest.mark.parametrize(
    "encode",
    [
        str,
        str.upper,
        str.lower,
        quote,
        quote_plus,
        lambda text: quote(text, safe="").lower(),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
        html.escape,
        lambda text: html.escape(text).replace("&#x27;", "&#039;"),
        lambda text: html.escape(text, quote=False),
        lambda text: text.encode().hex(),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"Bearer {text}".encode()).decode(),
        lambda text: base64.b64encode(f"user1:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"x:{text}, and more".encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_the_encodings_of_servers(encode: Callable[[str], str]) -> None:
    encoded = encode(SECRET)
    middle = encoded[len(encoded) // 2 - 6 :][:12]  # not of the text around the secret in base64
    for shown in (redact.safe(f"it says {encoded}."), redact.excerpt(f"<p>it says {encoded}.", 200)):
        assert "***" in shown
        assert middle not in shown


@pytest.mark.parametrize("filling", ["x", "x ", "<b>"])
@pytest.mark.parametrize("limit", [120, 10_000, 2_000])
def test_shortened_text_shows_no_part_of_a_secret(filling: str, limit: int) -> None:
    for before in range(limit - 40, limit + 10):
        text = (filling * limit)[:before] + SECRET + filling * 100
        assert pieces(redact.excerpt(text, limit)) == []
        assert pieces(redact.safe(text)) == []


def test_a_long_text_is_shortened_and_its_length_shown() -> None:
    assert redact.safe("x" * 20_000_000) == "x" * 2000 + "… (20,000,000 characters)"


@pytest.mark.parametrize("characters", [200 - 31, 200 - len("https://h/") - 16, 150])
def test_a_token_in_a_shortened_redirect_is_masked(characters: int, site: Site) -> None:
    site.phpipam.subnets = [subnet(10, "127.0.20.0/30")]
    token = site.settings["client_token"]
    location = "https://h/".ljust(characters, "x") + token + "y" * 100
    site.phpipam.instead["*"] = Answer(302, b"", {"Location": location})
    done = site.run()

    assert "redirects to https://h/xxx" in done.stderr
    assert pieces(done.stderr, token) == []


@given(said=st.text())
def test_safe_text_is_one_printable_line(said: str) -> None:
    shown = redact.safe(said)
    assert len(f"{shown}.".splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
