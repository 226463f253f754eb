"""Endpoints: disabled and enabled again, new secrets, sent again, shares of the connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import Deliverer
from app.orchestration.webhooks.service import MAX_ENDPOINTS
from tests.orchestration.webhooks.conftest import Hooks
from tests.orchestration.webhooks.receiver import Receiver, is_signed_by, receiving

pytestmark = pytest.mark.anyio
OLD = "failing_since = now() - interval '6 days'"


@contextlib.asynccontextmanager
async def running(deliverer: Deliverer) -> AsyncIterator[None]:
    task = asyncio.create_task(deliverer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_got(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(30):
        while len(receiver.got) < count:
            await asyncio.sleep(0.01)


async def test_an_endpoint_that_is_gone_is_sent_nothing_more(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.script.append("gone")
    webhook_id, _ = await hooks.endpoint(receiver.url)
    await hooks.ping(webhook_id)
    deliverer = hooks.deliverer()
    await deliverer.run_once()
    assert (await hooks.one(webhook_id)).status == "failed"
    async with hooks.database.begin(hooks.user.elevated()) as uow:
        shown = await hooks.webhooks.get(uow, hooks.user.owner, webhook_id)
        assert (shown.is_enabled, shown.disabled_reason) == (
            False,
            "It answered with HTTP 410 (gone).",
        )
        with pytest.raises(AppError) as caught:
            await hooks.webhooks.require(uow, hooks.user.owner, webhook_id)
        assert caught.value.code is Code.INVALID_INPUT
    await hooks.plant(webhook_id, 3)
    assert await deliverer.run_once() == 0
    async with hooks.database.begin(hooks.user.elevated()) as uow:
        await hooks.webhooks.change(
            uow, hooks.user.owner, webhook_id, url=receiver.url, description="", is_enabled=True
        )
    assert await deliverer.run_once() == 3
    assert (hooks.counted("failed"), hooks.counted("disabled")) == (1, 1)


async def test_five_days_of_failures_disable_and_one_success_forgives(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.script.extend(["error", "ok", "error", "error"])
    webhook_id, _ = await hooks.endpoint(receiver.url)
    deliverer = hooks.deliverer()

    async def after_one_more() -> tuple[bool, bool]:
        await hooks.set("webhook_delivery", "status = 'failed', next_at = null")
        await hooks.ping(webhook_id)
        assert await deliverer.run_once() == 1
        async with hooks.database.begin(hooks.user) as uow:
            shown = await hooks.webhooks.get(uow, hooks.user.owner, webhook_id)
        return shown.is_enabled, shown.failing_since is not None

    assert await after_one_more() == (True, True)
    await hooks.set("webhook_endpoint", OLD)
    assert await after_one_more() == (True, False)
    assert await after_one_more() == (True, True)
    await hooks.set("webhook_endpoint", OLD)
    assert await after_one_more() == (False, True)


async def test_both_secrets_sign_for_a_day(hooks: Hooks, receiver: Receiver) -> None:
    webhook_id, old = await hooks.endpoint(receiver.url)
    async with hooks.database.begin(hooks.user.elevated()) as uow:
        new = await hooks.webhooks.rotate(uow, hooks.user.owner, webhook_id)
    await hooks.ping(webhook_id)
    await hooks.deliverer().run_once()
    assert new != old
    assert is_signed_by(old, receiver.got[0])
    assert is_signed_by(new, receiver.got[0])
    await hooks.set("webhook_secret", "previous_until = now()")
    await hooks.ping(webhook_id)
    await hooks.deliverer().run_once()
    assert not is_signed_by(old, receiver.got[1])
    assert is_signed_by(new, receiver.got[1])


async def test_a_secret_lies_encrypted_and_only_its_key_delivers(
    hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id, secret = await hooks.endpoint(receiver.url)
    await hooks.ping(webhook_id)
    async with hooks.database.begin(SERVICE) as uow:
        row = (await uow.execute("select * from app.webhook_secret")).one()
    assert secret not in repr(row)
    assert await hooks.deliverer(key=b"x" * 32).run_once() == 0
    assert await hooks.deliverer().run_once() == 1


async def test_what_has_ended_is_sent_again_with_its_id(hooks: Hooks, receiver: Receiver) -> None:
    webhook_id, _ = await hooks.endpoint(receiver.url)
    made = await hooks.ping(webhook_id)
    deliverer = hooks.deliverer()
    await deliverer.run_once()
    async with hooks.database.begin(hooks.user.elevated()) as uow:
        again = await hooks.webhooks.redeliver(uow, hooks.user.owner, webhook_id, made.delivery_id)
    assert (again.status, again.attempts) == ("pending", 1)
    receiver.script.append("error")
    await deliverer.run_once()
    async with hooks.database.begin(hooks.user.elevated()) as uow:
        # The wait of 5 seconds is cut short.
        await hooks.webhooks.redeliver(uow, hooks.user.owner, webhook_id, made.delivery_id)
    assert await deliverer.run_once() == 1
    assert [got.id for got in receiver.got] == [str(made.delivery_id)] * 3
    assert (await hooks.one(webhook_id)).attempts == 3


async def test_those_that_hang_hold_up_nobody(hooks: Hooks, receiver: Receiver) -> None:
    async with receiving("hang") as dead:
        for _ in range(MAX_ENDPOINTS - 1):
            webhook_id, _ = await hooks.endpoint(dead.url)
            await hooks.plant(webhook_id, 10)
        await hooks.set("webhook_endpoint", "failing_since = now()")
        healthy, _ = await hooks.endpoint(receiver.url)
        await hooks.plant(healthy, 40)
        async with running(hooks.deliverer(total_s=60)):
            await until_got(receiver, 40)
            # Each that fails has one connection, and all of them have their share.
            assert len(dead.got) <= 16
    assert len({got.id for got in receiver.got}) == len(receiver.got) == 40


async def test_any_number_of_deliverers_send_each_message_once(
    hooks: Hooks, receiver: Receiver
) -> None:
    for _ in range(5):
        webhook_id, _ = await hooks.endpoint(receiver.url)
        await hooks.plant(webhook_id, 30)
    async with running(hooks.deliverer()), running(hooks.deliverer()), running(hooks.deliverer()):
        await until_got(receiver, 150)
    assert len({got.id for got in receiver.got}) == len(receiver.got) == 150


async def test_more_endpoints_than_one_look_sees_all_get_their_turn(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.orchestration.webhooks.sending.store.LOOKED_AT", 4)
    for _ in range(MAX_ENDPOINTS):
        webhook_id, _ = await hooks.endpoint(receiver.url)
        await hooks.plant(webhook_id, 2)
    async with running(hooks.deliverer()):
        await until_got(receiver, 2 * MAX_ENDPOINTS)
    assert len(receiver.got) == 2 * MAX_ENDPOINTS


async def test_old_deliveries_are_forgotten(hooks: Hooks, receiver: Receiver) -> None:
    webhook_id, _ = await hooks.endpoint(receiver.url)
    await hooks.plant(webhook_id, 5)
    await hooks.set("webhook_delivery", "status = 'delivered', next_at = null")
    await hooks.set("webhook_delivery", "created_at = now() - interval '31 days'")
    await hooks.ping(webhook_id)
    await hooks.deliverer().run_once()
    assert [one.type for one in await hooks.all(webhook_id)] == ["webhook.ping"]
