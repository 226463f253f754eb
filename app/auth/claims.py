"""What a verified JWT claims (RFC 7519, RFC 9068), against what this server accepts. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.kernel.errors import AppError, Code
from app.kernel.principal import USER_SCOPES

# Keys alone can be an operator's: whoever runs the issuer does not run this platform.
_GRANTABLE = frozenset(scope.value for scope in USER_SCOPES)
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are accepted. `audiences` are resource identifiers of this server (RFC 8707)."""

    issuer: str
    audiences: frozenset[str]
    leeway_s: float = 30.0
    default_scopes: frozenset[str] = frozenset()
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom a token is about. `email` is there only if the issuer says that it verified it."""

    issuer: str
    subject: str
    client: str
    scopes: frozenset[str]
    expires_at: datetime
    email: str | None = None


def read(payload: Mapping[str, Any], rules: TokenRules, now: datetime) -> Claims:
    """The claims of a token whose signature is right; `unauthenticated`, with why, otherwise."""
    if payload.get("iss") != rules.issuer:
        raise refused("comes from another issuer")
    if not _audiences(payload.get("aud")) & {_plain(each) for each in rules.audiences}:
        raise refused("was issued for another audience")
    expires_at = _times(payload, rules.leeway_s, now.timestamp())
    return Claims(
        issuer=rules.issuer,
        subject=_text(payload, "sub"),
        client=_client(payload),
        scopes=_scopes(payload, rules.default_scopes),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        email=_email(payload),
    )


def refused(why: str) -> AppError:
    """The error of a token that lets nobody in."""
    return AppError(
        Code.UNAUTHENTICATED,
        f"The token {why}.",
        hint="Get a new token for this server from its authorization server.",
    )


def _plain(identifier: str) -> str:
    return identifier.removesuffix("/")


def _audiences(given: object) -> set[str]:
    listed: Iterable[object] = given if isinstance(given, list) else [given]
    return {_plain(each) for each in listed if isinstance(each, str)}


def _times(payload: Mapping[str, Any], leeway_s: float, now: float) -> float:
    expires_at = _moment(payload, "exp")
    if expires_at is None:
        raise refused("never expires")
    if now >= expires_at + leeway_s:
        raise refused("has expired")
    for name in ("nbf", "iat"):
        since = _moment(payload, name)
        if since is not None and now < since - leeway_s:
            raise refused("is not valid yet")
    return expires_at


def _moment(payload: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate in seconds; absent is None."""
    given = payload.get(name)
    if given is None:
        return None
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    # Year 9999: beyond it no date can be made.
    if not is_number or not math.isfinite(given) or not 0 <= given < 253_402_300_800:
        raise refused(f"has no time in {name}")
    return float(given)


def _text(payload: Mapping[str, Any], name: str) -> str:
    given = payload.get(name)
    if not isinstance(given, str) or not 0 < len(given) <= _LONGEST or not given.isprintable():
        raise refused(f"says nothing usable in {name}")
    return given


def _client(payload: Mapping[str, Any]) -> str:
    for name in ("client_id", "azp"):
        if name in payload:
            return _text(payload, name)
    return ""


def _scopes(payload: Mapping[str, Any], default: frozenset[str]) -> frozenset[str]:
    given = payload.get("scope", payload.get("scp"))
    if given is None:
        return default & _GRANTABLE
    names = given.split() if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refused("lists its scopes in an unknown form")
    return frozenset(names) & _GRANTABLE


def _email(payload: Mapping[str, Any]) -> str | None:
    email = payload.get("email")
    return email if payload.get("email_verified") is True and isinstance(email, str) else None
