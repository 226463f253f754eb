"""Jobs that name a webhook, and a deliverer that sends to the loopback."""

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from app.kernel.clock import SystemClock
from app.kernel.crypto import key_id
from app.kernel.db import Database
from app.kernel.egress import GuardedTransport
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE, Principal
from app.kernel.wakeups import Wakeups
from app.orchestration import Admission, Deliverer, Delivery, Jobs, Lifecycle, Sender, Webhooks
from app.orchestration.webhooks.sending import post
from tests.orchestration.conftest import Bench
from tests.orchestration.webhooks.deliverer_process import KEY
from tests.orchestration.webhooks.receiver import Receiver, receiving

PATIENCE_S = 25.0
"""How long an endpoint may take: below a lease, and above any pause of the machine."""


@dataclass
class Hooks:
    """Webhooks of one user, over a database that may be anybody's."""

    database: Database
    wakeups: Wakeups
    user: Principal
    webhooks: Webhooks
    transport: GuardedTransport
    metrics: Metrics

    def deliverer(
        self, *, total_s: float = PATIENCE_S, key: bytes = KEY, **options: Any
    ) -> Deliverer:
        sender = Sender(self.transport, key, SystemClock(), total_s=total_s)
        options = {"grace_s": 0.0} | options
        return Deliverer(self.database, self.wakeups, sender, self.metrics, key_id(key), **options)

    async def endpoint(self, url: str) -> tuple[UUID, str]:
        async with self.database.begin(self.user.elevated()) as uow:
            made, secret = await self.webhooks.create(uow, self.user.owner, url)
        return made.webhook_id, secret

    async def ping(self, webhook_id: UUID) -> Delivery:
        async with self.database.begin(self.user.elevated()) as uow:
            return await self.webhooks.test(uow, self.user.owner, webhook_id)

    async def plant(self, webhook_id: UUID, count: int) -> None:
        """Deliveries as if that many jobs had ended."""
        async with self.database.begin(SERVICE) as uow:
            await uow.execute(
                "insert into app.webhook_delivery (delivery_id, webhook_id, user_id, type, data)"
                " select gen_random_uuid(), :hook, :user, 'job.succeeded',"
                "   jsonb_build_object('n', n) from generate_series(1, :count) as n",
                {"hook": webhook_id, "user": self.user.owner, "count": count},
            )

    async def all(self, webhook_id: UUID) -> list[Delivery]:
        async with self.database.begin(self.user) as uow:
            return list(await self.webhooks.deliveries(uow, self.user.owner, webhook_id, 200))

    async def one(self, webhook_id: UUID) -> Delivery:
        (found,) = await self.all(webhook_id)
        return found

    async def set(self, table: str, what: str) -> None:
        async with self.database.begin(SERVICE) as uow:
            await uow.execute(f"update app.{table} set {what}")

    async def due(self) -> None:
        """Let every wait be over."""
        await self.set("webhook_delivery", "next_at = now() where status = 'pending'")

    async def rest(self) -> None:
        """Let every wait be longer than the test."""
        await self.set("webhook_delivery", "next_at = next_at + interval '1 hour'")

    async def now(self) -> datetime:
        """The database's clock."""
        async with self.database.begin(SERVICE) as uow:
            moment: datetime = (await uow.execute("select clock_timestamp()")).scalar_one()
        return moment

    def counted(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "webhook_deliveries_total", {"outcome": outcome}
        )
        assert value is not None
        return value


@pytest.fixture
async def hooks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hooks]:
    monkeypatch.setattr(post, "_CONNECT_S", PATIENCE_S)
    webhooks = Webhooks(bench.wakeups, KEY, base_url="https://uaol.example/", allow_private=True)
    transport = GuardedTransport(allow_private=True)
    yield Hooks(bench.database, bench.wakeups, bench.user, webhooks, transport, Metrics())
    await transport.aclose()


@pytest.fixture
def telling(bench: Bench, hooks: Hooks) -> Bench:
    """The bench, whose jobs tell their ends."""
    admission = Admission(bench.wakeups)
    lifecycle = Lifecycle(
        bench.billing,
        bench.storage,
        bench.wakeups,
        admission=admission,
        announce=hooks.webhooks.announce,
    )
    jobs = Jobs(bench.billing, lifecycle, bench.database, bench.wakeups, 0.2, admission)
    return dataclasses.replace(bench, lifecycle=lifecycle, jobs=jobs)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened
