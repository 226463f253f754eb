"""Worker processes that write a history, over a database that a test may take away.

They are the product's own worker, ledger and handlers; only the tools are the test's, and only
the store's `claim` and the lifecycle are wrapped, to write down what was leased and ended.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

from app.billing import Billing, Quote
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal
from app.kernel.settings import Settings
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import Intake, JobRequest, Jobs, Lifecycle, Outcome, store
from app.orchestration.types import End, JobContext
from app.proxy import ToolCall, ToolResult, Usage
from app.storage import LocalBlobs, Storage
from tests.books import assert_balanced
from tests.faults.failpoints import Failpoints, die
from tests.faults.history import Diary, Row, figures, now
from tests.orchestration.conftest import Bench, ScriptedHandler, ScriptedTools

GRANT = 10**12
PRICE = Quote("tool", "crew.echo", "outcome", 1000, 1)
_store_claim = store.claim


@dataclass(frozen=True)
class Orders:
    """What a worker process is told; `clock_s` is how far its own clock is off, `dies_at` the
    point between two statements at which it kills itself.
    """

    dsn: str
    home: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    clock_s: float = 0.0
    dies_at: int | None = None


@dataclass
class CrewTools(ScriptedTools):
    """Tools named `crew.*` that write each call down and then do what their name says."""

    diary: Diary = field(default_factory=lambda: Diary(Path(os.devnull)))

    async def call(self, call: ToolCall) -> ToolResult:
        began, call_id = now(), new_id().hex
        self.diary.note("call", began, job=str(call.job_id), key=call.idempotency_key, call=call_id)
        error = await self._act(call.name.removeprefix("crew."), call)
        answer = None if error else {"call": call_id}
        return ToolResult(answer, [], error is not None, error, Usage(call.name, "0" * 64, 1, 2, 3))

    async def _act(self, name: str, call: ToolCall) -> AppError | None:
        await asyncio.sleep(call.arguments.get("ms", 0) / 1000)
        if name == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "stop" and not (mark := self.diary.path.with_suffix(".stopped")).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if name == "wait":
            while not _gate(self.diary.path.parent).exists():
                await asyncio.sleep(0.02)
        if name == "refuse":
            return AppError(Code.GENE_NOT_FOUND, "no such gene")
        if name == "down":
            return AppError(Code.TOOL_SERVER_DOWN, "gone")
        return None


def _gate(home: Path) -> Path:
    """While it is not there, calls of `crew.wait` do not end."""
    return home / "gate"


class NotedLifecycle(Lifecycle):
    """Writes down, after their commit, the ends that were written and those refused as stale."""

    diary: Diary

    async def finish_many(self, uow: UnitOfWork, ends: Sequence[End]) -> Any:
        began = now()
        done = await super().finish_many(uow, ends)
        newest = {end.lease.job_id: end for end in sorted(ends, key=lambda e: e.lease.attempt)}
        ended = [_told(end) for job_id, end in newest.items() if job_id in done]
        stale = [_told(end) for end in ends if _told(end) not in ended]
        uow.after_commit(lambda: self.diary.note("end", began, ended=ended, stale=stale))
        return done


def _told(end: End) -> tuple[str, int, str]:
    return str(end.lease.job_id), end.lease.attempt, end.status


def _noted_claim(diary: Diary) -> Any:
    async def claim(uow: UnitOfWork, *given: Any, **named: Any) -> Any:
        began = now()
        leases = await _store_claim(uow, *given, **named)
        if leases:
            told = [(str(lease.job_id), lease.attempt) for lease in leases]
            uow.after_commit(lambda: diary.note("start", began, leases=told))
        return leases

    return claim


@contextlib.asynccontextmanager
async def open_bench(
    dsn: str, home: Path, lifecycle_type: type[Lifecycle] = Lifecycle, **changes: Any
) -> AsyncIterator[Bench]:
    """The modules of jobs over a database, as tests of orchestration have them."""
    quick = {"poll_seconds": 0.1, "backoff_seconds": 0.01, "worker_concurrency": 16, "home": home}
    settings = Settings(**{**quick, "lease_seconds": 1.0, "max_attempts": 100, **changes})
    database, wakeups, billing = Database(dsn, pool_size=4), Wakeups(dsn), Billing()
    storage = Storage(LocalBlobs(home / "files"), SystemClock(), b"k" * 32, 10**6)
    lifecycle = lifecycle_type(billing, storage, wakeups)
    jobs = Jobs(billing, lifecycle, database, wakeups, settings.poll_seconds)
    user = Principal("user", new_id(), scopes=frozenset({"jobs"}))
    tools = CrewTools(diary=Diary(home / "history"))
    await wakeups.start()
    try:
        yield Bench(
            database,
            wakeups,
            billing,
            storage,
            jobs,
            lifecycle,
            ScriptedHandler(),
            tools,
            user,
            settings,
        )
    finally:
        await wakeups.close()
        await database.close()


async def _work(orders: Orders) -> None:
    stop, diary = asyncio.Event(), Diary(orders.home / "history")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    NotedLifecycle.diary = diary
    store.claim = _noted_claim(diary)
    async with open_bench(orders.dsn, orders.home, NotedLifecycle, **orders.settings) as bench:
        bench.handler.run_once = run_task
        at = orders.dies_at
        points = bench.database if at is None else Failpoints(bench.database, at, die)
        worker = replace(bench, database=points).new_worker()  # type: ignore[arg-type]
        task = asyncio.create_task(worker.run())
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run_task(ctx: JobContext) -> Outcome:
    """A job of two calls, one after the other; what it leaves is the second's answer."""
    for key in ("first", "second"):
        answer = await ctx.call_tool("crew.echo", ctx.job.definition["arguments"], key=key)
    return Outcome(True, answer)


