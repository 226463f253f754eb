"""JSON Web Tokens as credentials (RFC 7519), by the rules of RFC 8725: the server says which
algorithms and keys count, never the token.
"""

import re
from typing import Any

import jwt
import orjson

from app.auth.claims import Claims, TokenRules, read, refused
from app.auth.keyset import ALGORITHMS, KeySet, download
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LONGEST = 8192
_SYMMETRIC = "HS256"
_SECRET_BYTES = 32
# Other tokens of the same issuer, as `logout+jwt` and `dpop+jwt`, say what they are.
_TYPES = {None, "jwt", "at+jwt", "application/at+jwt"}
_jws = jwt.PyJWS()


def is_token(text: str) -> bool:
    """Whether `text` has the form of a JWT."""
    return len(text) <= _LONGEST and _FORM.fullmatch(text) is not None


class TokenVerifier:
    """Verifies tokens of one issuer, by a shared secret (HS256) or its keys (RS256, ES256)."""

    def __init__(self, rules: TokenRules, keys: KeySet | None, clock: Clock) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str) -> Claims:
        """What the token claims; `unauthenticated` if it is not to be believed."""
        header = _header(token)
        algorithm = header["alg"]
        payload = _payload(token, await self._key(algorithm, header.get("kid")), algorithm)
        return read(payload, self._rules, self._clock.now())

    async def _key(self, algorithm: str, kid: str | None) -> jwt.PyJWK | bytes:
        if algorithm == _SYMMETRIC and self._rules.secret is not None:
            return self._rules.secret
        if algorithm in ALGORITHMS and self._keys is not None:
            found = await self._keys.find(kid, algorithm)
            if found is not None:
                return found
        raise refused("is not signed by a key that counts here")


def _header(token: str) -> dict[str, Any]:
    try:
        header = _jws.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise refused("cannot be read") from error
    kind = header.get("typ")
    is_known = kind is None or (isinstance(kind, str) and kind.lower() in _TYPES)
    if not is_known or "crit" in header or not isinstance(header.get("alg"), str):
        raise refused("is of a kind that is not understood")
    return header


def _payload(token: str, key: jwt.PyJWK | bytes, algorithm: str) -> dict[str, Any]:
    try:
        payload = orjson.loads(_jws.decode(token, key, algorithms=[algorithm]))
    except (jwt.PyJWTError, orjson.JSONDecodeError) as error:
        raise refused("has a wrong signature") from error
    if not isinstance(payload, dict):
        raise refused("claims nothing")
    return payload


def token_verifier(settings: Settings, clock: Clock) -> TokenVerifier | None:
    """The verifier that the settings ask for; None if they name no issuer.

    Raises `config_invalid` for settings that would accept more than was meant.
    """
    if settings.jwt_issuer is None:
        return None
    secret = settings.jwt_secret.get_secret_value().encode() if settings.jwt_secret else None
    if secret is None and settings.jwt_jwks_url is None:
        raise _misconfigured("UAOL_JWT_ISSUER is set, but nothing that verifies its tokens.")
    if secret is not None and len(secret) < _SECRET_BYTES:
        raise _misconfigured(f"UAOL_JWT_SECRET is shorter than {_SECRET_BYTES} bytes.")
    keys = None
    if (url := settings.jwt_jwks_url) is not None:
        keys = KeySet(download(url, allow_private=settings.jwt_allow_private), clock)
    rules = TokenRules(
        issuer=settings.jwt_issuer,
        audiences=audiences(settings),
        leeway_s=settings.jwt_leeway,
        default_scopes=frozenset(settings.jwt_default_scopes),
        secret=secret,
    )
    return TokenVerifier(rules, keys, clock)


def audiences(settings: Settings) -> frozenset[str]:
    """The audiences that mean this server: the configured one, else its doors' URLs."""
    if settings.jwt_audience is not None:
        return frozenset({settings.jwt_audience})
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    return frozenset(base.rstrip("/") + door for door in ("/mcp", "/sse", "/ws"))


def _misconfigured(message: str) -> AppError:
    hint = "Set UAOL_JWT_JWKS_URL, or UAOL_JWT_SECRET with 32 bytes or more."
    return AppError(Code.CONFIG_INVALID, message, hint=hint)
