"""Killed between claim and mark, late answers, a database that goes away: told, by one id."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.kernel.db import Database
from app.kernel.egress import GuardedTransport
from app.kernel.ids import new_id
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.kernel.wakeups import Wakeups
from app.orchestration import Webhooks
from tests.faults.own_hub import OwnHub
from tests.orchestration.webhooks.conftest import KEY, Hooks
from tests.orchestration.webhooks.receiver import Receiver
from tests.orchestration.webhooks.test_endpoints import running, until_got

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A deliverer in a process of its own, killed at the end."""
    module = "tests.orchestration.webhooks.deliverer_process"
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", module, dsn, cwd=ROOT)
    try:
        yield started
    finally:
        started.kill()
        await started.wait()


@pytest.mark.parametrize("is_killed", [True, False])
async def test_killed_between_claim_and_mark(
    hooks: Hooks, receiver: Receiver, dsn: str, is_killed: bool
) -> None:
    receiver.script.append("hang")
    webhook_id, _ = await hooks.endpoint(receiver.url)
    made = await hooks.ping(webhook_id)
    async with process(dsn) if is_killed else running(hooks.deliverer(total_s=60)):
        async with asyncio.timeout(60):
            await receiver.reached.wait()
    left = await hooks.one(webhook_id)
    assert (left.status, left.attempts, left.last_error) == ("pending", 1, None)
    deliverer = hooks.deliverer()
    assert await deliverer.run_once() == 0
    await hooks.due()
    assert await deliverer.run_once() == 1
    assert [got.id for got in receiver.got] == [str(made.delivery_id)] * 2
    assert (await hooks.one(webhook_id)).status == "delivered"


async def test_an_answer_after_the_lease_changes_nothing(hooks: Hooks, receiver: Receiver) -> None:
    receiver.script.append("hang")
    webhook_id, _ = await hooks.endpoint(receiver.url)
    # An endpoint that fails is sent one at a time: what is due again is not for who hangs on it.
    await hooks.set("webhook_endpoint", "failing_since = now()")
    await hooks.ping(webhook_id)
    async with running(hooks.deliverer(total_s=60)):
        await receiver.reached.wait()
        await hooks.due()
        assert await hooks.deliverer().run_once() == 1
        receiver.released.set()
        async with asyncio.timeout(30):
            while hooks.counted("retried") < 1:
                await asyncio.sleep(0.01)
    delivery = await hooks.one(webhook_id)
    assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 2, 200)


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[OwnHub]:
    hub = OwnHub(tmp_path / "hub")
    yield hub
    hub.close()


@pytest.fixture
async def mortal(own_hub: OwnHub) -> AsyncIterator[Hooks]:
    """Webhooks over a database that the test may kill."""
    database = Database(own_hub.hub.dsn("app_backend"), pool_size=3)
    wakeups, transport = Wakeups(None), GuardedTransport(allow_private=True)
    webhooks = Webhooks(wakeups, KEY, allow_private=True)
    yield Hooks(database, wakeups, Principal("user", new_id()), webhooks, transport, Metrics())
    await transport.aclose()
    await database.close()


async def test_the_database_is_killed_before_the_mark(
    own_hub: OwnHub, mortal: Hooks, receiver: Receiver
) -> None:
    webhook_id, _ = await mortal.endpoint(receiver.url)
    await mortal.plant(webhook_id, 2)
    receiver.usual = "hang"
    async with running(mortal.deliverer(total_s=60, poll_s=0.1)):
        await until_got(receiver, 2)
        await asyncio.to_thread(own_hub.kill)
        receiver.usual = "ok"
        receiver.released.set()
        await asyncio.to_thread(own_hub.start_again)
        async with asyncio.timeout(60):
            # The answers were kept, and are noted once the database is back.
            while mortal.counted("retried") < 2:
                await asyncio.sleep(0.05)
        await mortal.due()
        async with asyncio.timeout(60):
            while mortal.counted("delivered") < 2:
                await asyncio.sleep(0.05)
    assert len({got.id for got in receiver.got}) == 2
    assert {one.status for one in await mortal.all(webhook_id)} == {"delivered"}
