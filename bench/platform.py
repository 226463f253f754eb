"""A platform for benches: a tuned embedded hub, users with credits, a no-op tool, workers."""

import asyncio
import multiprocessing
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

from app.billing import Billing, Quote, to_micro
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.embedded import EmbeddedHub, Hub, bootstrap
from app.kernel.ids import new_id
from app.kernel.memory import settle_memory
from app.kernel.metrics import Metrics
from app.kernel.migrate import upgrade
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import (
    Intake,
    JobRequest,
    Jobs,
    Lifecycle,
    Worker,
    WorkflowLane,
    make_dispatcher,
)
from app.proxy import BuiltinTool, RawResult, ToolProxy
from app.registry import Registry, ToolDefinition
from app.storage import LocalBlobs, Storage

# A small team's machine: 2 cores, 24 GiB. Durability is never touched: fsync and
# synchronous_commit stay on.
HUB_SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "64MB",
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "5000",
}
PRICE = Quote("tool", "bench.noop", "outcome", to_micro("0.001"), 1)
DEFINITION = {"tool": "bench.noop", "arguments": {"payload": "x" * 180}}


async def noop(_call: Any, _arguments: Any) -> RawResult:
    """Does nothing."""
    return RawResult({"ok": True})


def tool(handler: Any = noop, price_micro: int = 0) -> BuiltinTool:
    """The benches' tool; `handler` stands in for one that does nothing."""
    schema = {
        "type": "object",
        "properties": {"payload": {"type": "string"}},
        "required": ["payload"],
        "additionalProperties": False,
    }
    definition = ToolDefinition("bench", "noop", "Does nothing.", schema)
    return BuiltinTool(definition, handler, price_micro)


@contextmanager
def hub(home: Path) -> Iterator[Hub]:
    """A fresh hub at the newest revision."""
    with EmbeddedHub(home, settings=HUB_SETTINGS) as running:
        bootstrap(running.dsn(running.superuser))
        upgrade(running.dsn("uaol_owner"))
        yield running


class Parts:
    """The modules a bench needs, over one database."""

    def __init__(self, dsn: str, home: Path, *, handler: Any = noop, **changes: Any) -> None:
        limits: dict[str, Any] = {
            "calls_per_minute": 10**9,
            "tool_calls_per_minute": 10**9,
            "home": home,
        }
        self.settings = Settings(**(limits | changes))
        self.database = Database(dsn, pool_size=4)
        self.wakeups = Wakeups(dsn)
        self.billing, self.registry = Billing(), Registry()
        self.clock = SystemClock()
        self.storage = Storage(LocalBlobs(home / "files"), self.clock, b"k" * 32, 10**6)
        self.lifecycle = Lifecycle(self.billing, self.storage, self.wakeups)
        self.jobs = Jobs(self.billing, self.lifecycle, self.database, self.wakeups)
        self.intake = Intake(self.jobs, self.database)
        self.proxy = ToolProxy(
            self.registry,
            Limiter(self.clock),
            self.settings,
            self._no_file,
            [tool(handler)],
            self.clock,
            on_listed=self._listed,
        )

    async def _no_file(self, *_: Any) -> Path:
        raise FileNotFoundError

    async def _listed(self, server: Any, definitions: Any) -> None:
        async with self.database.begin(SERVICE) as uow:
            await self.registry.pin(uow, server, definitions)
            await self.registry.refresh(uow)

    def worker(self) -> Worker:
        """A worker as the platform runs it, but without agents."""
        dispatcher = make_dispatcher(self.settings, self.database, self.wakeups, Metrics())
        workflows = WorkflowLane(
            transactions=self.database,
            wakeups=self.wakeups,
            lifecycle=self.lifecycle,
            billing=self.billing,
            proxy=self.proxy,
            settings=self.settings,
            dispatcher=dispatcher,
        )
        return Worker(
            transactions=self.database,
            wakeups=self.wakeups,
            lifecycle=self.lifecycle,
            billing=self.billing,
            proxy=self.proxy,
            handlers={},
            settings=self.settings,
            metrics=Metrics(),
            lanes=[workflows],
            dispatcher=dispatcher,
        )


@asynccontextmanager
async def parts(dsn: str, home: Path, **changes: Any) -> AsyncIterator[Parts]:
    """The modules, started."""
    made = Parts(dsn, home, **changes)
    await made.wakeups.start()
    await made.proxy.start()
    # As every process of the product does once it has started.
    settle_memory()
    try:
        yield made
    finally:
        await made.proxy.close()
        await made.wakeups.close()
        await made.database.close()


async def grant_users(made: Parts, count: int) -> list[UUID]:
    """Users with credits for the whole bench."""
    users = [new_id() for _ in range(count)]
    async with made.database.begin(SERVICE) as uow:
        for user in users:
            await made.billing.grant(uow, user, to_micro(10**6), cause=f"bench:{user}")
    return users


def request(user: UUID, **changes: Any) -> JobRequest:
    """A job of 200 bytes of input."""
    values: Mapping[str, Any] = {
        "user_id": user,
        "kind": "tool",
        "definition": DEFINITION,
        "price": PRICE,
    }
    return JobRequest(**(dict(values) | changes))


def _nothing() -> None:
    return None


def _work(
    dsn: str, home: Path, ready: Any, first: Callable[[], None], changes: Mapping[str, Any]
) -> None:
    first()

    async def run() -> None:
        async with parts(dsn, home, **changes) as made:
            task = asyncio.create_task(made.worker().run())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            ready.set()
            await asyncio.gather(task, return_exceptions=True)

    import uvloop

    uvloop.run(run())


@contextmanager
def worker_process(
    dsn: str, home: Path, *, first: Callable[[], None] = _nothing, **changes: Any
) -> Iterator[BaseProcess]:
    """A worker in a process of its own, which calls `first` before anything else."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_work, args=(dsn, home, ready, first, changes), daemon=True)
    process.start()
    ready.wait(60)
    try:
        yield process
    finally:
        process.terminate()
        process.join(20)


def cpu_seconds() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
