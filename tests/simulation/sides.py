"""One platform's moves, step by step, over SQL or over memory; jobs go by their number."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.billing import Billing, Quote
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import JobRequest, Jobs, Lease, Lifecycle, Submitted, store
from app.orchestration.types import End
from tests.simulation import stores
from tests.simulation.memory import EPOCH, Memory, MemoryTransactions

HOUR = timedelta(hours=1)


@dataclass
class Side:
    """The product over one of the two stores; jobs are known by the order of their making."""

    transactions: Any
    users: list[UUID]
    is_memory: bool
    mutants: dict[str, Any] = field(default_factory=dict)
    jobs: list[UUID] = field(default_factory=list)
    leases: dict[tuple[int, int], Lease] = field(default_factory=dict)

    def __post_init__(self) -> None:
        billing, wakeups = Billing(), Wakeups(None)
        self.billing = billing
        self.lifecycle = Lifecycle(billing, None, wakeups)  # type: ignore[arg-type]
        self.api = Jobs(billing, self.lifecycle, self.transactions, wakeups)

    @asynccontextmanager
    async def begin(self, principal: Principal = SERVICE) -> AsyncIterator[UnitOfWork]:
        with stores.installed(**self.mutants) if self.is_memory else contextlib.nullcontext():
            async with self.transactions.begin(principal) as uow:
                yield uow

    def number(self, job_id: UUID) -> int:
        return self.jobs.index(job_id)

    def now(self) -> datetime:
        return self.transactions.memory_now() if self.is_memory else datetime.now(UTC)

    # --- moves; each gives what its caller sees

    async def submit(self, asked: list[dict[str, Any]]) -> list[Any]:
        requests = [
            JobRequest(
                self.users[one["user"]],
                "tool",
                {"n": one["n"]},
                Quote("tool", "t", "outcome", one["price"], 1),
                idempotency_key=one["key"],
                priority=one["priority"],
                run_at=self.now() + HOUR if one["is_later"] else None,
            )
            for one in asked
        ]
        async with self.begin() as uow:
            made = await self.api.submit_many(uow, requests)
        seen: list[Any] = []
        for result in made:
            if isinstance(result, Submitted):
                if result.is_new:
                    self.jobs.append(result.job.job_id)
                seen.append((self.number(result.job.job_id), result.is_new))
            else:
                seen.append(result.code)
        return seen

    async def claim(self, limit: int) -> list[Any]:
        async with self.begin() as uow:
            leases = await store.claim(uow, "tool", limit, 3600, "w")
        for lease in leases:
            self.leases[self.number(lease.job_id), lease.attempt] = lease
        ordered = sorted(leases, key=lambda lease: lease.place)
        # Places of one moment may be the same for two users; then their order is free.
        return sorted(
            (self.number(one.job_id), one.attempt, one.failures, one.is_cancel_requested)
            for one in ordered
        )

    async def expire(self, job: int) -> None:
        await self._decree(job, lease_until=-1)

    async def come_due(self, job: int) -> None:
        await self._decree(job, run_at=-1)

    async def _decree(self, job: int, **moments: int) -> None:
        job_id = self.jobs[job]
        async with self.begin() as uow:
            if self.is_memory:
                await self.transactions.decree(uow, job_id, **moments)
                return
            for column, seconds in moments.items():
                only = "lease_until is not null" if column == "lease_until" else "place is null"
                await uow.execute(
                    f"update app.job_queue set {column} = now() + make_interval(secs => :s)"
                    f" where job_id = :job and {only}",
                    {"s": seconds, "job": job_id},
                )

    async def stage(self) -> int:
        async with self.begin() as uow:
            return (await store.stage(uow, 100))[0]

    async def finish(self, tokens: list[tuple[int, int]], statuses: list[str]) -> list[int]:
        ends = [
            End(self.leases[token], status, {"by": token[1]})
            for token, status in zip(tokens, statuses, strict=True)
        ]
        async with self.begin() as uow:
            return sorted(self.number(one) for one in await self.lifecycle.finish_many(uow, ends))

    async def retry(self, token: tuple[int, int], delay_s: float) -> Any:
        error = AppError(Code.TOOL_SERVER_DOWN, "gone")
        try:
            async with self.begin() as uow:
                await self.lifecycle.retry(uow, self.leases[token], error, delay_s)
        except AppError as raised:
            return raised.code
        # Who has given a lease back does not act on it again.
        del self.leases[token]
        return None

    async def renew(self, tokens: list[tuple[int, int]]) -> list[Any]:
        held = {self.jobs[job]: attempt for job, attempt in tokens}
        async with self.begin() as uow:
            alive = await store.renew(uow, held, 3600)
        return sorted((self.number(job_id), asked) for job_id, asked in alive.items())

    async def cancel(self, job: int) -> Any:
        try:
            async with self.begin() as uow:
                return (await self.api.cancel(uow, self.jobs[job])).status
        except AppError as error:
            return error.code

    async def look(self) -> list[Any]:
        """Everything that can be seen."""
        seen: list[Any] = []
        async with self.begin() as uow:
            for job_id in self.jobs:
                job = await self.api.get(uow, job_id)
                lines = [line.kind for line in await self.api.events(uow, job_id)]
                output = None if job.final_output is None else dict(job.final_output)
                seen.append((job.status, job.attempt, job.charged_micro, output, lines))
            wallets = [await self._wallet(uow, user) for user in self.users]
        return seen + wallets

    async def _wallet(self, uow: UnitOfWork, user: UUID) -> tuple[int, int, int]:
        if self.is_memory:
            purse = self.transactions.memory.wallets[user]
            return purse.available, purse.held, purse.captured
        wallet = await self.billing.wallet(uow, user)
        return wallet.available_micro, wallet.held_micro, wallet.captured_micro


class SteppedMemory(MemoryTransactions):
    """A memory whose clock moves by a second with every transaction."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(Memory(lambda: self.seconds))

    async def reach(self, point: str) -> None:
        self.seconds += point == "begin"

    def memory_now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    async def decree(self, uow: Any, job_id: UUID, **moments: int) -> None:
        await uow.write()
        row = self.memory.queue.get(job_id)
        if row is None or (row.lease_until is None if "lease_until" in moments else row.place):
            return
        changed = {name: uow.now + seconds for name, seconds in moments.items()}
        self.memory.tables["queue"][job_id] = type(row)(**{**vars(row), **changed})
