"""JWTs: which are believed, and which are not."""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from app.auth.claims import TokenRules
from app.auth.jwt import TokenVerifier, is_token, token_verifier
from app.auth.keyset import KeySet, download, parse
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from tests.auth.issuer import AUDIENCE, ISSUER, SECRET, Issuer, segment, serving
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
RULES = TokenRules(ISSUER, frozenset({AUDIENCE}), 30.0, frozenset({"jobs"}))


@pytest.fixture(scope="module")
def keyed() -> Issuer:
    return Issuer()


@pytest.fixture
def issuer(keyed: Issuer) -> Issuer:
    keyed.fetched, keyed.extra = 0, []
    return keyed


def verifier(issuer: Issuer, clock: Clock | None = None) -> TokenVerifier:
    now = clock or SystemClock()
    return TokenVerifier(RULES, KeySet(issuer.fetch, now), now)


async def refusal(token: str, by: TokenVerifier) -> str:
    with pytest.raises(AppError) as caught:
        await by.verify(token)
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value.message


async def test_a_token_is_believed(issuer: Issuer) -> None:
    by = verifier(issuer)
    for token in (
        issuer.token(client_id="cursor", scope="tools jobs admin of_others"),
        issuer.elliptic(azp="cursor", scp=["tools", "jobs"]),
        issuer.token(
            {"typ": "at+jwt"}, aud=["x", AUDIENCE + "/"], client_id="cursor", scp="tools jobs"
        ),
    ):
        claims = await by.verify(token)
        assert (claims.subject, claims.client) == ("ada", "cursor")
        assert claims.scopes == {"tools", "jobs"}
        assert abs(claims.expires_at.timestamp() - time.time() - 600) < 30
    assert issuer.fetched == 1


async def test_scopes_of_a_token_that_names_none(issuer: Issuer) -> None:
    by = verifier(issuer)
    assert (await by.verify(issuer.token())).scopes == {"jobs"}
    assert (await by.verify(issuer.token(scope=""))).scopes == frozenset()


async def test_an_address_counts_only_if_it_was_verified(issuer: Issuer) -> None:
    by = verifier(issuer)
    for verified, email in ((True, "ada@example.org"), (None, None), ("true", None), (1, None)):
        token = issuer.token(email="ada@example.org", email_verified=verified)
        assert (await by.verify(token)).email == email


