"""Accounts under any order of quotes, steps, top-ups, ends and expiries: a model says the money.

Every job is a real one, so that holds, queue and books are those of the platform.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.billing import Billing, Hold, Usage, UsageRate, usage_quote
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import JobRequest, Jobs, JobView, Lease, Lifecycle, Outcome, living_jobs
from app.orchestration.usage import UsageAccount
from app.storage import LocalBlobs, Storage
from tests.books import assert_balanced

_T = TypeVar("_T")
GRANT = 120_000
CALL, WALL = 4000, Fraction(1000, 7)
RATES = [
    UsageRate("tool", "*", "wall_ms", 7, 1000, 0, 7),
    UsageRate("tool", "*", "calls", 1, CALL, 1, 4),
    UsageRate("tool", "a.fixed", "wall_ms", 7, 0),
    UsageRate("tool", "a.free", "calls", 1, 0),
    UsageRate("tool", "a.free", "wall_ms", 7, 0),
]


@dataclass
class Modelled:
    view: JobView
    run: UsageAccount
    cap: int
    held: int
    used: Fraction = Fraction(0)
    charged: int | None = None

    @property
    def price(self) -> int:
        return min(ceil(self.used), self.held)


class AccountMachine(RuleBasedStateMachine):
    """One user's runs, each step of which is admitted, metered once, and in the end paid."""

    dsn: str
    folder: Path

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: dict[UUID, Modelled] = {}
        self.keys = 0
        self.calls_held = 0
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    async def _open(self) -> None:
        self.database, self.billing = Database(self.dsn, pool_size=2), Billing()
        storage = Storage(LocalBlobs(self.folder), SystemClock(), b"k" * 32, 1000)
        self.lifecycle = Lifecycle(self.billing, storage, Wakeups(None))
        self.service = Jobs(self.billing, self.lifecycle, self.database, Wakeups(None))
        self.user = Principal("user", new_id(), scopes=frozenset({"jobs"}))
        async with self.database.begin(SERVICE) as uow:
            await self.billing.grant(uow, self.user.owner, GRANT, cause=f"test:{self.user.owner}")

    def teardown(self) -> None:
        with self.runner:
            try:
                for job_id, job in self.model.items():
                    if job.charged is None:
                        self.end(job_id, "Success", is_sure=True)
                self.run(self._compare())
            finally:
                self.run(self._close())

    async def _close(self) -> None:
        try:
            await assert_balanced(self.database)
        finally:
            await self.database.close()

    @property
    def free(self) -> int:
        held = sum(job.held for job in self.model.values() if job.charged is None)
        spent = sum(job.charged or 0 for job in self.model.values())
        return GRANT - held - spent - self.calls_held

    def attempt(self, move: Callable[[UnitOfWork], Awaitable[_T]]) -> _T | Code:
        async def work() -> _T | Code:
            try:
                async with self.database.begin(SERVICE) as uow:
                    return await move(uow)
            except AppError as error:
                return error.code

        return self.run(work())

    async def _held(self, uow: UnitOfWork, job_id: UUID) -> int:
        account = await self.billing.accounts.of(uow, job_id)
        assert account is not None
        return account.held_micro

    @initialize(target=jobs)
    def begin(self) -> Any:
        return self._submit(None)

    @rule(target=jobs, limit=st.none() | st.integers(CALL, 100_000))
    def submit(self, limit: int | None) -> Any:
        return self._submit(limit)

    def _submit(self, limit: int | None) -> Any:
        quote = usage_quote("template", "t", 1, RATES, limit)
        request = JobRequest(self.user.owner, "test", {"n": 1, "billing": "usage"}, quote)
        made = self.attempt(lambda uow: self.service.submit(uow, request))
        if quote.amount_micro > self.free:
            assert made is Code.INSUFFICIENT_CREDITS
            return multiple()
        assert not isinstance(made, Code)
        run = UsageAccount(self.billing, made.job)
        self.model[made.job.job_id] = Modelled(made.job, run, quote.cap_micro, quote.amount_micro)
        return made.job.job_id

    @rule(
        job_id=jobs,
        subjects=st.lists(
            st.sampled_from(["a.fixed", "a.fixed", "a.open", "a.open", "a.free"]),
            min_size=1,
            max_size=6,
        ),
        wall=st.integers(0, 60),
        repeats=st.integers(1, 2),
    )
    def work(self, job_id: UUID, subjects: list[str], wall: int, repeats: int) -> None:
        """Steps one after the other; refusals change nothing, repeats are metered once."""
        if self.model[job_id].charged is None:
            for subject in subjects:
                self.step(job_id, subject, wall, repeats)

    def step(self, job_id: UUID, subject: str, wall: int, repeats: int) -> None:
        job = self.model[job_id]
        self.keys += 1
        key, free = f"k{self.keys}", self.free
        fixed = 0 if subject == "a.free" else CALL
        refused = self.attempt(lambda uow: job.run.admit(uow, subject, key))
        most = min(job.cap, job.held + free)
        if subject == "a.fixed":
            assert (refused is None) is (ceil(job.used + fixed) <= most)
        if subject == "a.free":
            assert refused is None
        if refused is not None:
            assert refused is Code.CREDITS_EXHAUSTED
            is_near = job.used * 100 >= most * 80 or job.used + fixed > most
            assert subject == "a.fixed" or is_near
            assert self.attempt(lambda uow: self._held(uow, job_id)) == job.held
            return
        self._take(job)
        used = Usage(new_id(), self.user.owner, job_id, key, "tool", subject, {"wall_ms": wall})
        for _ in range(repeats):
            assert self.attempt(lambda uow: job.run.record(uow, used)) is None
        job.used += fixed + (wall * WALL if subject == "a.open" else 0)
        self._take(job)

    def _take(self, job: Modelled) -> None:
        """What the job holds now: never less than before, never beyond cap or wallet."""
        held = self.attempt(lambda uow: self._held(uow, job.view.job_id))
        assert isinstance(held, int)
        assert job.held <= held <= min(job.cap, job.held + self.free)
        job.held = held

    @rule(
        job_id=jobs,
        status=st.sampled_from(["Success", "Failed", "Cancelled", "Dead"]),
        is_sure=st.booleans(),
    )
    def end(self, job_id: UUID, status: str, is_sure: bool) -> None:
        """A run ends; in few of the moves, so that most runs go on."""
        if not is_sure:
            return
        job, error = self.model[job_id], AppError(Code.CHECK_FAILED, "no")
        lease = Lease(job.view, 0, 0, False)

        async def move(uow: UnitOfWork) -> None:
            match status:
                case "Dead":
                    await self.lifecycle.bury(uow, lease, error)
                case "Cancelled":
                    await self.lifecycle.cancel(uow, lease)
                case _:
                    outcome = Outcome(status == "Success", {}, error)
                    await self.lifecycle.finish(uow, lease, outcome)

        over = job.charged is not None
        assert self.attempt(move) is (Code.LEASE_LOST if over else None)
        if not over:
            job.charged = 0 if status == "Dead" else job.price

    @rule(amount=st.integers(1, 20_000), lifetime=st.sampled_from([-1.0, 3600.0]))
    def call(self, amount: int, lifetime: float) -> None:
        """A tool call beside the runs; one whose caller died is found by the next sweep."""
        hold = Hold(new_id(), self.user.owner, amount, lifetime)
        fits = amount <= self.free
        placed = self.attempt(lambda uow: self.billing.hold(uow, hold))
        assert placed is (None if fits else Code.INSUFFICIENT_CREDITS)
        if not fits:
            return
        self.calls_held += amount
        if lifetime > 0:
            assert self.attempt(lambda uow: self.billing.capture(uow, hold.hold_id, 0)) is True
            self.calls_held -= amount
            return
        swept = self.attempt(lambda uow: self.billing.release_expired(uow, living=living_jobs))
        assert swept == 1
        self.calls_held -= amount

    @invariant()
    def the_database_agrees(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        async with self.database.begin(SERVICE) as uow:
            wallet = await self.billing.wallet(uow, self.user.owner)
            for job_id, job in self.model.items():
                account = await self.billing.accounts.of(uow, job_id)
                assert account is not None
                assert Fraction(account.used_parts, account.tariff.per_micro) == job.used
                view = await self.service.get(uow, job_id)
                assert view.charged_micro == job.charged
        assert wallet.available_micro == self.free >= 0
        assert wallet.available_micro + wallet.held_micro + wallet.captured_micro == GRANT


@pytest.mark.timeout(300)
def test_any_order_of_steps_and_ends_keeps_the_money(dsn: str, tmp_path: Path) -> None:
    machine = type("Machine", (AccountMachine,), {"dsn": dsn, "folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            # Shrinking over a database takes minutes; the steps of a failure are few as it is.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
