"""What servers write into `WWW-Authenticate`, well or badly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.oauth.challenge import Challenge, read_challenge

PLACE = "https://mcp.example/.well-known/oauth-protected-resource"


FULL = (
    'Bearer error="insufficient_scope", scope="files:read",error_description="a \\"b\\"",'
    f'resource_metadata="{PLACE}"'
)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (f'Bearer resource_metadata="{PLACE}"', Challenge(None, (), PLACE)),
        (
            f'bearer  RESOURCE_METADATA = "{PLACE}" , scope="a b"',
            Challenge(None, ("a", "b"), PLACE),
        ),
        (
            FULL,
            Challenge("insufficient_scope", ("files:read",), PLACE),
        ),
        ("Bearer error=invalid_token", Challenge("invalid_token", (), None)),
        (f'Basic realm="x", Bearer resource_metadata="{PLACE}"', Challenge(None, (), PLACE)),
        ('Bearer scope="a a b"', Challenge(None, ("a", "b"), None)),
        ("Bearer", Challenge()),
        ("Basic realm=x", Challenge()),
        ("", Challenge()),
        (None, Challenge()),
        ('Bearer error="unfinished', Challenge()),
        ('Bearer scope="with \x7f control"', Challenge(None, ("with", "control"), None)),
    ],
)
def test_challenges_are_read(header: str | None, wanted: Challenge) -> None:
    assert read_challenge(header) == wanted


@given(st.text(max_size=200))
def test_nothing_that_comes_raises(text: str) -> None:
    found = read_challenge(f"Bearer {text}")
    assert all(scope and " " not in scope for scope in found.scopes)