HOSTILE: dict[str, Any] = {
    "unsigned": lambda i: i.unsigned(),
    "the public key as a secret": lambda i: i.confused(),
    "a secret where none counts": lambda i: i.shared(),
    "another key": lambda i: jwt.encode(i.claims(), Issuer().rsa, "RS256", headers={"kid": "r1"}),
    "an unknown kid": lambda i: i.token({"kid": "other"}),
    "a kid of another kind of key": lambda i: i.token({"kid": "e1"}),
    "no kid where there are several": lambda i: jwt.encode(i.claims(), i.rsa, "RS256"),
    "a kid that is no text": lambda i: f"{segment({'alg': 'RS256', 'kid': 5})}.e30.e30",
    "another algorithm": lambda i: jwt.encode(i.claims(), i.rsa, "RS512", headers={"kid": "r1"}),
    "an algorithm that is no text": lambda i: f"{segment({'alg': ['RS256']})}.e30.e30",
    "another kind of token": lambda i: i.token({"typ": "logout+jwt"}),
    "a critical extension": lambda i: i.token({"crit": ["exp"]}),
    "a changed payload": lambda i: ".".join(
        [(t := i.token().split("."))[0], segment(i.claims(sub="eve")), t[2]]
    ),
    "another issuer": lambda i: i.token(iss="https://evil.example"),
    "no issuer": lambda i: i.token(iss=None),
    "another audience": lambda i: i.token(aud="https://other.example/mcp"),
    "an audience that begins alike": lambda i: i.token(aud=AUDIENCE + ".evil.example"),
    "no audience": lambda i: i.token(aud=None),
    "expired": lambda i: i.token(exp=int(time.time()) - 31),
    "never expiring": lambda i: i.token(exp=None),
    "an endless expiry": lambda i: i.token(exp=1e300),
    "an expiry in words": lambda i: i.token(exp="tomorrow"),
    "not valid yet": lambda i: i.token(nbf=int(time.time()) + 60),
    "issued in the future": lambda i: i.token(iat=int(time.time()) + 60),
    "about nobody": lambda i: i.token(sub=None),
    "about a number": lambda i: f"{(t := i.token(sub=None)).split('.')[0]}.e30.{t.split('.')[2]}",
    "scopes in an unknown form": lambda i: i.token(scope={"tools": True}),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_token_is_not_believed(issuer: Issuer, name: str) -> None:
    token = HOSTILE[name](issuer)
    assert is_token(token)
    said = await refusal(token, verifier(issuer))
    assert token.split(".")[1] not in said


async def test_the_leeway(issuer: Issuer) -> None:
    clock = ManualClock()
    by, now = verifier(issuer, clock), int(clock.now().timestamp())
    await by.verify(issuer.token(exp=now - 20, nbf=now + 20, iat=now + 20))


async def test_a_shared_secret(issuer: Issuer) -> None:
    by = TokenVerifier(
        TokenRules(ISSUER, frozenset({AUDIENCE}), secret=SECRET.encode()), None, SystemClock()
    )
    assert (await by.verify(issuer.shared())).subject == "ada"
    for token in (issuer.shared("t" * 32), issuer.token(), issuer.unsigned(), issuer.confused()):
        await refusal(token, by)


async def test_unknown_kids_do_not_flood_the_issuer(issuer: Issuer) -> None:
    clock = ManualClock()
    keys = KeySet(issuer.fetch, clock)
    assert await keys.find("r1", "RS256") is not None
    for _ in range(5):
        assert await keys.find("new", "RS256") is None
    assert issuer.fetched == 1
    new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer.extra = [{**RSAAlgorithm.to_jwk(new.public_key(), as_dict=True), "kid": "new"}]
    clock.advance(31)
    assert await keys.find("new", "RS256") is not None
    assert issuer.fetched == 2


async def test_keys_outlive_an_issuer_that_is_away_for_an_hour() -> None:
    clock, issuer = ManualClock(), Issuer()
    is_away = False

    async def fetch() -> bytes:
        if is_away:
            raise ConnectionRefusedError
        return await issuer.fetch()

    keys = KeySet(fetch, clock)
    assert await keys.find("e1", "ES256") is not None
    is_away = True
    clock.advance(3500)
    assert await keys.find("e1", "ES256") is not None
    clock.advance(200)
    with pytest.raises(AppError) as caught:
        await keys.find("e1", "ES256")
    assert caught.value.code is Code.ISSUER_UNAVAILABLE
    is_away = False
    clock.advance(31)
    assert await keys.find("e1", "ES256") is not None


def test_keys_that_verify_nothing_are_left_out() -> None:
    def public(key: Any, kind: Any, **more: Any) -> dict[str, Any]:
        return {**kind.to_jwk(key.public_key(), as_dict=True), **more}

    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    good = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other_curve = ec.generate_private_key(ec.SECP384R1())
    entries = [
        public(small, RSAAlgorithm, kid="small"),
        public(good, RSAAlgorithm, kid="encrypts", use="enc"),
        public(good, RSAAlgorithm, kid="other", alg="RS512"),
        public(good, RSAAlgorithm, kid=5),
        public(other_curve, ECAlgorithm, kid="p384"),
        {**RSAAlgorithm.to_jwk(good, as_dict=True), "kid": "private"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken"},
        {"kty": "RSA", "kid": "empty"},
        "text",
    ]
    assert parse(json.dumps({"keys": entries}).encode()) == {}
    for raw in (b"", b"[]", b'{"keys": {}}', b"<html>"):
        with pytest.raises(ValueError, match=r"(?i)JWK|input|unexpected|EOF"):
            parse(raw)


async def test_keys_come_through_the_guarded_way_out(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.keyset._TOTAL_S", 60.0)
    with pytest.raises(AppError) as caught:
        download("http://127.0.0.1:1/keys", allow_private=False)
    assert caught.value.code is Code.CONFIG_INVALID
    async with serving(issuer) as url:
        assert set(parse(await download(f"{url}/keys", allow_private=True)())) == {"r1", "e1"}
        for path in ("/moved", "/huge", "/none"):
            with pytest.raises(ValueError, match="answer"):
                await download(f"{url}{path}", allow_private=True)()


async def test_a_set_that_comes_drop_by_drop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each drop comes in time; all of them would take twenty minutes."""
    monkeypatch.setattr("app.auth.keyset._TOTAL_S", 0.5)
    is_left = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 120000\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        is_left.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((TimeoutError, httpx2.TimeoutException)):
            await download(f"http://127.0.0.1:{port}/keys", allow_private=True)()
        await is_left.wait()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"jwt_secret": SecretStr("short")},
        {"jwt_jwks_url": "http://login.example/keys"},
        {"jwt_jwks_url": "https://10.0.0.1/keys"},
        {"jwt_jwks_url": "file:///etc/passwd"},
    ],
)
def test_settings_that_would_accept_too_much(changes: dict[str, Any]) -> None:
    settings = Settings().model_copy(update={"jwt_issuer": ISSUER, **changes})
    with pytest.raises(AppError) as caught:
        token_verifier(settings, SystemClock())
    assert caught.value.code is Code.CONFIG_INVALID


async def test_the_audience_is_this_servers_url_unless_it_is_set(issuer: Issuer) -> None:
    base = Settings().model_copy(
        update={
            "jwt_issuer": ISSUER,
            "jwt_secret": SecretStr(SECRET),
            "public_url": "https://uaol.example/",
        }
    )
    by = token_verifier(base, SystemClock())
    assert by is not None
    for door in ("mcp", "sse", "ws"):
        await by.verify(issuer.shared(aud=f"https://uaol.example/{door}"))
    await refusal(issuer.shared(aud="authenticated"), by)
    named = token_verifier(base.model_copy(update={"jwt_audience": "authenticated"}), SystemClock())
    assert named is not None
    await named.verify(issuer.shared(aud="authenticated"))
    await refusal(issuer.shared(), named)
    assert token_verifier(Settings(), SystemClock()) is None


async def test_the_clock_is_the_servers(issuer: Issuer) -> None:
    by = TokenVerifier(RULES, KeySet(issuer.fetch, ManualClock()), ManualClock())
    assert datetime(2030, 1, 1, tzinfo=UTC).timestamp() > time.time()
    assert "expired" in await refusal(issuer.token(), by)