def _skew(seconds: float) -> None:
    """Put this process's clocks off: wall time, and the monotonic one that leases might use."""
    wall, wall_ns, monotonic = time.time, time.time_ns, time.monotonic
    time.time = lambda: wall() + seconds
    time.time_ns = lambda: wall_ns() + int(seconds * 1e9)
    if seconds > 0:
        time.monotonic = lambda: monotonic() + seconds


def main(orders: Orders) -> None:
    """The process: works until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)
    if orders.clock_s:
        _skew(orders.clock_s)
    asyncio.run(_work(orders))


def start(orders: Orders) -> BaseProcess:
    """Start a worker process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["app.wiring", "app.agents.graph", __name__])
    process = context.Process(target=main, args=(orders,), daemon=True)
    process.start()
    return process


@dataclass
class Crew:
    """Worker processes, a caller, and the history that all of them write."""

    bench: Bench
    home: Path
    workers: list[BaseProcess] = field(default_factory=list)

    @property
    def diary(self) -> Diary:
        return Diary(self.home / "history")

    def start(
        self, *, clock_s: float = 0.0, dies_at: int | None = None, **settings: Any
    ) -> BaseProcess:
        dsn = self.bench.database.dsn
        process = start(Orders(dsn, self.home, settings, clock_s, dies_at))
        self.workers.append(process)
        return process

    def let_go(self) -> None:
        """Let calls of `crew.wait` end, those that wait and all later ones."""
        _gate(self.home).touch()

    async def has_begun(self, worker: BaseProcess, leases: int = 1) -> bool:
        """Whether a worker has got so many leases; then it can be told to leave, too."""
        lines = self.diary.read() if self.diary.path.exists() else []
        mine = [line for line in lines if line["pid"] == worker.pid]
        return figures(mine)["starts"] >= leases

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.join()

    def request(self, tool: str = "crew.echo", ms: int = 0, **changes: Any) -> JobRequest:
        definition = {"tool": tool, "arguments": {"ms": ms}}
        values = {"kind": "tool", "definition": definition, "price": PRICE}
        return self.bench.request(**(values | changes))

    async def rows(self) -> list[Row]:
        """Every job as the database has it now."""
        async with self.bench.database.begin(SERVICE) as uow:
            found = (await uow.execute(_ROWS)).all()
        return [
            Row(
                str(row.job_id),
                row.status,
                row.attempt,
                row.key,
                row.final_output,
                row.price_micro,
                [(kind, int(captured)) for kind, captured in row.settlements],
                row.is_queued,
            )
            for row in found
        ]

    async def queued(self) -> int:
        async with self.bench.database.begin(SERVICE) as uow:
            return int((await uow.execute("select count(*) from app.job_queue")).scalar_one())

    async def is_idle(self) -> bool:
        """Whether no job waits or runs; while the database is away nobody knows."""
        with contextlib.suppress(AppError):
            return await self.queued() == 0
        return False


_ROWS = """
select j.job_id, j.status, j.attempt, j.final_output, j.price_micro,
  (select key from app.job_key k where k.job_id = j.job_id) as key,
  coalesce((select json_agg(json_build_array(kind, captured_micro)) from app.settlement
    where hold_id = j.job_id), '[]') as settlements,
  exists (select 1 from app.job_queue q where q.job_id = j.job_id) as is_queued
from app.processing_jobs j
"""


@dataclass
class Load:
    """Callers who submit keyed jobs and, when told that it failed, submit the same again."""

    crew: Crew
    intake: Intake
    chance: Any
    slowest_ms: int = 200
    pause_s: float = 0.02
    made: int = 0
    retried: int = 0
    is_over: bool = False

    async def caller(self, name: int) -> None:
        """One caller; each of its requests is acknowledged before the next."""
        number = 0
        while not self.is_over:
            number += 1
            await self._until_accepted(f"{name}-{number}")
            await asyncio.sleep(self.pause_s)

    async def _until_accepted(self, key: str) -> None:
        ms, kind = self.chance.randrange(self.slowest_ms + 1), self.chance.choice(_KINDS)
        request = self.crew.request(ms=ms, kind=kind, idempotency_key=key)
        began = now()
        self.crew.diary.note("submit", began, key=key)
        while True:
            try:
                job_id: UUID = (await self.intake.submit(request)).job.job_id
            except AppError as error:
                if error.code not in (Code.HUB_UNAVAILABLE, Code.CONFLICT):
                    raise
                self.retried += 1
                await asyncio.sleep(0.05)
            else:
                self.made += 1
                self.crew.diary.note("ok", began, key=key, job=str(job_id))
                return


_KINDS = (*["tool"] * 9, "task")


@contextlib.asynccontextmanager
async def open_crew(dsn: str, home: Path, **changes: Any) -> AsyncIterator[Crew]:
    """A crew without workers and a user with credits for anything; at the end the books balance."""
    async with open_bench(dsn, home, **changes) as bench:
        async with bench.database.begin(SERVICE) as uow:
            cause = f"test:{bench.user.owner}"
            await bench.billing.grant(uow, bench.user.owner, GRANT, cause=cause)
        made = Crew(bench, home)
        try:
            yield made
        finally:
            made.close()
        await assert_balanced(bench.database)
