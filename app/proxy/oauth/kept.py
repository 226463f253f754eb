"""What is sealed: the tokens of a connection, and what a flow needs at its end."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy.oauth.types import AuthServer, Client, Grant, Tokens
from app.vault import SecretKeeper, SecretRef


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """The tokens of a connection, with all that is needed for the next ones."""

    grant: Grant
    tokens: Tokens = field(repr=False)

    def dump(self) -> bytes:
        """The bytes to seal."""
        expires = self.tokens.expires_at
        return orjson.dumps(
            {
                "grant": _grant(self.grant),
                "access": self.tokens.access,
                "refresh": self.tokens.refresh,
                "expires_at": None if expires is None else expires.isoformat(),
                "scopes": self.tokens.scopes,
            }
        )

    @classmethod
    def load(cls, raw: bytes) -> "KeptTokens":
        """What `dump` wrote."""
        found = orjson.loads(raw)
        expires, scopes = found["expires_at"], found["scopes"]
        tokens = Tokens(
            found["access"],
            found["refresh"],
            None if expires is None else datetime.fromisoformat(expires),
            None if scopes is None else tuple(scopes),
        )
        return cls(_read_grant(found["grant"]), tokens)


@dataclass(frozen=True, slots=True)
class KeptFlow:
    """A connection under way."""

    grant: Grant
    server: AuthServer
    origin: str
    scopes: tuple[str, ...]
    state: str = field(repr=False)
    verifier: str = field(repr=False)

    def dump(self) -> bytes:
        """The bytes to seal."""
        return orjson.dumps(
            {
                "grant": _grant(self.grant),
                "server": self.server._asdict(),
                "origin": self.origin,
                "scopes": self.scopes,
                "state": self.state,
                "verifier": self.verifier,
            }
        )

    @classmethod
    def load(cls, raw: bytes) -> "KeptFlow":
        """What `dump` wrote."""
        found = orjson.loads(raw)
        server = found["server"]
        lists = {name: tuple(server[name]) for name in ("scopes", "methods")}
        return cls(
            _read_grant(found["grant"]),
            AuthServer(**(server | lists)),
            found["origin"],
            tuple(found["scopes"]),
            found["state"],
            found["verifier"],
        )


def _grant(grant: Grant) -> dict[str, Any]:
    return grant._asdict() | {"client": grant.client.as_dict()}


def _read_grant(raw: dict[str, Any]) -> Grant:
    return Grant(**(raw | {"client": Client(**raw["client"])}))


async def read_tokens(
    keeper: SecretKeeper, principal: Principal, ref: SecretRef
) -> KeptTokens | None:
    """The tokens of a connection; None if there are none that can be opened."""
    try:
        found = await keeper.get(principal, [ref])
    except AppError as error:
        if error.code is not Code.SECRET_UNREADABLE:
            raise
        return None
    return KeptTokens.load(found[ref].value) if ref in found else None
