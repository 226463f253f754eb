"""What is said to a token endpoint: a code with its verifier, or a refresh token, for tokens.

Every request names the resource (RFC 8707), so that a token is good for that one server alone.
"""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx2

from app.proxy.oauth.challenge import scopes_of
from app.proxy.oauth.faults import GrantRefusedError, failed
from app.proxy.oauth.types import AuthServer, Grant, Tokens
from app.proxy.oauth.web import Web, WebAnswer, host_of

_OK = 200
_REFUSALS = (400, 401, 403)
_LONGEST = 16_000
_LONGEST_S = 10 * 365 * 86_400
_TOKEN = frozenset(map(chr, range(0x21, 0x7F)))


def new_verifier() -> str:
    """A PKCE code verifier (RFC 7636, section 4.1): 43 characters, 256 random bits."""
    return secrets.token_urlsafe(32)


def challenge_of(verifier: str) -> str:
    """Its S256 challenge (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorize_url(
    server: AuthServer, grant: Grant, *, state: str, verifier: str, scopes: tuple[str, ...]
) -> str:
    """Where the browser goes (RFC 6749, section 4.1.1)."""
    query = {
        "response_type": "code",
        "client_id": grant.client.client_id,
        "redirect_uri": grant.redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "resource": grant.resource,
    }
    if scopes:
        query["scope"] = " ".join(scopes)
    mark = "&" if urlsplit(server.authorization_endpoint).query else "?"
    return f"{server.authorization_endpoint}{mark}{urlencode(query, quote_via=quote)}"


async def exchange(web: Web, grant: Grant, code: str, verifier: str, now: datetime) -> Tokens:
    """Tokens for a code. Raises `oauth_failed`."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": grant.redirect_uri,
        "code_verifier": verifier,
    }
    return await _ask(web, grant, form, now)


async def refresh(web: Web, grant: Grant, token: str, now: datetime) -> Tokens:
    """New tokens; the refresh token before is kept where no new one is given."""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    tokens = await _ask(web, grant, form, now)
    return tokens if tokens.refresh is not None else tokens._replace(refresh=token)


async def revoke(web: Web, grant: Grant, token: str) -> bool:
    """Tell the authorization server to forget a token (RFC 7009); whether it did."""
    if grant.revocation_endpoint is None:
        return False
    form, auth = _signed(grant, {"token": token})
    return (await web.post_form(grant.revocation_endpoint, form, auth)).status == _OK


async def _ask(web: Web, grant: Grant, form: dict[str, str], now: datetime) -> Tokens:
    signed, auth = _signed(grant, form | {"resource": grant.resource})
    answer = await web.post_form(grant.token_endpoint, signed, auth)
    host = host_of(grant.token_endpoint)
    if answer.status in _REFUSALS:
        raise GrantRefusedError(host, (answer.body or {}).get("error"))
    if answer.status != _OK or answer.body is None:
        raise failed(host, f"answers with HTTP {answer.status} and no tokens")
    return _tokens(host, answer, now)


def _signed(grant: Grant, form: dict[str, str]) -> tuple[dict[str, str], httpx2.BasicAuth | None]:
    """The form with what proves the client (RFC 6749, section 2.3.1)."""
    client = grant.client
    if client.method == "client_secret_basic" and client.client_secret is not None:
        coded = quote(client.client_id, safe=""), quote(client.client_secret, safe="")
        return form, httpx2.BasicAuth(*coded)
    form = form | {"client_id": client.client_id}
    if client.method == "client_secret_post" and client.client_secret is not None:
        form["client_secret"] = client.client_secret
    return form, None


def _tokens(host: str, answer: WebAnswer, now: datetime) -> Tokens:
    body = answer.body or {}
    access, again = body.get("access_token"), body.get("refresh_token")
    if str(body.get("token_type", "")).lower() != "bearer":
        raise failed(host, "gives tokens of another type than Bearer")
    if not _is_token(access) or not (again is None or _is_token(again)):
        raise failed(host, "gives something that is no token")
    scopes = scopes_of(body["scope"]) if "scope" in body else None
    return Tokens(str(access), again, _end(body.get("expires_in"), now), scopes)


def _end(seconds: Any, now: datetime) -> datetime | None:
    # Some servers write the number as a string.
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdecimal():
        seconds = int(seconds[:12])
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return now + timedelta(seconds=max(0.0, min(float(seconds), _LONGEST_S)))


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and _TOKEN.issuperset(value)
