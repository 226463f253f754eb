"""A platform whose workers are processes that may die, and what must hold when they did."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.billing import to_micro
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal
from app.kernel.settings import Settings
from app.kernel.uow import Transactions
from app.orchestration import JobRequest, JobView
from app.surfaces.services import Services
from tests.books import assert_balanced
from tests.faults.crew import Crew, open_crew
from tests.faults.own_hub import OwnHub
from tests.faults.tiny import NAME, PRICE, Tiny
from tests.faults.traps import Trap, trapped_worker
from tests.faults.worker_process import (
    POINT,
    SIGNAL,
    Orders,
    open_services,
    settings_of,
    start,
)

GRANT = to_micro(1000)
ENDS = {"job.succeeded", "job.failed", "job.cancelled", "job.dead"}
# Longer than any test: a worker that lives keeps its lease however busy the machine is, and what
# a dead one had runs out by the test's decree.
LONG_LEASE_S = 3600.0


@dataclass
class Platform:
    """The platform as the one who submits sees it, and the workers started for a test."""

    services: Services
    dsn: str
    home: Path
    user: Principal
    workers: list[BaseProcess] = field(default_factory=list)

    @property
    def tiny(self) -> Tiny:
        return Tiny(self.home / "steps")

    def start_worker(
        self, *, at: str | None = None, by: int | None = None, template: str = NAME, **changes: Any
    ) -> BaseProcess:
        """A worker process; with `at` it sends itself the signal `by` (default SIGKILL) there."""
        environment = {} if at is None else {POINT: at}
        if by is not None:
            environment[SIGNAL] = str(int(by))
        settings = settings_of(self.dsn, self.home, **changes)
        process = start(Orders(self.dsn, settings, template, environment))
        self.workers.append(process)
        return process

    @contextlib.asynccontextmanager
    async def working(self, **changes: Any) -> AsyncIterator[asyncio.Task[None]]:
        """A worker of this process, with other settings."""
        settings = self.services.settings.model_copy(update=changes)
        services = replace(self.services, settings=settings)
        worker = trapped_worker(services, self.tiny.template(), Trap())
        task = asyncio.create_task(worker.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def submit(self, template: str = NAME, price: int = PRICE, **given: Any) -> JobView:
        """Queue a task; its input is taken as it is for the tiny one."""
        whole = self.tiny.template().validate(given) if template == NAME else given
        definition = {"kind": "task", "template": template, "version": 1, "input": whole}
        async with self.services.database.begin(self.user.elevated()) as uow:
            await self.services.billing.publish_price(uow, "template", template, price)
            quote = await self.services.billing.quote(uow, "template", template)
            request = JobRequest(self.user.owner, "task", definition, quote)
            return (await self.services.jobs.submit(uow, request)).job

    async def view(self, job_id: UUID) -> JobView:
        async with self.services.database.begin(self.user) as uow:
            return await self.services.jobs.get(uow, job_id)

    async def until_ended(self, job_id: UUID, seconds: float = 60) -> JobView:
        async def is_over() -> bool:
            return (await self.view(job_id)).is_terminal

        await until(is_over, seconds)
        return await self.view(job_id)

    async def rows(self, query: str, **params: Any) -> list[tuple[Any, ...]]:
        async with self.services.database.begin(SERVICE) as uow:
            return [tuple(row) for row in await uow.execute(query, params)]

    async def events(self, job_id: UUID) -> list[tuple[int, str, dict[str, Any]]]:
        """The trace as its owner reads it: (seq, kind, data)."""
        async with self.services.database.begin(self.user) as uow:
            lines = await self.services.jobs.events(uow, job_id, limit=1000)
        return [(line.seq, line.kind, dict(line.data)) for line in lines]

    async def runs(self, job_id: UUID) -> list[tuple[Any, ...]]:
        """The finished roles as (role, attempt, status, run_id)."""
        query = """
        select role, attempt, status, run_id from app.agent_runs
        where job_id = :job order by step
        """
        return await self.rows(query, job=job_id)

    async def artifacts(self, job_id: UUID) -> dict[str, bytes]:
        """The job's files and what their owner reads in them; a name twice is an error."""
        async with self.services.database.begin(self.user) as uow:
            files = await self.services.storage.list(uow, job_id)
        assert len(files) == len({file.name for file in files})
        return {file.name: self.services.storage.path(file).read_bytes() for file in files}

    async def assert_ended_once(self, job_id: UUID, status: str, charged: int) -> None:
        """One end, in the row, the trace and the ledger alike."""
        job = await self.view(job_id)
        assert (job.status, job.charged_micro) == (status, charged), job.error
        trace = await self.events(job_id)
        assert [seq for seq, _, _ in trace] == list(range(1, len(trace) + 1))
        assert [kind in ENDS for _, kind, _ in trace] == [False] * (len(trace) - 1) + [True]
        assert trace[-1][2]["charged_micro"] == charged
        kind = "captured" if status == "Success" else "released"
        query = "select kind, captured_micro from app.settlement where hold_id = :job"
        assert await self.rows(query, job=job_id) == [(kind, charged)]
        assert await self.rows("select 1 from app.job_queue where job_id = :job", job=job_id) == []

    async def assert_wallet(self, spent: int) -> None:
        """Nothing is held, and exactly `spent` is gone."""
        async with self.services.database.begin(self.user) as uow:
            wallet = await self.services.billing.wallet(uow, self.user.owner)
        seen = (wallet.available_micro, wallet.held_micro, wallet.captured_micro)
        assert seen == (GRANT - spent, 0, spent)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def expire(transactions: Transactions) -> None:
    """Let every lease run out, as time would."""
    async with transactions.begin(SERVICE) as uow:
        await uow.execute(
            "update app.job_queue set lease_until = now() - interval '1 s'"
            " where lease_until is not null"
        )


async def ended(process: BaseProcess, seconds: float = 60) -> int | None:
    """The exit code of a process, once it has ended."""

    async def is_over() -> bool:
        return process.exitcode is not None

    await until(is_over, seconds)
    return process.exitcode


async def new_user(services: Services) -> Principal:
    """A user with credits."""
    user = Principal("user", new_id(), scopes=frozenset({"jobs"}))
    async with services.database.begin(SERVICE) as uow:
        await uow.execute(
            "insert into app.users (user_id, email) values (:id, :email)",
            {"id": user.owner, "email": f"{user.owner}@example.org"},
        )
        await services.billing.grant(uow, user.owner, GRANT, cause=f"test:{user.owner}")
    return user


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that every user of the machine may pass through, as PostgreSQL's own must."""
    with tempfile.TemporaryDirectory(prefix="uaol-faults-") as folder:
        yield Path(folder)


@pytest.fixture
async def crew(dsn: str, home: Path) -> AsyncIterator[Crew]:
    async with open_crew(dsn, home) as made:
        yield made


@pytest.fixture
def own_hub() -> Iterator[OwnHub]:
    # Not pytest's folder: it is closed to the user that PostgreSQL runs as under root.
    home = Path(tempfile.mkdtemp(prefix="uaol-own-hub-"))
    hub = OwnHub(home)
    yield hub
    hub.close()
    shutil.rmtree(home)


@pytest.fixture
async def platform(dsn: str, home: Path) -> AsyncIterator[Platform]:
    async with open_services(Settings(**settings_of(dsn, home)), dsn) as services:
        made = Platform(services, dsn, home, await new_user(services))
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.kill()
                worker.join()
        await assert_balanced(services.database)
