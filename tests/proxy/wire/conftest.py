from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.kernel.errors import AppError
from app.proxy.wire import Answer, HttpWire, Target


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wire's own short times, for a machine that stands still for a while."""
    for name in ("guard.CONNECT_S", "connections.IDLE_S", "era._ASK_S", "sessions._CLOSE_S"):
        monkeypatch.setattr(f"app.proxy.wire.{name}", 60.0)


@pytest.fixture
async def wire(patient: None) -> AsyncIterator[HttpWire]:
    made = HttpWire()
    yield made
    await made.close()


Call = Callable[..., Awaitable[Answer]]
Refused = Callable[..., Awaitable[AppError]]


@pytest.fixture
def call(wire: HttpWire) -> Call:
    async def calling(target: Target, params: bytes = b'{"name":"echo"}', **keys: Any) -> Answer:
        given: dict[str, Any] = {"name": "echo", "headers": {}, "timeout_s": 20.0, "owner": None}
        given |= keys
        return await wire.call(target, given.pop("method", "tools/call"), params, **given)

    return calling


@pytest.fixture
def refused(call: Call) -> Refused:
    async def refusing(target: Target, **keys: Any) -> AppError:
        try:
            answer = await call(target, **keys)
        except AppError as error:
            return error
        raise AssertionError(f"answered {answer}")

    return refusing
