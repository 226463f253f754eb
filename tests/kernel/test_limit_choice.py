"""Which limiter the settings choose, and what it says of itself."""

import pytest
from pydantic import SecretStr

from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.sharedlimits import SharedLimiter
from app.wiring.sharing import make_limiter

pytestmark = pytest.mark.anyio


def chosen(url: str | None) -> Limiter:
    settings = Settings(redis_url=None if url is None else SecretStr(url))
    return make_limiter(settings, SystemClock(), Metrics())


async def test_without_an_address_limits_are_this_processs() -> None:
    limiter = chosen(None)
    assert type(limiter) is Limiter
    assert limiter.state() == ("memory", True, None)
    await limiter.close()


async def test_with_an_address_they_are_shared() -> None:
    limiter = chosen("redis://127.0.0.1:1")
    assert type(limiter) is SharedLimiter
    assert limiter.state() == ("redis", True, None)
    await limiter.close()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(AppError) as caught:
        chosen("http://nowhere")
    assert caught.value.code is Code.INVALID_INPUT
