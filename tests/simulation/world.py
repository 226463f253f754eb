"""The platform in one thread and no time: callers, owners, workers, and everything that goes wrong.

Workers are the product's own, over a memory instead of PostgreSQL. A seed decides every latency,
every tool's answer and every fault: transactions that are refused, aborted, or committed without
an answer; workers that crash, freeze past their leases and come back; wake-ups that are lost.
"""

import asyncio
import random
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import UUID

from app.billing import Billing, Quote
from app.kernel import wakeups as wakeups_module
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import (
    Intake,
    JobContext,
    JobRequest,
    Jobs,
    Lifecycle,
    Outcome,
    Submitted,
    Worker,
)
from app.orchestration import draft as draft_module
from app.orchestration import floor as floor_module
from app.orchestration import metering as metering_module
from app.orchestration import retries as retries_module
from app.orchestration import worker as worker_module
from app.proxy import ToolCall, ToolResult, Usage
from tests.simulation.memory import (
    EPOCH,
    BrokenPromiseError,
    Memory,
    MemoryTransactions,
)

LEASE_S, POLL_S, MAX_ATTEMPTS = 30.0, 1.0, 5
GRANT = 1_000
_LONGEST_S = 5_000.0
_SHARED_METRICS = Metrics()


@dataclass(frozen=True)
class Odds:
    """How often what goes wrong; 0 for never."""

    refuse: float = 0.01
    abort: float = 0.004
    lose_answer: float = 0.01
    lose_wakeup: float = 0.1
    slow: float = 0.1
    chaos_s: float = 20.0
    cancel: float = 0.3


CALM = Odds(0, 0, 0, 0, 0, 0, 0)


class _OrderedSet(dict[Any, None]):
    """In the place of the set of tickets, whose order is that of memory addresses."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


class SimWakeups(Wakeups):
    """One process's wake-ups; those of others arrive late, or not at all."""

    def __init__(self, world: "World") -> None:
        super().__init__(None)
        self._world = world
        world.buses.append(self)

    def wake(self, topic: str, *, is_local: bool = False) -> None:
        self._world.steps += 1
        self._wake_local(topic)
        if is_local:
            return
        for other in self._world.buses:
            if other is not self and not self._world.happens(self._world.odds.lose_wakeup):
                asyncio.get_running_loop().call_later(0.005, other._wake_local, topic)


class FaultyTransactions(MemoryTransactions):
    """A process's way to the database."""

    def __init__(self, world: "World", process: "Process | None" = None) -> None:
        super().__init__(world.memory)
        self._world = world
        self._process = process

    async def reach(self, point: str) -> None:
        world = self._world
        world.steps += 1
        if self._process is not None and point == "begin":
            await self._process.runs.wait()
        if point == "begin":
            self._fail(world.odds.refuse)
            if world.happens(world.odds.slow):
                await asyncio.sleep(world.chance.random() * 0.2)
            else:
                await asyncio.sleep(0)
        elif point in ("statement", "commit"):
            self._fail(world.odds.abort)
            if world.happens(world.odds.slow):
                await asyncio.sleep(world.chance.random() * 0.02)
        else:
            self._fail(world.odds.lose_answer)

    def _fail(self, odds: float) -> None:
        if self._process is not None and self._process.is_dead:
            raise AppError(Code.HUB_UNAVAILABLE, "The process is gone.")
        if self._world.happens(odds):
            raise AppError(Code.HUB_UNAVAILABLE, "The database cannot do this now.")


@dataclass
class Process:
    """A worker process: alive, frozen or dead."""

    name: str
    runs: asyncio.Event = field(default_factory=asyncio.Event)
    is_dead: bool = False
    task: asyncio.Task[None] | None = None
    bus: SimWakeups | None = None


@dataclass
class SimTools:
    """A proxy whose tools take their time and answer as the seed says."""

    world: "World"
    process: Process

    async def call(self, call: ToolCall) -> ToolResult:
        world = self.world
        world.steps += 1
        number = len(world.calls)
        assert call.job_id is not None
        world.calls.append((call.job_id, self.process.name, world.loop.time()))
        await asyncio.sleep(world.chance.choice([0.0, 0.01, 0.2, 2.0, 15.0]))
        await self.process.runs.wait()
        error = None
        match world.chance.choices(["ok", "refuse", "down", "busy"], [80, 6, 12, 2])[0]:
            case "refuse":
                error = AppError(Code.GENE_NOT_FOUND, "no such gene")
            case "down":
                error = AppError(Code.TOOL_SERVER_DOWN, "gone")
            case "busy":
                error = AppError(Code.RATE_LIMITED, "too many", details={"retry_after_s": 0.5})
        answer = None if error else {"call": number}
        return ToolResult(answer, [], error is not None, error, Usage(call.name, "0", 1, 2, 3))


