"""The public keys of the tokens' issuer (RFC 7517), fetched through the guarded way out."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import jwt
import orjson

from app.kernel.clock import Clock
from app.kernel.egress import GuardedTransport, check_target
from app.kernel.errors import AppError, Code

ALGORITHMS = frozenset({"RS256", "ES256"})
Fetch = Callable[[], Awaitable[bytes]]
"""The key set as it is served; raises `OSError`, `TimeoutError` or `httpx2.HTTPError`."""

_FRESH_S = 600.0
# Unknown key ids cost the issuer one request in this time, whoever sends them.
_AGAIN_S = 30.0
_USABLE_S = 3600.0
_TOTAL_S = 5.0
_LARGEST = 256 * 1024
_MOST_KEYS = 100
_RSA_BITS = 2048
_log = logging.getLogger(__name__)


class KeySet:
    """Keys by id, kept for ten minutes; for an hour while the issuer cannot be asked."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fresh_until = self._again_at = self._usable_until = -1.0

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id, or the only one; None if there is none for the algorithm.

        Raises `issuer_unavailable` if no keys are known and none can be had.
        """
        if self._clock.monotonic() >= self._fresh_until:
            await self._refresh()
        if (found := self._pick(kid)) is None:
            await self._refresh()
            found = self._pick(kid)
        if not self._keys:
            raise AppError(
                Code.ISSUER_UNAVAILABLE,
                "The keys that verify tokens cannot be fetched.",
                hint="Try again, or use an API key.",
            )
        return found if found is not None and found.algorithm_name == algorithm else None

    def _pick(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock.monotonic()
            if now < self._again_at:
                return
            self._again_at = now + _AGAIN_S
            try:
                self._keys = parse(await self._fetch())
            except (OSError, ValueError, httpx2.HTTPError) as error:
                _log.warning("no keys of the issuer", extra={"reason": str(error)})
                if now >= self._usable_until:
                    self._keys = {}
                return
            self._fresh_until, self._usable_until = now + _FRESH_S, now + _USABLE_S


def parse(raw: bytes) -> dict[str | None, jwt.PyJWK]:
    """The keys of a JWK set that may verify tokens; `ValueError` if it is none."""
    served = orjson.loads(raw)
    entries = served.get("keys") if isinstance(served, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004 - of what was served, not of the caller
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in entries[:_MOST_KEYS]:
        if isinstance(entry, dict) and (key := _key(entry)) is not None:
            keys.setdefault(key.key_id, key)
    return keys


def _key(entry: dict[str, Any]) -> jwt.PyJWK | None:
    algorithm = _algorithm(entry)
    # A private key here is no secret, and a symmetric one would be everybody's.
    if algorithm is None or "d" in entry or not isinstance(entry.get("kid"), str | None):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if algorithm == "RS256" and key.key.key_size < _RSA_BITS else key


def _algorithm(entry: Mapping[str, Any]) -> str | None:
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case _:
            return None
    is_for_signatures = entry.get("use", "sig") == "sig"
    return algorithm if is_for_signatures and entry.get("alg", algorithm) == algorithm else None


def download(url: str, *, allow_private: bool) -> Fetch:
    """Fetches the set at `url`, at most 256 KiB in 5 seconds; `config_invalid` for a bad URL."""
    try:
        target = check_target(url, allow_private=allow_private)
    except AppError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"UAOL_JWT_JWKS_URL: {error.message}",
            hint="Give the https:// URL of the issuer's key set.",
        ) from error
    tls: list[ssl.SSLContext] = []

    async def fetch() -> bytes:
        if not tls:
            # Reading the certificates takes tens of milliseconds.
            tls.append(await asyncio.to_thread(ssl.create_default_context))
        transport = GuardedTransport(allow_private=allow_private, tls=tls[0], max_connections=1)
        async with asyncio.timeout(_TOTAL_S), transport:
            return await _body(transport, target)

    return fetch


async def _body(transport: GuardedTransport, url: str) -> bytes:
    times = dict.fromkeys(("connect", "read", "write", "pool"), _TOTAL_S)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    request = httpx2.Request("GET", url, headers=headers, extensions={"timeout": times})
    response = await transport.handle_async_request(request)
    try:
        if response.status_code != httpx2.codes.OK:
            raise ValueError(f"the answer has the status {response.status_code}")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        body = bytearray()
        async for chunk in response.stream:
            body += chunk
            if len(body) > _LARGEST:
                raise ValueError(f"the answer has more than {_LARGEST} bytes")
        return bytes(body)
    finally:
        await response.aclose()
