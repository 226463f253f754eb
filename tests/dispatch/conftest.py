"""Workers over each dispatcher, and real Redis servers for one of them."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.billing import Quote, to_micro
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.orchestration import Intake, Submitted
from app.orchestration.dispatch import Dispatcher, DispatchState, PostgresDispatcher
from app.orchestration.dispatch import broker as broker_module
from app.orchestration.dispatch.broker import Broker
from app.orchestration.dispatch.streams import RedisDispatcher
from bench.redis_cluster import Cluster, redis_cluster, single_redis
from tests.conftest import cannot_run
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
PRICE = to_micro("0.001")
QUOTE = Quote("tool", "a.b", "outcome", PRICE, 1)
DEFINITION = {"tool": "a.b", "arguments": {"x": 1}}
# Nobody looks into PostgreSQL by himself while a test runs.
NEVER_S = 600.0


@dataclass
class Watched:
    """A dispatcher, and what it told."""

    inner: Dispatcher
    told: int = 0
    left_open: int = 0
    was_down: bool = False
    reason: str | None = None

    async def run(self) -> None:
        await self.inner.run()

    def take(self, kind: str, limit: int) -> Sequence[UUID] | None:
        ids = self.inner.take(kind, limit)
        if kind != "tool":
            return ids
        if not (state := self.inner.state()).is_up:
            self.was_down, self.reason = True, state.reason
        self.told += len(ids or ())
        self.left_open += ids is None
        return ids

    def done(self, ids: Sequence[UUID]) -> None:
        self.inner.done(ids)

    def state(self) -> DispatchState:
        return self.inner.state()


@dataclass
class Crew:
    """The platform's parts, workers over one member, and what they must have done."""

    bench: Bench
    member: str
    url: str = ""
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex}")
    metrics: Metrics = field(default_factory=Metrics)
    given: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.intake = Intake(self.bench.jobs, self.bench.database)

    def broker(self, **changes: Any) -> Broker:
        return Broker(self.url, self.prefix, **changes)

    def dispatcher(self, **changes: Any) -> Watched:
        if self.member == "postgresql":
            return Watched(PostgresDispatcher())
        values: dict[str, Any] = {"name": uuid4().hex, "poll_s": NEVER_S}
        return Watched(
            RedisDispatcher(
                self.broker(),
                self.bench.database,
                self.bench.wakeups,
                self.metrics,
                **(values | changes),
            )
        )

    @contextlib.asynccontextmanager
    async def working(
        self, dispatcher: Watched | None = None, **changes: Any
    ) -> AsyncIterator[Watched]:
        """A worker; it keeps its leases on a busy machine."""
        made = dispatcher or self.dispatcher()
        settings = {"lease_seconds": 30.0, "poll_seconds": NEVER_S, **changes}
        async with self.bench.working(dispatcher=made, **settings):
            yield made

    async def submit(self, count: int, **changes: Any) -> list[UUID]:
        values = {"kind": "tool", "definition": DEFINITION, "price": QUOTE} | changes
        requests = [self.bench.request(**values) for _ in range(count)]
        made = await self.intake.submit_many(requests)
        ids = [one.job.job_id for one in made if isinstance(one, Submitted)]
        assert len(ids) == count
        self.given += ids
        return ids

    async def rows(self, query: str, **params: Any) -> list[tuple[Any, ...]]:
        async with self.bench.database.begin(SERVICE) as uow:
            return [tuple(row) for row in await uow.execute(query, params)]

    async def left(self) -> int:
        """Jobs that have not ended."""
        return int((await self.rows("select count(*) from app.job_queue"))[0][0])

    async def until_ended(self, seconds: float = 60) -> None:
        """Wait until all have; then each must have, once, with its price captured once."""
        async with asyncio.timeout(seconds):
            while await self.left():
                await asyncio.sleep(0.02)
        ends = await self.rows(
            "select job_id, status, attempt from app.processing_jobs order by job_id"
        )
        assert ends == [(job_id, "Success", 1) for job_id in sorted(self.given)]
        paid = await self.rows(
            "select hold_id, kind, captured_micro from app.settlement order by hold_id"
        )
        assert paid == [(job_id, "captured", PRICE) for job_id in sorted(self.given)]
        ran = sorted(str(call.job_id) for call in self.bench.tools.calls)
        assert ran == sorted(str(job_id) for job_id in self.given)

    async def load(self, until: Any, seconds: float = 60) -> None:
        """Submit about a thousand jobs a second until the condition holds."""
        async with asyncio.timeout(seconds):
            while not until():
                await self.submit(20)
                await asyncio.sleep(0.02)


def _program() -> str:
    program = shutil.which("redis-server")
    if program is None:
        cannot_run("redis-server is not installed")
    return program


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with redis_cluster(_program()) as made:
        yield made


@pytest.fixture(scope="session")
def single() -> Iterator[Cluster]:
    with single_redis(_program()) as made:
        yield made


@pytest.fixture
async def over_redis(bench: Bench, cluster: Cluster) -> AsyncIterator[Crew]:
    cluster.wait_until_whole(replicas=0)
    yield Crew(bench, "redis", cluster.url)
    for node in cluster.nodes:
        if node.process.poll() is not None:
            cluster.restart(node)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the broker is up all along, a machine that stalls does not make it late."""
    monkeypatch.setattr(broker_module, "_PATIENCE_S", 30.0)


@pytest.fixture(params=["postgresql", "redis cluster", "single redis"])
def crew(request: pytest.FixtureRequest, bench: Bench) -> Crew:
    if request.param == "redis cluster":
        made: Crew = request.getfixturevalue("over_redis")
        return made
    if request.param == "single redis":
        server: Cluster = request.getfixturevalue("single")
        return Crew(bench, "redis", server.url)
    return Crew(bench, "postgresql")
