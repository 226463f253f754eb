"""The server runs on uvloop, which starts processes in its own way: the walls must be the same."""

import pytest

from app.sandbox import Sandbox, make_executors
from tests.conftest import cannot_run
from tests.sandbox.docker.engine import using_engine

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def test_the_self_test_passes_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAOL_CANARY", "canary")
    with using_engine():
        sandbox = Sandbox(make_executors())
        status = await sandbox.start()
        await sandbox.close()
    if not status.available and not status.probes:
        cannot_run(status.reason)
    assert [probe for probe in status.probes if not probe.passed] == []
