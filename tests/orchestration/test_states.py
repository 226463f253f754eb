"""Jobs under any order of submits, claims, lost leases, ends, cancels: money and states hold.

A model in plain Python says what each move must do; the database is compared with it after
every one. Leases run out by decree, so that no example waits for a clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
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

from app.billing import Billing, Quote
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import JobRequest, Jobs, Lease, Lifecycle, Outcome, store
from app.orchestration.states import (
    STATUSES,
    TERMINAL,
    TERMINAL_EVENTS,
    TRANSITIONS,
    can_move,
)
from app.storage import LocalBlobs, Storage
from tests.books import assert_balanced

_T = TypeVar("_T")
GRANT = 100
LEASE_S = 3600.0


def test_every_state_is_reached_and_every_life_can_end() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    assert {"Queued"}.union(*TRANSITIONS.values()) == set(STATUSES)
    assert set(TERMINAL_EVENTS) == TERMINAL
    assert len(set(TERMINAL_EVENTS.values())) == len(TERMINAL)
    for status in STATUSES:
        reached, fresh = {status}, {status}
        while fresh:
            fresh = {onward for at in fresh for onward in TRANSITIONS[at]} - reached
            reached |= fresh
        assert reached & TERMINAL


@given(st.lists(st.sampled_from(STATUSES), min_size=2))
def test_nothing_leaves_a_terminal_state(walk: list[str]) -> None:
    for before, after in pairwise(walk):
        assert can_move(before, after) is (after in TRANSITIONS[before])
        if before in TERMINAL:
            assert not can_move(before, after)


@dataclass
class Modelled:
    """What must be true of one job."""

    price: int
    status: str = "Queued"
    attempt: int = 0
    failures: int = 0
    is_leased: bool = False
    is_stale: bool = False
    is_cancel_requested: bool = False
    once: set[str] = field(default_factory=set)
    lines: int = 1

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL


@dataclass
class World:
    """The real modules, one user, and what ran in the loop."""

    database: Database
    jobs: Jobs
    lifecycle: Lifecycle
    billing: Billing
    user: Principal


class JobMachine(RuleBasedStateMachine):
    """Workers and an owner, who do what they may at any time, also with leases long lost."""

    dsn: str
    folder: Path

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.kind = f"k{new_id().hex}"
        self.model: dict[UUID, Modelled] = {}
        self.compared: set[UUID] = set()
        self.world = self.run(self._open())

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    async def _open(self) -> World:
        database, wakeups, billing = Database(self.dsn, pool_size=2), Wakeups(None), Billing()
        storage = Storage(LocalBlobs(self.folder), SystemClock(), b"k" * 32, 1000)
        lifecycle = Lifecycle(billing, storage, wakeups)
        user = Principal("user", new_id(), scopes=frozenset({"jobs"}))
        async with database.begin(SERVICE) as uow:
            await billing.grant(uow, user.owner, GRANT, cause=f"test:{user.owner}")
        jobs = Jobs(billing, lifecycle, database, wakeups)
        return World(database, jobs, lifecycle, billing, user)

    def teardown(self) -> None:
        with self.runner:
            self.run(self._close())

    async def _close(self) -> None:
        try:
            self.compared.clear()
            await self._compare()
            await assert_balanced(self.world.database)
        finally:
            await self.world.database.close()

    @property
    def free(self) -> int:
        spent = sum(job.price for job in self.model.values() if job.status == "Success")
        held = sum(job.price for job in self.model.values() if not job.is_over)
        return GRANT - spent - held

    def attempt(self, move: Callable[[UnitOfWork], Awaitable[_T]]) -> _T | Code:
        """Make a move in a transaction of its own; the code if it was refused."""

        async def work() -> _T | Code:
            try:
                async with self.world.database.begin(self.world.user.elevated()) as uow:
                    return await move(uow)
            except AppError as error:
                return error.code

        return self.run(work())

    def holds(self, lease: Lease) -> bool:
        """Whether nobody has claimed the job since, and it has not ended."""
        job = self.model[lease.job_id]
        return not job.is_over and job.attempt == lease.attempt

    @initialize(prices=st.lists(st.integers(0, GRANT // 4), min_size=1, max_size=3))
    def begin(self, prices: list[int]) -> None:
        for price in prices:
            self.submit(price)

    @rule(price=st.integers(0, GRANT // 2))
    def submit(self, price: int) -> None:
        quote = Quote("template", "t", "outcome", price, 1)
        request = JobRequest(self.world.user.owner, self.kind, {"n": 1}, quote)
        made = self.attempt(lambda uow: self.world.jobs.submit(uow, request))
        if price > self.free:
            assert made is Code.INSUFFICIENT_CREDITS
            return
        assert not isinstance(made, Code)
        self.model[made.job.job_id] = Modelled(price)

    @rule(target=leases, limit=st.integers(1, 3))
    def claim(self, limit: int) -> Any:
        found = self.attempt(lambda uow: store.claim(uow, self.kind, limit, LEASE_S, "w"))
        assert not isinstance(found, Code)
        ready = [job for job in self.model.values() if not job.is_over and not job.is_leased]
        assert len(found) == min(limit, len(ready))
        found.sort(key=lambda lease: lease.job_id)
        for lease in found:
            job = self.model[lease.job_id]
            assert not job.is_over
            assert not job.is_leased
            # A lease that ran out is a worker that died.
            job.failures += job.is_stale
            job.attempt += 1
            job.is_leased, job.is_stale, job.status = True, False, "Running"
            assert (lease.attempt, lease.failures) == (job.attempt, job.failures)
            assert lease.is_cancel_requested is job.is_cancel_requested
        return multiple(*found)

    @rule(lease=leases)
    def run_out(self, lease: Lease) -> None:
        """The worker is gone: time passes until its lease is over."""
        job = self.model[lease.job_id]

        async def expire(uow: UnitOfWork) -> None:
            query = """
            update app.job_queue set lease_until = now() - interval '1 s'
            where job_id = :job and lease_until is not null
            """
            await uow.execute(query, {"job": lease.job_id})

        self.attempt(expire)
        if job.is_leased:
            job.is_leased, job.is_stale, job.status = False, True, "Retrying"

    @rule(lease=leases)
    def renew(self, lease: Lease) -> None:
        held = {lease.job_id: lease.attempt}
        alive = self.attempt(lambda uow: store.renew(uow, held, LEASE_S))
        job = self.model[lease.job_id]
        if not (self.holds(lease) and (job.is_leased or job.is_stale)):
            assert alive == {}
            return
        assert alive == {lease.job_id: job.is_cancel_requested}
        job.is_leased, job.is_stale, job.status = True, False, "Running"

    @rule(lease=leases, name=st.sampled_from(["a", "b", None]))
    def tell(self, lease: Lease, name: str | None) -> None:
        async def append(uow: UnitOfWork) -> None:
            await self.world.lifecycle.fence(uow, lease)
            await self.world.lifecycle.append(uow, lease.job, "progress", {}, name)

        refused, job = self.attempt(append), self.model[lease.job_id]
        assert refused is (None if self.holds(lease) else Code.LEASE_LOST)
        if refused is None and (name is None or name not in job.once):
            job.lines += 1
            job.once |= {name} - {None}  # type: ignore[arg-type]

    @rule(lease=leases, status=st.sampled_from(sorted(TERMINAL)))
    def end(self, lease: Lease, status: str) -> None:
        """The worker ends the run: well, refused, given up, or as its owner asked."""
        lifecycle, error = self.world.lifecycle, AppError(Code.ATTEMPTS_EXHAUSTED, "enough")

        async def move(uow: UnitOfWork) -> None:
            match status:
                case "Dead":
                    await lifecycle.bury(uow, lease, error)
                case "Cancelled":
                    await lifecycle.cancel(uow, lease)
                case _:
                    await lifecycle.finish(uow, lease, Outcome(status == "Success", {"n": 2}))

        may, job = self.holds(lease), self.model[lease.job_id]
        assert self.attempt(move) is (None if may else Code.LEASE_LOST)
        if may:
            job.status, job.lines = status, job.lines + 1
            job.is_leased = job.is_stale = False

    @rule(lease=leases)
    def retry(self, lease: Lease) -> None:
        error = AppError(Code.TOOL_TIMEOUT, "slow")
        job, may = self.model[lease.job_id], self.holds(lease)
        refused = self.attempt(lambda uow: self.world.lifecycle.retry(uow, lease, error, 0))
        assert refused is (None if may else Code.LEASE_LOST)
        if not may:
            return
        job.lines += 1
        if job.is_leased or job.is_stale:
            job.failures += 1
        job.is_leased, job.is_stale, job.status = False, False, "Retrying"

    @rule(lease=leases)
    def give_back(self, lease: Lease) -> None:
        """The worker is told to stop; its job is no worse for it."""
        job = self.model[lease.job_id]
        may = self.holds(lease) and (job.is_leased or job.is_stale)
        done = self.attempt(
            lambda uow: store.give_back(
                uow, lease.job_id, lease.attempt, delay_s=0, is_failure=False
            )
        )
        assert done is may
        if may:
            job.is_leased, job.is_stale, job.status = False, False, "Retrying"

    @rule(data=st.data(), is_sure=st.sampled_from([False, False, True]))
    def cancel(self, data: st.DataObject, is_sure: bool) -> None:
        """The owner cancels any job, in few of the moves, so that most jobs live."""
        if not (is_sure and self.model):
            return
        job_id = data.draw(st.sampled_from(sorted(self.model)))
        job = self.model[job_id]
        seen = self.attempt(lambda uow: self.world.jobs.cancel(uow, job_id))
        if job.is_over:
            assert seen is Code.JOB_FINISHED
        elif job.is_leased:
            job.is_cancel_requested = True
        else:
            job.status, job.lines, job.is_stale = "Cancelled", job.lines + 1, False

    @invariant()
    def the_database_agrees(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        async with self.world.database.begin(self.world.user) as uow:
            wallet = await self.world.billing.wallet(uow, self.world.user.owner)
            for job_id, job in self.model.items():
                # An end is looked at when it comes, and once more at the end of the example.
                if job_id in self.compared:
                    continue
                self.compared |= {job_id} if job.is_over else set()
                view = await self.world.jobs.get(uow, job_id)
                charged = (job.price if job.status == "Success" else 0) if job.is_over else None
                assert (view.status, view.charged_micro) == (job.status, charged)
                trace = await self.world.jobs.events(uow, job_id, limit=1000)
                assert [line.seq for line in trace] == list(range(1, job.lines + 1))
                ends = [line.kind for line in trace if line.kind in TERMINAL_EVENTS.values()]
                assert ends == ([TERMINAL_EVENTS[job.status]] if job.is_over else [])
                assert not job.is_over or trace[-1].kind == ends[0]
        assert wallet.available_micro == self.free
        assert wallet.available_micro + wallet.held_micro + wallet.captured_micro == GRANT


@pytest.mark.timeout(300)
def test_any_order_of_moves_keeps_money_states_and_traces(dsn: str, tmp_path: Path) -> None:
    machine = type("Machine", (JobMachine,), {"dsn": dsn, "folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            # Shrinking over a database takes minutes; the steps of a failure are few as it is.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