class SimHandler:
    """A job of two calls with a line of its trace between them."""

    async def run(self, ctx: JobContext) -> Outcome:
        await ctx.call_tool("a.b", {}, key="first")
        await ctx.emit("note", {}, once="between")
        return Outcome(True, await ctx.call_tool("a.b", {}, key="second"))


class World:
    """One simulated platform."""

    def __init__(self, seed: int, odds: Odds) -> None:
        self.loop = asyncio.get_running_loop()
        self.chance, self.odds = random.Random(seed), odds
        self.memory = Memory(self.loop.time)
        self.steps = 0
        self.told: Counter[str] = Counter()
        self.buses: list[SimWakeups] = []
        self.processes: list[Process] = []
        self.calls: list[tuple[UUID, str, float]] = []
        self.accepted: dict[str, set[UUID]] = {}
        self._names = count()
        self.users = [UUID(int=n + 1) for n in range(4)]
        for user in self.users:
            self.memory.grant(user, GRANT)
        self.settings = Settings.model_construct(
            **{
                **{name: one.default for name, one in Settings.model_fields.items()},
                "lease_seconds": LEASE_S,
                "poll_seconds": POLL_S,
                "max_attempts": MAX_ATTEMPTS,
                "lane_capacity": 20,
                "worker_concurrency": 4,
            }
        )
        self._billing, self._bus = Billing(), SimWakeups(self)
        self.transactions = FaultyTransactions(self)
        lifecycle = Lifecycle(self._billing, None, self._bus)  # type: ignore[arg-type]
        self.jobs = Jobs(self._billing, lifecycle, self.transactions, self._bus, POLL_S)
        self.intake = Intake(self.jobs, self.transactions)

    def happens(self, odds: float) -> bool:
        return odds > 0 and self.chance.random() < odds

    def start_worker(self) -> Process:
        process = Process(f"w{next(self._names)}")
        process.runs.set()
        process.bus = SimWakeups(self)
        lifecycle = Lifecycle(self._billing, None, process.bus)  # type: ignore[arg-type]
        with patch.object(worker_module, "worker_name", lambda: process.name):
            worker = Worker(
                transactions=FaultyTransactions(self, process),
                wakeups=process.bus,
                lifecycle=lifecycle,
                billing=self._billing,
                proxy=SimTools(self, process),  # type: ignore[arg-type]
                handlers={"task": SimHandler()},
                settings=self.settings,
                metrics=_SHARED_METRICS,
            )
        process.task = asyncio.create_task(worker.run())
        self.processes.append(process)
        return process

    async def end(self, process: Process, *, is_crash: bool) -> None:
        """Stop a worker, gently or not; a dead one writes nothing more."""
        process.is_dead = is_crash
        process.runs.set()
        assert process.task is not None
        assert process.bus is not None
        process.task.cancel()
        await asyncio.gather(process.task, return_exceptions=True)
        if not process.task.cancelled() and (error := process.task.exception()) is not None:
            raise error
        self.processes.remove(process)
        self.buses.remove(process.bus)

    # --- those who go on by themselves

    async def chaos(self) -> None:
        """Crash, stop, freeze and thaw workers; there are always some."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.odds.chaos_s))
            process = self.chance.choice(self.processes)
            what = self.chance.choice(["crash", "crash", "stop", "freeze", "freeze"])
            self.told[what] += 1
            if what == "freeze":
                process.runs.clear()
                frozen_s = self.chance.choice([1.0, LEASE_S, 3 * LEASE_S])
                self.loop.call_later(frozen_s, process.runs.set)
            else:
                await self.end(process, is_crash=what == "crash")
                self.start_worker()

    async def caller(self, name: str, jobs: int) -> None:
        """Submit so many jobs, in batches, each until it is answered; cancel some."""
        number = 0
        while number < jobs:
            batch = [
                self._request(f"{name}-{number + n}") for n in range(self.chance.randint(1, 4))
            ]
            number += len(batch)
            await asyncio.gather(*(self._submitted(request) for request in batch))
            await asyncio.sleep(self.chance.choice([0.0, 0.1, 1.0, 5.0]))

    def _request(self, key: str) -> JobRequest:
        later = self.chance.choice([None, None, None, None, 5.0, 100.0])
        run_at = None if later is None else EPOCH + timedelta(seconds=self.loop.time() + later)
        return JobRequest(
            self.chance.choice(self.users),
            self.chance.choice(["tool", "tool", "tool", "task"]),
            {"tool": "a.b", "arguments": {"n": self.chance.randrange(3)}},
            Quote("tool", "a.b", "outcome", self.chance.choice([0, 1, 50]), 1),
            idempotency_key=key,
            priority=self.chance.randint(-2, 2),
            run_at=run_at,
        )

    async def _submitted(self, request: JobRequest) -> None:
        key = str(request.idempotency_key)
        while True:
            try:
                made: Submitted = await self.intake.submit(request)
            except AppError as error:
                self.told[error.code.value] += 1
                if error.code is Code.INSUFFICIENT_CREDITS:
                    return
                await asyncio.sleep(0.5)
            else:
                self.accepted.setdefault(key, set()).add(made.job.job_id)
                if self.happens(0.9):
                    break
                # A caller that did not hear the answer asks again.
        if self.happens(self.odds.cancel):
            await self._cancel(request.user_id, made.job.job_id)

    async def _cancel(self, user_id: UUID, job_id: UUID) -> None:
        await asyncio.sleep(self.chance.choice([0.0, 0.02, 0.3, 2.0, 20.0]))
        owner = Principal("user", user_id, scopes=frozenset({"jobs"})).elevated()
        try:
            async with self.transactions.begin(owner) as uow:
                self.told[f"cancel: {(await self.jobs.cancel(uow, job_id)).status}"] += 1
        except AppError as error:
            self.told[f"cancel: {error.code.value}"] += 1

    # --- a run

    async def run(self, jobs: int, workers: int = 3) -> None:
        """So many jobs through faults; then calm, until nothing waits; then the judgement."""
        for _ in range(workers):
            self.start_worker()
        chaos = asyncio.create_task(self.chaos()) if self.odds.chaos_s else None
        callers = [asyncio.create_task(self.caller(f"c{n}", jobs // 4)) for n in range(4)]
        auditor = asyncio.create_task(self._audits())
        await asyncio.gather(*callers)
        if chaos is not None:
            chaos.cancel()
            await asyncio.gather(chaos, return_exceptions=True)
        if auditor.done():
            auditor.result()
        self.odds = CALM
        await self._drained(auditor)
        auditor.cancel()
        for process in list(self.processes):
            await self.end(process, is_crash=False)
        self.judge()

    async def _audits(self) -> None:
        while True:
            await asyncio.sleep(7.0)
            async with self.memory.lock:
                self.memory.audit()
            for process in self.processes:
                if process.task is not None and process.task.done() and not process.is_dead:
                    raise BrokenPromiseError(f"a worker has ended: {process.task}")

    async def _drained(self, auditor: "asyncio.Task[None]") -> None:
        limit = self.loop.time() + _LONGEST_S
        while self.memory.queue:
            await asyncio.sleep(POLL_S)
            if auditor.done():
                auditor.result()
            if self.loop.time() > limit:
                left = list(self.memory.queue.values())[:3]
                raise BrokenPromiseError(f"{len(self.memory.queue)} jobs never end: {left}")

    def judge(self) -> None:
        """All that must hold when everything has ended."""
        self.memory.audit()
        for key, jobs in self.accepted.items():
            if len(jobs) != 1 or not jobs <= self.memory.jobs.keys():
                raise BrokenPromiseError(f"key {key} was answered with the jobs {jobs}")
        if len(self.memory.jobs) != len(self.accepted):
            raise BrokenPromiseError(f"{len(self.memory.jobs)} jobs of {len(self.accepted)} keys")
        for job_id, job in self.memory.jobs.items():
            if job.status == "Success":
                self._judge_result(job_id, job.attempt, job.output["call"])

    def _judge_result(self, job_id: UUID, attempt: int, call: int) -> None:
        made_for, worker, moment = self.calls[call]
        holder, since = self.memory.leases[job_id][attempt]
        if (made_for, worker) != (job_id, holder) or moment < since:
            raise BrokenPromiseError(f"{job_id} has the result of a stale token")


@contextmanager
def seeded(seed: int) -> Any:
    """Ids and jitter of the product from a seed."""
    numbers, jitter = count(1), random.Random(seed)
    with ExitStack() as stack:
        for module in (draft_module, metering_module):
            stack.enter_context(
                patch.object(module, "new_id", lambda: UUID(int=next(numbers) << 8))
            )
        stack.enter_context(patch.object(retries_module, "random", jitter))
        stack.enter_context(patch.object(wakeups_module, "WeakSet", _OrderedSet))
        # Sweeps of an idle queue would be most of the steps.
        stack.enter_context(patch.object(floor_module, "_SWEEP_S", POLL_S))
        yield
