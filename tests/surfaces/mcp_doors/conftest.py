"""The doors of MCP with an issuer of tokens behind them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.auth import Auth, keyset, token_verifier
from app.kernel.clock import SystemClock
from app.kernel.settings import Settings
from app.main import create_app
from app.surfaces import streams
from tests.auth.issuer import AUDIENCE, ISSUER, SECRET, Issuer, serving
from tests.surfaces.world import World


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def key_set(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    # How long a set may take is asked where tokens are tested.
    monkeypatch.setattr(keyset, "_TOTAL_S", 60.0)
    async with serving(issuer) as url:
        yield f"{url}/keys"


@pytest.fixture
def changes() -> dict[str, Any]:
    """Settings that a test changes."""
    return {}


@pytest.fixture
def settings(tmp_path: Path, key_set: str, changes: dict[str, Any]) -> Settings:
    usual = Settings(
        home=tmp_path / "home",
        request_limit=64 * 1024,
        upload_limit=4096,
        allowed_origins=["https://ui.example"],
        poll_seconds=0.05,
        backoff_seconds=0.01,
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        jwt_jwks_url=key_set,
        jwt_secret=SecretStr(SECRET),
        jwt_allow_private=True,
    )
    return usual.model_copy(update=changes)


def another(world: World, settings: Settings) -> FastAPI:
    """One more process of the same platform, as far as doors can tell."""
    clock = SystemClock()
    tokens = token_verifier(settings, clock)
    auth = Auth(clock, tokens, is_sign_up_open=settings.jwt_sign_up)
    return create_app(replace(world.services, settings=settings, auth=auth))


@pytest.fixture
def check_s() -> float:
    """How often streams are looked at. Most tests do so themselves, once there is a reason."""
    return 3600.0


@pytest.fixture
def app(
    world: World, settings: Settings, check_s: float, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    monkeypatch.setattr(streams, "_CHECK_S", check_s)
    return another(world, settings)
