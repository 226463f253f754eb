"""An authorization server's tokens and keys, in the form they have on the wire."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI, Response
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.kernel.settings import Settings
from app.surfaces.listening import bind, listening

ISSUER = "https://login.example"
AUDIENCE = "https://uaol.example/mcp"
SECRET = "s" * 32


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Signs with an RSA key (`r1`) and an elliptic one (`e1`)."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.fetched = 0
        self.extra: list[dict[str, Any]] = []

    def keys(self) -> dict[str, Any]:
        return {
            "keys": [
                {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "r1"},
                {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "e1"},
                *self.extra,
            ]
        }

    async def fetch(self) -> bytes:
        self.fetched += 1
        return json.dumps(self.keys()).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600}
        changed = {**usual, **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def token(self, headers: dict[str, Any] | None = None, /, **changes: Any) -> str:
        """Signed with the RSA key; a claim of None is left out."""
        named = {"kid": "r1", **(headers or {})}
        return jwt.encode(self.claims(**changes), self.rsa, "RS256", headers=named)

    def elliptic(self, **changes: Any) -> str:
        return jwt.encode(self.claims(**changes), self.ec, "ES256", headers={"kid": "e1"})

    def shared(self, secret: str = SECRET, **changes: Any) -> str:
        return jwt.encode(self.claims(**changes), secret, "HS256")

    def unsigned(self, **changes: Any) -> str:
        return f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(self.claims(**changes))}."

    def confused(self, **changes: Any) -> str:
        """HS256 with the public RSA key as the secret: anybody can make it."""
        public = self.rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        head = f"{segment({'alg': 'HS256', 'kid': 'r1'})}.{segment(self.claims(**changes))}"
        return f"{head}.{segment(hmac.digest(public, head.encode(), hashlib.sha256))}"


@asynccontextmanager
async def serving(issuer: Issuer) -> AsyncIterator[str]:
    """The URL of the issuer's key set on the loopback."""
    app = FastAPI()

    @app.get("/keys")
    async def keys() -> Response:
        return Response(await issuer.fetch(), media_type="application/json")

    @app.get("/moved")
    async def moved() -> Response:
        return Response(status_code=302, headers={"location": "/keys"})

    @app.get("/huge")
    async def huge() -> Response:
        return Response(b" " * 300_000)

    async with listening(app, Settings(), bind("127.0.0.1", 0)) as url:
        yield url
